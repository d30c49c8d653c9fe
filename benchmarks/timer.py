"""A clock to publish by: the event loops' own timers go by whole milliseconds, and a publish takes two."""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_ABSOLUTE: Final = 1  # TFD_TIMER_ABSTIME
_SECOND: Final = 1_000_000_000


class _Setting(ctypes.Structure):
    """Linux's ``struct itimerspec``."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


@contextmanager
def ticking(begin: int, period: int, ticks: Callable[[int], None]) -> Iterator[None]:
    """Call ``ticks`` in this loop at ``begin``, monotonic nanoseconds, and every ``period`` from then on.

    It is told how many ticks there were since the last time: more than one when the loop was busy.
    """
    loop = asyncio.get_running_loop()
    timer = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    setting = _Setting(*divmod(period, _SECOND), *divmod(begin, _SECOND))
    if timer < 0 or _libc.timerfd_settime(timer, _ABSOLUTE, ctypes.byref(setting), None):
        raise OSError(ctypes.get_errno(), "timerfd")
    loop.add_reader(timer, lambda: ticks(int.from_bytes(os.read(timer, 8), "little")))
    try:
        yield
    finally:
        loop.remove_reader(timer)
        os.close(timer)
