"""Files and directories for their owner alone, whatever the umask is: market data is confidential."""

import os
from pathlib import Path
from typing import Final

_FILE: Final = 0o600
_DIRECTORY: Final = 0o700


def make_directory(directory: Path) -> None:
    """Make a directory and what is missing above it; one that is there stays as it is. Raises OSError."""
    for one in (*reversed(directory.parents), directory):
        if not one.is_dir():
            one.mkdir(_DIRECTORY, exist_ok=True)


def make_file(file: Path) -> None:
    """Make an empty file; one that is there stays as it is. Raises OSError."""
    os.close(opener(str(file), os.O_RDWR | os.O_CREAT))


def opener(name: str, flags: int) -> int:
    """Open a file as `open` does that is given this, and make it if need be."""
    return os.open(name, flags, _FILE)
