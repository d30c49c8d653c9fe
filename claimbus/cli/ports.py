"""Ports as people write them."""

import re
from typing import NamedTuple

_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


class PortRange(NamedTuple):
    """From ``first`` to ``last``, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"


def parse_ports(value: object) -> tuple[PortRange, ...]:
    """Read ``443,8443,9000-9099``, or a list of such. Raises ValueError."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    return tuple(_range(part) for part in parts if str(part).strip())


def _range(part: object) -> PortRange:
    found = _RANGE.fullmatch(str(part).strip())
    if found is not None:
        first = int(found[1])
        last = int(found[2] or first)
        if 1 <= first <= last <= 65535:
            return PortRange(first, last)
    raise ValueError(f"{str(part)!r:.40} is no port; write 443,8443 or 9000-9099")
