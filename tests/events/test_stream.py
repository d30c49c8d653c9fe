from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claimbus.events.stream import (
    MAX_FRAME,
    MAX_REASON,
    Ack,
    CloseCode,
    Delivery,
    MalformedFrameError,
    Nack,
    decode_answer,
    decode_delivery,
)

EVENT: dict[Any, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "urn:iso:oms",
    "type": "market.dam.closed",
}
DELIVERY = Delivery(delivery=1, attempt=1, message_id="evt_1", event=EVENT, body=b"{}")

numbers = st.integers(1, 2**63 - 1)
texts = st.text(min_size=1, max_size=50).filter(str.isprintable)
names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True)
deliveries = st.builds(
    Delivery,
    delivery=numbers,
    attempt=numbers,
    message_id=texts,
    event=st.dictionaries(names, texts).map(lambda drawn: EVENT | drawn),
    body=st.binary(),
    replay=st.none() | texts,
    deprecation=st.none() | texts,
    sunset=st.none() | texts,
)
by_reference = st.builds(lambda drawn, url: replace(drawn, body=None, dataref=url), deliveries, texts)
answers = st.builds(Ack, numbers) | st.builds(Nack, numbers, texts)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
keys = st.sampled_from(
    ["delivery", "attempt", "message_id", "event", "body", "dataref", "replay", "ack", "nack", "reason"]
)
nearly_frames = st.dictionaries(keys, values).map(msgpack.packb)


@given(deliveries | by_reference)
def test_a_delivery_comes_back(delivery: Delivery) -> None:
    assert decode_delivery(delivery.encode()) == delivery


@given(answers)
def test_an_answer_comes_back(answer: Ack | Nack) -> None:
    assert decode_answer(answer.encode()) == answer


@given(st.dictionaries(st.text().filter(lambda key: key not in Delivery.__slots__), values))
def test_what_a_newer_side_adds_is_passed_over(added: dict[str, object]) -> None:
    frame = msgpack.packb(msgpack.unpackb(DELIVERY.encode()) | added)
    assert decode_delivery(frame) == DELIVERY


@given(st.binary() | nearly_frames | st.text())
@example(b"\xc7\x0c\xff" + b"\xff" * 12)  # a timestamp out of range
@example(b"\x81\x90\x01")  # a list as a key
@example(b"\x91" * 2000)  # deeper than msgpack goes
@example(b"\xdf\xff\xff\xff\xff")  # a map longer than memory
def test_any_bytes_are_a_frame_or_malformed(frame: bytes | str) -> None:
    for decode in (decode_delivery, decode_answer):
        with suppress(MalformedFrameError):
            decode(frame)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("delivery", 0),
        ("delivery", True),
        ("delivery", 1.0),
        ("delivery", 2**63),
        ("attempt", None),
        ("attempt", -1),
        ("message_id", ""),
        ("message_id", "a\nb"),
        ("message_id", None),
        ("event", None),
        ("event", []),
        ("event", EVENT | {"subject": 1}),
        ("event", EVENT | {b"subject": "x"}),
        ("body", "text"),
        ("body", None),
        ("replay", 1),
        ("dataref", b"x"),
        ("deprecation", "\r\n"),
        ("sunset", ""),
    ],
)
def test_a_malformed_part_of_a_delivery_is_named(key: str, value: object) -> None:
    with pytest.raises(MalformedFrameError) as refused:
        decode_delivery(msgpack.packb(msgpack.unpackb(DELIVERY.encode()) | {key: value}))
    assert refused.value.field == key


def test_a_body_comes_in_the_frame_or_by_reference_and_not_both() -> None:
    with pytest.raises(MalformedFrameError, match="not both"):
        decode_delivery(replace(DELIVERY, dataref="https://iso.example/v1/claims/1").encode())


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({}, "frame"),
        ([], "frame"),
        ({"ack": 1, "nack": 1, "reason": "x"}, "frame"),
        ({"ack": 0}, "ack"),
        ({"nack": 1}, "reason"),
        ({"nack": 1, "reason": "x" * (MAX_REASON + 1)}, "reason"),
        ({"nack": "1", "reason": "x"}, "nack"),
    ],
)
def test_a_malformed_answer_is_named(answer: object, field: str) -> None:
    with pytest.raises(MalformedFrameError) as refused:
        decode_answer(msgpack.packb(answer))
    assert refused.value.field == field


@pytest.mark.parametrize("decode", [decode_delivery, decode_answer])
@pytest.mark.parametrize("frame", ["{}", b"", b"\0" * (MAX_FRAME + 1), Ack(1).encode() + b"\0"])
def test_what_is_no_single_binary_map_is_malformed(
    decode: Callable[[bytes | str], Any], frame: bytes | str
) -> None:
    with pytest.raises(MalformedFrameError) as refused:
        decode(frame)
    assert refused.value.field == "frame"


def test_each_close_code_says_what_it_means() -> None:
    assert CloseCode(4403) is CloseCode.NOT_ENTITLED
    assert all(code.meaning for code in CloseCode)
