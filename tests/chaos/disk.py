"""A disk of its own for a database, so small that it can be filled."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.fault import NotRunError

BLOCK = bytes(64 * 1024)


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[None]:
    """Mount an empty file system in memory at a directory. Raises NotRunError unless we may."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        raise NotRunError("a small disk needs root, who may mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], capture_output=True, check=False)


def fill(file: Path) -> None:
    """Write a file until the disk is full."""
    with file.open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(BLOCK)
        except OSError:
            pass
        try:
            while True:
                ballast.write(b"0")
        except OSError:
            return
