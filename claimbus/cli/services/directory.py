"""A directory that belongs to one run, and the removal of those that killed runs left behind."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "claimbus-"


@contextmanager
def private_directory(parent: Path) -> Iterator[Path]:
    """Make a directory in ``parent`` (made if missing) that only this user can enter; remove it at the end.

    A lock in it tells it from one that a killed run left behind; the next run removes those.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for found in parent.glob(f"{PREFIX}*"):
        _remove_if_left_behind(found)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
    try:
        with (directory / "locking").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (directory / "locking").rename(directory / "lock")  # nobody finds it before it is held
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _remove_if_left_behind(directory: Path) -> None:
    """Remove it if it is ours and no run holds its lock."""
    try:
        with (directory / "lock").open("rb") as lock:
            if os.fstat(lock.fileno()).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
    except OSError:
        return
