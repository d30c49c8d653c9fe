"""claimbus: an electricity ISO tells its market participants at once that something changed.

The names below are the library's face. They are imported when first used: a participant's installation has no
RabbitMQ or Redis client, and the rooms import each other's parent package.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claimbus.events.errors import ClaimbusError as ClaimbusError
    from claimbus.events.errors import InvalidEventError as InvalidEventError
    from claimbus.events.errors import UnavailableError as UnavailableError
    from claimbus.events.event import ALL as ALL
    from claimbus.events.event import Event as Event
    from claimbus.events.event import audience_of as audience_of
    from producers.outbox import Outbox as Outbox
    from producers.producer import Producer as Producer
    from producers.producer import Receipt as Receipt
    from producers.sync import SyncProducer as SyncProducer

_FACE = {
    "ALL": "claimbus.events.event",
    "ClaimbusError": "claimbus.events.errors",
    "Event": "claimbus.events.event",
    "InvalidEventError": "claimbus.events.errors",
    "Outbox": "producers.outbox",
    "Producer": "producers.producer",
    "Receipt": "producers.producer",
    "SyncProducer": "producers.sync",
    "UnavailableError": "claimbus.events.errors",
    "audience_of": "claimbus.events.event",
}

__all__ = sorted(_FACE)  # noqa: PLE0605 - sorted makes a list


def __getattr__(name: str) -> object:
    room = _FACE.get(name)
    if room is None:
        raise AttributeError(f"module 'claimbus' has no attribute {name!r}")
    try:
        return getattr(import_module(room), name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in {"claimbus", "claimstore", "producers", "consumers"}:
            raise
        told = f"{name} needs {missing.name}, of the ISO's side: pip install 'claimbus[iso]'"
        raise ImportError(told, name=missing.name) from missing
