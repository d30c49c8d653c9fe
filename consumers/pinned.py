"""An HTTP client that connects to one checked address of its host, and follows the host when it moves."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pyreqwest.client import Client

from consumers.addresses import AddressGuard, UnresolvedHostError

ADDRESS_LIFE: Final = 60.0
"""Seconds after which a host is resolved again."""

_BUILDERS: Final = ThreadPoolExecutor(1, thread_name_prefix="http-client")
"""Where clients are built, one after the other, so that the event loop always has a processor."""


class PinnedClient:
    """Makes its client when first needed, and another one when the host's address has changed.

    ``build`` makes a client that is pinned to an address. It takes 3 ms, so it is called in a thread, and a
    client is kept while its address is still one of the host's. A replaced one is only let go: what is under
    way on it goes on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        build: Callable[[str], Client],
        guard: AddressGuard,
        *,
        resolve_timeout: float,
        address_life: float = ADDRESS_LIFE,
    ) -> None:
        self._host, self._port = host, port
        self._build = build
        self._guard = guard
        self._resolve_timeout = resolve_timeout
        self._address_life = address_life
        self._client: Client | None = None
        self._address = ""
        self._checked_until = 0.0
        self._doubted = False
        self._checking = asyncio.Lock()

    @property
    def address(self) -> str:
        """Where the client connects to; empty as long as there is none."""
        return self._address

    async def get(self) -> Client:
        """Return the client, on an address checked within its life.

        Raises RefusedAddressError; UnresolvedHostError, but not once an address is known; and what ``build``
        raises.
        """
        client = self._client
        if client is not None and time.monotonic() < self._checked_until:
            return client
        async with self._checking:
            if self._client is None or time.monotonic() >= self._checked_until:
                self._client = await self._checked()
            return self._client

    def doubt(self, client: Client) -> None:
        """Say that this client could not connect: `get` then resolves anew and prefers another address."""
        if client is self._client:
            self._checked_until = 0.0
            self._doubted = True

    async def aclose(self) -> None:
        """Close the connections; what is under way fails."""
        if self._client is not None:
            await self._client.close()

    async def _checked(self) -> Client:
        try:
            async with asyncio.timeout(self._resolve_timeout):
                addresses = await self._guard.addresses(self._host, self._port)
        except (TimeoutError, UnresolvedHostError) as unknown:
            if self._client is None:
                raise UnresolvedHostError(
                    str(unknown) or f"{self._host} was not resolved in time"
                ) from unknown
            addresses = (self._address,)
        address = self._choose(addresses)
        client = self._client
        if client is None or address != self._address:
            client = await asyncio.get_running_loop().run_in_executor(_BUILDERS, self._build, address)
        self._address, self._doubted = address, False
        self._checked_until = time.monotonic() + self._address_life
        return client

    def _choose(self, addresses: Sequence[str]) -> str:
        if self._address not in addresses:
            return addresses[0]
        return addresses[(addresses.index(self._address) + self._doubted) % len(addresses)]
