"""Where mails are posted."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from claimbus.mail.mail import Mail, Refusal

Send = Callable[[Mail], Awaitable[Refusal | None]]
"""Posts a mail; None: it was taken. Raises MailUnavailableError."""


class Post(Protocol):
    """A mail server, or a folder."""

    def session(self) -> AbstractAsyncContextManager[Send]:
        """Yield what posts mails, one after the other. Raises MailUnavailableError."""

    async def check(self) -> str:
        """Say that it can be reached, and how. Raises MailUnavailableError when it cannot."""
