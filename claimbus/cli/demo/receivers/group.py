"""Receivers that share a certificate, a clock and a record."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from ssl import SSLContext
from typing import Final

from claimbus.cli.demo.authority import Authority
from claimbus.cli.demo.receivers.behaviour import Behaviour
from claimbus.cli.demo.receivers.receiver import Receiver
from claimbus.cli.demo.receivers.record import Received
from claimbus.events.tls import server_context
from consumers.signature import new_secret

_TICK: Final = 0.05
"""Seconds between looks at the clock, for the receivers that go down and come back."""


class Receivers:
    """Opened by `open`, grown by `add`. ``authority`` is whom to trust, ``record`` the file they write."""

    def __init__(
        self, host: str, tls: SSLContext, authority: Authority, record: Path, *, remember: bool
    ) -> None:
        self.authority = authority
        self.record = record
        self.by_name: dict[str, Receiver] = {}
        self._host = host
        self._tls = tls
        self._remember = remember
        self._file = record.open("ab", buffering=0)
        self._began: float | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path,
        *,
        authority: Authority | None = None,
        host: str = "127.0.0.1",
        names: Sequence[str] = ("localhost",),
        client_certificates: bool = False,
        remember: bool = True,
    ) -> AsyncIterator["Receivers"]:
        """Open receivers that keep their files in ``directory``; leaving closes them all.

        ``host`` is the IP address that they listen on, ``names`` are the host names that their certificate is
        good for besides. With ``client_certificates``, clients must show one of the authority. Without an
        authority they make one. Without ``remember``, what they receive is in the record only.
        """
        authority = authority or Authority(directory)
        certificate = authority.server("receivers", host, *names)
        tls = server_context(certificate, client_ca_file=authority.ca if client_certificates else None)
        receivers = cls(host, tls, authority, directory / "received.jsonl", remember=remember)
        watch = asyncio.create_task(receivers._watch())
        try:
            yield receivers
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            for receiver in receivers.by_name.values():
                await receiver.aclose()
            receivers._file.close()

    async def add(
        self,
        name: str,
        *behaviours: Behaviour,
        secrets: Sequence[str] = (),
        port: int = 0,
    ) -> Receiver:
        """Open a receiver; without secrets it makes one, and without a port it takes a free one."""
        receiver = Receiver(
            name,
            secrets=secrets or (new_secret(),),
            ca_pem=self.authority.ca_pem,
            tls=self._tls,
            host=self._host,
            port=port,
            elapsed=self._elapsed,
            write=self._write,
            remember=self._remember,
        )
        self.by_name[name] = receiver
        await receiver.behave(*behaviours)
        return receiver

    def _elapsed(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    def _write(self, received: Received) -> None:
        self._began = self._began or received.monotonic
        # Unbuffered: what was answered is on record even when the process is killed.
        self._file.write(received.line())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            for receiver in list(self.by_name.values()):
                await receiver.settle()
