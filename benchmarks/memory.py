"""Memory of the servers' processes while a benchmark runs, looked at from outside."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from mmap import PAGESIZE
from pathlib import Path
from typing import Final

LOOK_EVERY: Final = 0.02  # seconds


class Peaks:
    """By how many bytes each process grew at most since the watch began; empty for what cannot be seen."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = processes
        self._before = {name: resident(pid) for name, pid in processes.items()}
        self._most = dict(self._before)

    def look(self) -> None:
        """Look at all of them once."""
        for name, pid in self._processes.items():
            with suppress(OSError):
                self._most[name] = max(self._most[name], resident(pid))

    def grown(self) -> dict[str, int]:
        """Return the growth so far, in bytes."""
        return {name: most - self._before[name] for name, most in self._most.items()}


@contextmanager
def watched(processes: Mapping[str, int]) -> Iterator[Peaks]:
    """Watch processes by their IDs until the end of the block."""
    peaks, ended = Peaks(processes), threading.Event()

    def look_on() -> None:
        while not ended.wait(LOOK_EVERY):
            peaks.look()

    looking = threading.Thread(target=look_on)
    looking.start()
    try:
        yield peaks
    finally:
        ended.set()
        looking.join()
        peaks.look()


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes. Raises OSError when it is gone or another's."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGESIZE
