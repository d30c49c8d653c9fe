"""Certificates as files."""

from pathlib import Path

from claimbus.events.errors import InvalidInputError


def read(file: Path) -> bytes:
    """Return what is in a file. Raises InvalidInputError."""
    try:
        return file.read_bytes()
    except OSError as unreadable:
        raise InvalidInputError("file", f"{file}: {unreadable.strerror}") from unreadable
