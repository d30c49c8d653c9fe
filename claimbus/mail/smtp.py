"""A mail server. smtplib blocks, so each session has a thread of its own."""

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from email.headerregistry import Address
from functools import partial
from typing import Final, Literal

from claimbus.events.errors import InvalidInputError
from claimbus.mail.errors import MailUnavailableError
from claimbus.mail.mail import Mail, Refusal, message
from claimbus.mail.post import Send

TIMEOUT: Final = 10.0
"""Seconds of silence after which a server counts as away."""

_ABOUT_US: Final = frozenset({421, 530})
"""Answers that are not about a recipient or a text: it is closing, it wants a login (RFC 5321, RFC 4954)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where it is, and how it is spoken to."""

    host: str
    port: int
    tls: Literal["starttls", "from the start", "none"]
    user: str = ""
    password: str = field(default="", repr=False)


class Smtp:
    """Posts to a server, by a connection for each session."""

    def __init__(
        self, server: Server, sender: Address, tls: ssl.SSLContext, *, timeout: float = TIMEOUT
    ) -> None:
        self._server = server
        self._sender = sender
        self._tls = tls
        self._timeout = timeout

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Send]:
        """Connect, and yield what posts a mail. Both raise MailUnavailableError."""
        opened, thread = ExitStack(), ThreadPoolExecutor(1, thread_name_prefix="mail")
        in_thread = partial(asyncio.get_running_loop().run_in_executor, thread)
        try:
            connection = await in_thread(self._connect, opened)
            yield partial(in_thread, self._send, connection)
        finally:
            await in_thread(opened.close)  # after whatever a cancelled caller has left running
            thread.shutdown(wait=False)

    async def check(self) -> str:
        """Connect, log in, and leave."""
        async with self.session():
            return f"{self._server.host}:{self._server.port} takes mail from us"

    def _connect(self, opened: ExitStack) -> smtplib.SMTP:
        server = self._server
        place = server.host, server.port
        with self._translated():
            connection = (
                smtplib.SMTP_SSL(*place, timeout=self._timeout, context=self._tls)
                if server.tls == "from the start"
                else smtplib.SMTP(*place, timeout=self._timeout)
            )
            opened.callback(_leave, connection)
            if server.tls == "starttls":
                connection.starttls(context=self._tls)
            if server.user:
                connection.login(server.user, server.password)
        return connection

    def _send(self, connection: smtplib.SMTP, mail: Mail) -> Refusal | None:
        with self._translated():
            try:
                connection.send_message(message(mail, self._sender), self._sender.addr_spec, [mail.to])
            except smtplib.SMTPRecipientsRefused as refused:
                return _refusal(refused, *refused.recipients[mail.to])
            except smtplib.SMTPDataError as refused:
                return _refusal(refused, refused.smtp_code, refused.smtp_error)
            except (smtplib.SMTPNotSupportedError, InvalidInputError) as impossible:
                return Refusal(str(impossible), for_good=True)
        return None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (smtplib.SMTPException, OSError) as failed:
            where = f"mail: {self._server.host}:{self._server.port}"
            raise MailUnavailableError(f"{where}: {_said(failed)}") from failed


def _refusal(refused: smtplib.SMTPException, code: int, answer: bytes | str) -> Refusal:
    if code in _ABOUT_US:
        raise refused
    return Refusal(f"{code} {_text(answer)}", for_good=code >= 500)


def _said(failed: Exception) -> str:
    match failed:
        case smtplib.SMTPResponseException():
            return f"{failed.smtp_code} {_text(failed.smtp_error)}"
        case smtplib.SMTPRecipientsRefused():
            return ", ".join(f"{code} {_text(answer)}" for code, answer in failed.recipients.values())
        case OSError() if failed.strerror:
            return failed.strerror
        case _:
            return str(failed) or type(failed).__name__


def _text(answer: bytes | str) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return " ".join(text.split())[:200]


def _leave(connection: smtplib.SMTP) -> None:
    with suppress(smtplib.SMTPException, OSError):
        connection.quit()
    connection.close()
