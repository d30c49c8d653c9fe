"""The decoders of what comes from outside, each as a function of bytes, with what is valid to begin with.

A target either takes its bytes or refuses them with one of the house's own errors, whose text is one line
that a person can read and that names what is wrong. Anything else is a finding: another exception, an unclear
text, or something taken that does not come out as it went in.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Final

import msgpack
from starlette.datastructures import Headers

from claimbus.broker import codec, frames
from claimbus.broker.frames import Properties
from claimbus.events import catalogue, event, outages, stream
from claimbus.events.bodies import decoded
from claimbus.events.errors import ClaimbusError
from claimbus.events.event import ALL, Event
from claimbus.events.sealing import NO_KEYS, Keys
from claimbus.portal import identity, ingest_events, ranges
from claimbus.subscribers import binding
from claimstore import record
from producers import feed
from tests.fuzz.seeds import CLAIM, EVENT, KEYS, NOW, TYPE

LONGEST: Final = 1000
"""Characters of an error's text; more would be the input itself."""


class UnclearError(Exception):
    """A refusal that would not tell its reader what to do."""


@dataclass(frozen=True)
class Target:
    """``decode`` takes its seeds without an error, and refuses with none but the house's."""

    decode: Callable[[bytes], None]

    def take(self, data: bytes) -> bool:
        """Give it bytes; tells whether it took them. Raises what is a finding."""
        try:
            self.decode(data)
        except ClaimbusError as refusal:
            _check_clear(refusal)
            return False
        return True


def _check_clear(refusal: ClaimbusError) -> None:
    text = str(refusal)
    if not text.strip() or len(text) > LONGEST or not text.isprintable():
        raise UnclearError(f"{type(refusal).__name__}: {text[:LONGEST]!r}") from refusal


def _map(data: bytes) -> dict[str, Any]:
    """Return the map that the bytes are in msgpack; anything else is an empty one."""
    with suppress(ValueError, TypeError, msgpack.UnpackException):
        found = msgpack.unpackb(data)
        if isinstance(found, dict):
            return {name: value for name, value in found.items() if isinstance(name, str)}
    return {}


def _words(data: bytes) -> dict[str, str]:
    """Return a map of texts, as HTTP's headers are: latin-1, without line breaks."""
    lines = data.decode("latin-1").split("\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _properties(found: Mapping[str, Any]) -> Properties:
    def text(name: str) -> str | None:
        value = found.get(name)
        return value if isinstance(value, str) else None

    timestamp, headers = found.get("timestamp"), found.get("headers")
    return Properties(
        text("message_id"),
        text("type"),
        timestamp if isinstance(timestamp, int) else None,
        headers if isinstance(headers, dict) else {},
    )


def _ticket(data: bytes) -> None:
    found = _map(data)
    body = found.get("body")
    ticket = codec.read_ticket(_properties(found), body if isinstance(body, bytes) else data)
    encoded = frames.properties(
        content_type="application/vnd.claimbus.ticket",
        message_id=ticket.message_id,
        type_=ticket.type,
        timestamp=ticket.timestamp,
        headers=ticket.headers(),
    )
    sent = frames.read_properties(bytes(12) + encoded)
    if codec.read_ticket(sent, ticket.body()) != ticket:
        raise UnclearError("a ticket does not come out as it went in")


def _letter(data: bytes) -> None:
    found = _map(data)
    body, exchange = found.get("body"), found.get("exchange")
    codec.read_letter(
        _properties(found),
        body if isinstance(body, bytes) else data,
        exchange=exchange if isinstance(exchange, str) else "",
        routing_key="ep_gone",
    )


def _announcement(data: bytes) -> None:
    codec.read_announcement(data)


def _record(keys: Keys) -> Callable[[bytes], None]:
    def decode(data: bytes) -> None:
        record.read_key(CLAIM, data[: record.KEY_LIMIT])
        record.read_head(CLAIM, data[: record.HEAD_LIMIT], keys)
        if record.read_record(CLAIM, data, expires=1, keys=keys).event != EVENT:
            raise UnclearError("a record passes for what nobody put in")

    return decode


def _head(data: bytes) -> None:
    """A record whose seal fits: what is in it was written by us, or by who can write to Redis."""
    sealed: bytes = msgpack.packb((1, data, record._seal(CLAIM, data), b"{}"))
    record.read_record(CLAIM, sealed, expires=1)


def _body(data: bytes) -> None:
    admitted = catalogue.admit(_with(data))
    catalogue.convert(admitted, 1)


def _with(body: bytes) -> Event:
    return Event.from_attributes(EVENT.attributes(), body, ALL)


def _outage(data: bytes) -> None:
    body = decoded(data)
    catalogue.EVENT_TYPES[TYPE].newest.schema.check(body)
    outages.Outage.from_body(body)


def _feed(data: bytes) -> None:
    with TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        file = Path(folder) / "curtailments-20240110.csv"
        file.write_bytes(data)
        for snapshot in feed.read(file, at=NOW):
            for problem in snapshot.problems:
                if not problem.reason or problem.line < 1:
                    raise UnclearError(f"a row's problem says nothing: {problem}")


def _posted_binary(data: bytes) -> None:
    head, _, _ = data.partition(b"\n\n")
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _words(head).items()]
    headers = Headers(raw=pairs)
    defaults = ingest_events.Defaults(
        source="//iso.example/oms", at=NOW, id=ingest_events.idempotency_key(headers)
    )
    event.check(ingest_events.binary(headers, defaults))


def _posted_structured(data: bytes) -> None:
    defaults = ingest_events.Defaults(source="//iso.example/oms", at=NOW)
    event.check(ingest_events.structured(decoded(data), defaults))


def _webhook(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    binding.received(_words(head), body)


def _delivery(data: bytes) -> None:
    found = stream.decode_delivery(data)
    if stream.decode_delivery(found.encode()) != found:
        raise UnclearError("a delivery does not come out as it went in")


def _answer(data: bytes) -> None:
    found = stream.decode_answer(data)
    if stream.decode_answer(found.encode()) != found:
        raise UnclearError("an answer does not come out as it went in")


def _range(data: bytes) -> None:
    words = _words(data)
    span = ranges.span_of(words.get("range"), words.get("if-range"), etag='"e"', size=1000)
    if span is not None and not 0 <= span.start < span.stop <= 1000:
        raise UnclearError(f"a range out of bounds: {span}")


def _client_certificate(data: bytes) -> None:
    head, _, chain = data.decode("latin-1").partition("\n")
    identity._told([head], [chain] if chain else [])


_SHM: Final = Path("/dev/shm")
SHARED_MEMORY: Final = _SHM if _SHM.is_dir() else None
"""Files that live for a moment need no disk."""

TARGETS: Final[Mapping[str, Target]] = MappingProxyType(
    {
        "ticket": Target(_ticket),
        "letter": Target(_letter),
        "announcement": Target(_announcement),
        "record": Target(_record(NO_KEYS)),
        "encrypted record": Target(_record(KEYS)),
        "head": Target(_head),
        "body": Target(_body),
        "outage": Target(_outage),
        "feed": Target(_feed),
        "posted, binary": Target(_posted_binary),
        "posted, structured": Target(_posted_structured),
        "webhook": Target(_webhook),
        "delivery": Target(_delivery),
        "answer": Target(_answer),
        "range": Target(_range),
        "client certificate": Target(_client_certificate),
    }
)
"""What takes what `SEEDS` has under its name."""
