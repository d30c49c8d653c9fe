"""Room for those who connect: strangers share it, and never keep out those who have proved who they are.

A signature covers a body, so nobody has proved anything before the whole of it was read. Whoever sends
slowly, or nothing, would fill any room. So when it is short, the stranger who has most of it gives some back.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Peers:
    """The addresses from which something came that was proved to be the ISO's, since this process began."""

    _known: set[str] = field(default_factory=set)

    def prove(self, address: str) -> None:
        """Note that an address has proved itself."""
        self._known.add(peer_of(address))

    def knows(self, peer: str) -> bool:
        """Tell whether a peer, as `peer_of` gives it, is no stranger."""
        return peer in self._known


def peer_of(address: str) -> str:
    """Return what counts as one peer: an IPv4 address, or the /64 of an IPv6 one, which one host can fill."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))


@dataclass(eq=False, slots=True)
class Place:
    """What one connection or request holds of a room. ``drop`` is called when it was taken back."""

    peer: str
    drop: Callable[[], object]
    held: int = 0


class Room:
    """So much of something (connections, bytes) for everybody together."""

    def __init__(self, size: int, peers: Peers) -> None:
        self._free = size
        self._peers: Final = peers
        self._places: dict[Place, None] = {}  # in the order in which they came

    def take(self, place: Place, amount: int) -> bool:
        """Let a place hold more; False when there is no room for it, not even a stranger's: let it leave."""
        self._places[place] = None
        place.held += amount
        self._free -= amount
        while self._free < 0:
            victim = self._victim()
            if victim is None or victim is place:
                return False
            self.leave(victim)
            victim.drop()
        return True

    def leave(self, place: Place) -> None:
        """Give back what a place holds."""
        self._places.pop(place, None)
        self._free += place.held
        place.held = 0

    def _victim(self) -> Place | None:
        """Return the oldest place of the stranger who holds most."""
        holding = Counter[str]()
        for place in self._places:
            if not self._peers.knows(place.peer):
                holding[place.peer] += place.held
        peer, most = max(holding.items(), key=lambda one: one[1], default=("", 0))
        return next((one for one in self._places if one.peer == peer and one.held), None) if most else None
