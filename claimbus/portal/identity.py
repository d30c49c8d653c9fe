"""Who asks: by a bearer token, a client certificate, or the certificate that a trusted proxy tells of.

A request that shows a token is judged by it alone. A connection from one of the proxies speaks for somebody
else: only its ``Client-Cert`` (RFC 9440) counts, never a certificate of its own. From anybody else that
header is ignored. Credentials are looked up in the database, again after `KNOWN_FOR` seconds: what was
revoked opens nothing a moment later.
"""

import asyncio
import base64
import re
import ssl
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, NamedTuple

import structlog
from starlette.requests import HTTPConnection

from claimbus.database import access, tokens
from claimbus.database.access import Certificate, Principal, digest_of
from claimbus.database.engine import Database
from claimbus.database.sessions import Kind, Session
from claimbus.events.errors import UnavailableError
from claimbus.portal.problems import UnauthenticatedError
from claimbus.portal.trust import Trust, UntrustedError

KNOWN_FOR: Final = 2.0
"""Seconds for which a look-up counts."""

REMEMBERED: Final = 10_000
"""Look-ups that are remembered, those that found nobody too."""

LONGEST_HEADER: Final = 16 * 1024
"""Characters of ``Client-Cert`` and of ``Client-Cert-Chain``."""

_TOKEN: Final = re.compile(re.escape(tokens.PREFIX) + "[A-Za-z0-9_-]{43}")
_BYTE_SEQUENCE: Final = re.compile(":([A-Za-z0-9+/]+={0,2}):")

_log = structlog.get_logger("claimbus.portal.identity")

Networks = Sequence[IPv4Network | IPv6Network]


class _LookUp(NamedTuple):
    found: Principal | None
    until: float


class Opening(NamedTuple):
    """What opens a session; ``credential`` as `claimbus.database.sessions.Session` has it."""

    kind: Kind
    credential: str


