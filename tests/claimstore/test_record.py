"""A record gives back what was put in, or is known to be corrupt; there is nothing between."""

import hashlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.errors import InvalidEventError
from claimbus.events.event import Event
from claimstore.claim import new_claim_id
from claimstore.errors import ClaimCorruptError
from claimstore.record import HEAD_LIMIT, chunked_record, inline_record, read_head, read_record
from tests.claimstore.samples import JSON_BODY, an_event, events, noise

ID = "Zm9yIHRlc3RzIG9ubHkgLi4u"


@given(events)
def test_a_record_gives_back_the_event(event: Event) -> None:
    claim = read_record(ID, inline_record(ID, event), expires=7)
    assert claim.event == event
    assert (claim.id, claim.expires, claim.chunks) == (ID, 7, 0)
    assert (claim.size, claim.sha256) == (len(event.body), hashlib.sha256(event.body).digest())


@given(events, st.integers(1, 300))
def test_a_record_of_chunks_gives_back_all_but_the_body(event: Event, chunks: int) -> None:
    sha256 = hashlib.sha256(event.body).digest()
    record = chunked_record(ID, event, encoding="zstd", size=2**26, sha256=sha256, chunks=chunks)
    claim = read_record(ID, record, expires=7)
    assert claim.event.attributes() == event.attributes()
    assert claim.event.audience == event.audience
    assert claim.event.body == b""
    assert (claim.size, claim.sha256, claim.encoding, claim.chunks) == (2**26, sha256, "zstd", chunks)


def flipped(record: bytes, bit: int) -> bytes:
    broken = bytearray(record)
    broken[bit // 8] ^= 1 << bit % 8
    return bytes(broken)


@given(events, st.data())
def test_a_flipped_bit_never_changes_the_event_unnoticed(event: Event, data: st.DataObject) -> None:
    record = inline_record(ID, event)
    bit = data.draw(st.integers(0, 8 * len(record) - 1))
    try:
        claim = read_record(ID, flipped(record, bit), expires=0)
    except ClaimCorruptError:
        return
    assert claim.event == event  # zstd has bits that mean nothing
    assert claim.encoding == "zstd"


@pytest.mark.parametrize("body", [JSON_BODY[:100], b""])
def test_every_flipped_bit_of_an_uncompressed_record_is_found(body: bytes) -> None:
    record = inline_record(ID, an_event(body=body))
    for bit in range(8 * len(record)):
        with pytest.raises(ClaimCorruptError):
            read_record(ID, flipped(record, bit), expires=0)


@given(events, st.data())
def test_a_truncated_or_prolonged_record_is_found(event: Event, data: st.DataObject) -> None:
    record = inline_record(ID, event)
    length = data.draw(st.integers(0, len(record) - 1))
    for broken in (record[:length], record + record[: length + 1]):
        with pytest.raises(ClaimCorruptError):
            read_record(ID, broken, expires=0)


@given(st.binary(max_size=400))
def test_any_other_bytes_are_corrupt_and_nothing_else(garbage: bytes) -> None:
    for read in (lambda: read_record(ID, garbage, expires=0), lambda: read_head(ID, garbage)):
        with pytest.raises(ClaimCorruptError):
            read()


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=5)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(json_like, json_like, json_like)
def test_well_sealed_nonsense_is_corrupt_and_nothing_else(
    head: object, body: object, version: object
) -> None:
    packed = msgpack.packb(head)
    seal = hashlib.sha256(ID.encode() + packed).digest()
    for array in ([1, packed, seal, body], [version, packed, seal, body], [1, head, seal, body], head):
        with pytest.raises(ClaimCorruptError):
            read_record(ID, msgpack.packb(array), expires=0)


def test_a_record_does_not_pass_for_another_claim() -> None:
    with pytest.raises(ClaimCorruptError):
        read_record(new_claim_id(), inline_record(ID, an_event()), expires=0)


def test_a_record_of_a_later_version_says_so() -> None:
    with pytest.raises(ClaimCorruptError, match="version 3"):
        read_record(ID, msgpack.packb([3, b"", b"", b""]), expires=0)


def test_the_largest_audience_can_be_told_from_the_start_of_a_record() -> None:
    widest = an_event(
        audience=frozenset(f"P{number:031}" for number in range(1000)),
        body=noise(500_000),
        subject="s" * 1024,
    )
    record = inline_record(ID, widest)
    assert read_head(ID, record[:HEAD_LIMIT]).audience == widest.audience
    assert read_head(ID, record[:HEAD_LIMIT]).size == 500_000


def test_a_head_that_would_not_fit_is_refused() -> None:
    with pytest.raises(InvalidEventError, match="attributes"):
        inline_record(ID, an_event(subject="s" * HEAD_LIMIT))


def test_a_body_is_compressed_only_when_it_pays() -> None:
    def encoding(body: bytes) -> str:
        return read_head(ID, inline_record(ID, an_event(body=body))).encoding

    assert encoding(b'{"status": "OUT"}' * 100) == "zstd"
    assert encoding(b'{"status": "OUT"}') == "identity"
    assert encoding(noise(2000)) == "identity"
