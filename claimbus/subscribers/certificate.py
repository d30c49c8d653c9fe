"""A server's certificate, which may be renewed in its files while the server runs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from claimbus.events.errors import ConfigurationError
from claimbus.events.tls import server_context

LOOK_EVERY: Final = 30.0
"""Seconds between two looks at the files."""

_log: Final = structlog.get_logger("claimbus.subscribers.certificate")


class Certificate:
    """A TLS context for listening, and the PEM files that it is from."""

    def __init__(self, file: Path, key: Path | None = None, *, client_ca: Path | None = None) -> None:
        """See `claimbus.events.tls.server_context`. Raises ConfigurationError."""
        self.context: Final = server_context(file, key, client_ca_file=client_ca)
        self._file = file
        self._key = key

    async def renew(self, *, every: float = LOOK_EVERY) -> None:
        """Load the files again whenever they have changed, until cancelled.

        New connections show the new certificate. Files that do not fit together, because one of them is not
        written yet, leave the old one in place. Authorities of clients are not looked at again.
        """
        files = [self._file] if self._key is None else [self._file, self._key]
        loaded = _written(files)
        while True:
            await asyncio.sleep(every)
            written = _written(files)
            if written != loaded:
                self._load()
                loaded = written

    def _load(self) -> None:
        try:
            server_context(self._file, self._key)  # tried there first: half of it would spoil ours
            self.context.load_cert_chain(self._file, self._key, "")
        except (ConfigurationError, OSError) as wrong:
            _log.warning("certificate not renewed", reason=str(wrong), next="go on with the old one")
        else:
            _log.info("certificate renewed", file=str(self._file))


def _written(files: Sequence[Path]) -> list[int]:
    return [_when(file) for file in files]


def _when(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # away for a moment, as when it is replaced
        return 0