class Identity:
    """Tells who asks. ``proxies``: the networks whose ``Client-Cert`` is believed."""

    def __init__(self, database: Database, trust: Trust, *, proxies: Networks = ()) -> None:
        self._database = database
        self._trust = trust
        self._proxies = tuple(proxies)
        self._known: OrderedDict[Certificate | bytes, _LookUp] = OrderedDict()
        self._note_next: dict[bytes, float] = {}
        self._noting: set[asyncio.Task[None]] = set()

    async def of(self, connection: HTTPConnection) -> Principal:
        """Return who makes this request, or opened this WebSocket: for a long-lived one, ask now and then.

        Raises UnauthenticatedError and DatabaseUnavailableError.
        """
        shown = connection.headers.getlist("authorization")
        found = await (self._by_token(shown) if shown else self.by_certificate(connection))
        if found is None:
            raise UnauthenticatedError
        return found

    async def to_begin(self, connection: HTTPConnection, token: str | None) -> Opening | None:
        """Return what a session is to be begun with: a token that was typed, or the certificate shown."""
        if token is None:
            who = await self.by_certificate(connection)
            return None if who is None else Opening("certificate", who.name)
        if not _TOKEN.fullmatch(token) or await self._by_digest(digest_of(token)) is None:
            return None
        return Opening("token", digest_of(token).hex())

    async def of_session(self, session: Session, connection: HTTPConnection) -> Principal | None:
        """Return who is behind a session now; None when its credential counts no more, or is not shown."""
        if session.kind == "token":
            return await self._by_digest(bytes.fromhex(session.credential))
        who = await self.by_certificate(connection)
        return who if who is not None and who.name == session.credential else None

    async def aclose(self) -> None:
        """Wait until the uses of tokens are noted."""
        await asyncio.gather(*self._noting)

    async def _by_token(self, shown: Sequence[str]) -> Principal | None:
        scheme, _, token = shown[0].partition(" ")
        if len(shown) > 1 or scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
            return None
        return await self._by_digest(digest_of(token))

    async def _by_digest(self, digest: bytes) -> Principal | None:
        known, now = self._remembered(digest), datetime.now(UTC)
        if known is None:
            found = await self._database.read(lambda sql: access.by_digest(sql, digest, now))
            known = self._remember(digest, found)
            if found is not None and time.monotonic() >= self._note_next.get(digest, 0):
                self._note_next[digest] = time.monotonic() + tokens.USE_NOTED_EVERY.total_seconds()
                noting = asyncio.create_task(self._note_use(digest, now))
                self._noting.add(noting)
                noting.add_done_callback(self._noting.discard)
        return known.found

    async def by_certificate(self, connection: HTTPConnection) -> Principal | None:
        """Return whose certificate is shown; None for nobody's, and for one that does not count."""
        try:
            chain = self._chain(connection)
            if not chain:
                return None
            shown = self._trust.verified(chain)
        except UntrustedError as untrusted:
            _log.warning("certificate refused", client=_host(connection), reason=str(untrusted))
            return None
        known = self._remembered(shown)
        if known is None:
            now = datetime.now(UTC)
            found = await self._database.read(lambda sql: access.by_certificate(sql, shown, now))
            known = self._remember(shown, found)
            if found is None:
                _log.warning(
                    "certificate opens nothing",
                    client=_host(connection),
                    subject=shown.subject,
                    authorities=sorted(shown.authorities),
                )
        return known.found

    def _chain(self, connection: HTTPConnection) -> list[bytes]:
        """Return the client's certificates in DER, its own first."""
        told = connection.headers.getlist("client-cert")
        if self._is_proxy(connection):
            between = connection.headers.getlist("client-cert-chain")
            return _told(told, between) if told else []
        if told:
            _log.warning("Client-Cert ignored", client=_host(connection), reason="not one of the proxies")
        shown = connection.scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", ())
        return [ssl.PEM_cert_to_DER_cert(pem) for pem in shown]

    def _is_proxy(self, connection: HTTPConnection) -> bool:
        host = _host(connection)
        if not self._proxies or host is None:
            return False
        with suppress(ValueError):
            address = ip_address(host)
            address = getattr(address, "ipv4_mapped", None) or address
            return any(address in network for network in self._proxies)
        return False

    def _remembered(self, credential: Certificate | bytes) -> _LookUp | None:
        known = self._known.get(credential)
        return known if known is not None and time.monotonic() < known.until else None

    def _remember(self, credential: Certificate | bytes, found: Principal | None) -> _LookUp:
        known = self._known[credential] = _LookUp(found, time.monotonic() + KNOWN_FOR)
        self._known.move_to_end(credential)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return known

    async def _note_use(self, digest: bytes, now: datetime) -> None:
        try:
            await self._database.run(lambda sql: tokens.note_use(sql, digest, now))
        except UnavailableError as away:
            _log.warning("use of a token not noted", reason=str(away))


def _host(connection: HTTPConnection) -> str | None:
    client = connection.client
    return None if client is None else client.host


def _told(certificates: Sequence[str], between: Sequence[str]) -> list[bytes]:
    """Read ``Client-Cert`` and ``Client-Cert-Chain``: byte sequences of RFC 8941."""
    if len(certificates) > 1:  # one that the proxy let through from its client, perhaps
        raise UntrustedError("more than one Client-Cert")
    others = ",".join(between)
    if max(len(certificates[0]), len(others)) > LONGEST_HEADER:
        raise UntrustedError(f"Client-Cert or its chain is longer than {LONGEST_HEADER} characters")
    members = [certificates[0], *others.split(",")] if others else [certificates[0]]
    return [_byte_sequence(member.strip(" \t")) for member in members]


def _byte_sequence(member: str) -> bytes:
    match = _BYTE_SEQUENCE.fullmatch(member)
    try:
        return base64.b64decode(match[1] if match else "?", validate=True)
    except ValueError as wrong:
        raise UntrustedError("Client-Cert is no byte sequence of RFC 8941") from wrong
