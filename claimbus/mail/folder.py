"""Mails as files, for trying things out: each is an .eml that a mail program opens."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.headerregistry import Address
from pathlib import Path

from claimbus.events.errors import InvalidInputError
from claimbus.mail.errors import MailUnavailableError
from claimbus.mail.mail import Mail, Refusal, message
from claimbus.mail.post import Send


class Folder:
    """A place to post to that only keeps what is posted. It is made when the first mail is."""

    def __init__(self, path: Path, sender: Address) -> None:
        self._path = path
        self._sender = sender

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Send]:
        """Yield what posts a mail. That raises MailUnavailableError."""
        yield lambda mail: asyncio.to_thread(self._write, mail)

    async def check(self) -> str:
        """Return what can be said of it. Raises MailUnavailableError when it cannot be written."""
        nearest = next(one for one in (self._path, *self._path.parents) if one.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise MailUnavailableError(f"mail: the folder {self._path} cannot be written")
        return f"mails are files in {self._path}"

    def _write(self, mail: Mail) -> Refusal | None:
        try:
            written = bytes(message(mail, self._sender))
        except InvalidInputError as refused:
            return Refusal(refused.reason, for_good=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{mail.id[:12]}.eml"
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._path, prefix=".", delete=False) as file:
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).rename(self._path / name)  # whole, or not there
        except OSError as failed:
            raise MailUnavailableError(f"mail: {self._path}: {failed.strerror}") from failed
        return None
