"""Waiting for what will happen, with a deadline instead of a guess."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    look: Callable[[], Awaitable[T | None]], *, within: float = 15.0, every: float = 0.02
) -> T: ...
@overload
async def eventually(look: Callable[[], T | None], *, within: float = 15.0, every: float = 0.02) -> T: ...
async def eventually(look: Callable[[], object], *, within: float = 15.0, every: float = 0.02) -> object:
    """Look until the answer is truthy and return it; fail after ``within`` seconds with the last answer."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        answer = await found if inspect.isawaitable(found) else found
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s; the last look gave {answer!r}")
        await asyncio.sleep(every)


async def never(look: Callable[[], object], *, for_: float = 0.5, every: float = 0.02) -> None:
    """Look for a while and fail as soon as the answer is truthy."""
    deadline = time.monotonic() + for_
    while time.monotonic() < deadline:
        found = look()
        assert not found, f"it happened: {found!r}"
        await asyncio.sleep(every)
