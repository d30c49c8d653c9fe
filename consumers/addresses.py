"""Where a webhook may connect to: the guard against server-side request forgery.

A participant chooses its endpoint's URL, and the ISO's machines connect to it. So the host is resolved here,
addresses inside the ISO's own network are refused, and the client is pinned to an address that was checked:
it never resolves the name by itself, so a name that changes its mind between check and use gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from claimbus.events.errors import InvalidInputError, UnavailableError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Host name to IP addresses, best first. Raises OSError when the name has none."""

_NOT_PUBLIC: Final = tuple(
    (ipaddress.ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier's NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "6to4"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
"""IANA's special-purpose registries (RFC 6890) and Azure's metadata address. Spelled out because `ipaddress`
knows another subset of them in each version of Python."""

PORTS: Final = ((443, 443), (8443, 8443))
"""Ranges of ports, both ends included, that webhooks may reach unless told otherwise."""

_PUBLIC_IPV6: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

_LOOKUPS: Final = 64
"""Names looked up at once: a name server that hangs for one receiver must not keep the others waiting."""


class RefusedAddressError(InvalidInputError):
    """The URL leads to an address that no webhook may reach."""


class UnresolvedHostError(UnavailableError):
    """The host's name has no address now."""


class AddressGuard:
    """Resolves hosts and lets only permitted addresses through; one for all webhooks of a process.

    ``allow`` lists networks that are permitted although they are not public: a participant behind a private
    line, or the loopback of a demonstration. ``ports`` are those that are permitted, as ranges.
    """

    def __init__(
        self,
        *,
        allow: Sequence[Network] = (),
        ports: Sequence[tuple[int, int]] = PORTS,
        resolve: Resolve | None = None,
    ) -> None:
        self._allow = tuple(allow)
        self._ports = tuple(ports)
        self._resolve = resolve or self._look_up
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="resolve")

    def permits(self, port: int) -> bool:
        """Tell whether webhooks may reach this port."""
        return any(first <= port <= last for first, last in self._ports)

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """Return the permitted addresses of a name or a literal (IPv6 in brackets or not), best first.

        Raises RefusedAddressError when it has only forbidden ones, and for a forbidden port;
        UnresolvedHostError when it has none.
        """
        if not self.permits(port):
            raise RefusedAddressError("url", f"leads to port {port}, which webhooks may not reach")
        literal = host.strip("[]")
        try:
            found = [ipaddress.ip_address(literal)]
        except ValueError:
            found = await self._named(host)
        refusals = {address: refusal(address, self._allow) for address in found}
        permitted = tuple(str(address) for address, reason in refusals.items() if reason is None)
        if permitted:
            return permitted
        listed = ", ".join(f"{address} is {reason}" for address, reason in refusals.items())
        raise RefusedAddressError("url", f"leads to no permitted address: {listed}")

    async def _named(self, host: str) -> list[Address]:
        try:
            found = [ipaddress.ip_address(text) for text in await self._resolve(host)]
        except (OSError, UnicodeError) as unknown:
            raise UnresolvedHostError(f"{host} has no address: {unknown}") from unknown
        if not found:
            raise UnresolvedHostError(f"{host} has no address")
        return found

    async def _look_up(self, host: str) -> list[str]:
        def ask() -> list[str]:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            return [str(address[0]).partition("%")[0] for *_, address in found]

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)


def refusal(address: Address, allow: Sequence[Network] = ()) -> str | None:
    """Return why a webhook may not connect to this address, or None when it may.

    An IPv4 address that is mapped into IPv6, or translated by NAT64, is judged as the IPv4 address. One with
    a zone is of this machine's own network.
    """
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return "of one interface"
    inner = _unwrapped(address)
    if any(candidate in network for candidate in (address, inner) for network in allow):
        return None
    for network, reason in _NOT_PUBLIC:
        if inner in network:
            return reason
    if inner.version == 6 and inner not in _PUBLIC_IPV6:
        return "reserved"
    return None


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
