"""A real SMTP server on loopback, in the test's own event loop: the product's client is in a thread."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class MailServer:
    """What it took, and what it is to refuse: an answer by address, ``450 later``; ``answer`` is to all."""

    port: int = 0
    mails: list[tuple[str, EmailMessage]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    data: str = "250 OK"
    versions: set[str | None] = field(default_factory=set)

    @property
    def told(self) -> list[str]:
        """To whom mails came, in this order."""
        return [to for to, _ in self.mails]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data.startswith("250"):
            content = envelope.content or b""
            assert isinstance(content, bytes)
            message = message_from_bytes(content, policy=policy.default)
            self.mails += [(to, message) for to in envelope.rcpt_tos]
            assert server.transport is not None
            channel = server.transport.get_extra_info("ssl_object")
            self.versions.add(channel and channel.version())
        return self.data


def authority() -> tuple[trustme.CA, ssl.SSLContext]:
    """An authority, and the context of a server on loopback that it vouches for."""
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return ca, context


@asynccontextmanager
async def mail_server(
    known: MailServer | None = None,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    password: bytes | None = None,
) -> AsyncIterator[MailServer]:
    """A server until the end of the block; ``known`` is one that was away, and is back on its port."""
    server, open_ones = known or MailServer(), set[asyncio.BaseTransport]()

    def authenticate(*_: Any) -> AuthResult:  # noqa: ANN401 - aiosmtpd's
        login = _[-1]
        assert isinstance(login, LoginPassword)
        return AuthResult(success=login.password == password, handled=False)

    class Protocol(SMTP):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            open_ones.add(transport)
            super().connection_made(transport)

    def protocol() -> SMTP:
        return Protocol(
            server,
            hostname="mail.test",
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_required=password is not None,
            auth_require_tls=True,
            authenticator=authenticate if password is not None else None,
        )

    loop = asyncio.get_running_loop()
    listening = await loop.create_server(protocol, "127.0.0.1", server.port, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for transport in open_ones:
            transport.close()
        await listening.wait_closed()
