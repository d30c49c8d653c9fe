"""What a publisher wrote down: a line of JSON an event, in one write, so that a kill leaves whole lines."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Self

Name = tuple[str, str]
"""What names an event, by CloudEvents 1.0: its source and its ID."""


class Entry(NamedTuple):
    """An event as its publisher knows it.

    ``key`` and ``sequence`` are the outage and its version, if it is about one. ``sha256`` is the body's, in
    hexadecimal; None where the product writes the body. ``at``: when this was written, in seconds since the
    epoch.
    """

    source: str
    id: str
    type: str
    audience: Literal["all"] | tuple[str, ...]
    key: str | None
    sequence: int | None
    sha256: str | None
    at: float

    @property
    def name(self) -> Name:
        return self.source, self.id


class Ledger:
    """A file that grows by lines, whoever writes it."""

    def __init__(self, file: Path) -> None:
        """Open it; should a writer have been cut off within a line, that line is ended."""
        self._file = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def write(self, entry: Entry) -> None:
        """Write an entry; when this returns, it outlives the process."""
        os.write(self._file, json.dumps(entry).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)


def read(line: bytes) -> Entry | None:
    """Return the entry of a line; None for a line that was cut off: nobody was told of it."""
    try:
        *facts, audience, key, sequence, sha256, at = json.loads(line)
        source, id_, type_ = facts
    except ValueError:
        return None
    to: Literal["all"] | tuple[str, ...] = "all" if audience == "all" else tuple(audience)
    return Entry(source, id_, type_, to, key, sequence, sha256, at)


class Tail:
    """The lines of a file that grows: each look gives those that are new and whole."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = 0

    def lines(self) -> Iterator[bytes]:
        """Yield the new lines; a file that is not there yet has none."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._seen)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._seen += len(line)
                    yield line
        except FileNotFoundError:
            return
