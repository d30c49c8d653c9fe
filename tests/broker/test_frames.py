"""Frames are written and read by hand; pika, which speaks to every RabbitMQ, is the judge."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties
from pika.frame import Header, Method, decode_frame
from pika.spec import Basic

from claimbus.broker import frames
from claimbus.broker.frames import Message
from claimbus.events.errors import InvalidInputError

short = st.text(max_size=60)
numbers = st.integers(-(2**63), 2**63 - 1)
headers = st.dictionaries(short, short | numbers | st.lists(short, max_size=5), max_size=8)
tags = st.integers(1, 2**64 - 1)
channels = st.integers(1, 65535)


def decoded(data: bytes) -> list[Any]:
    found = []
    while data:
        used, frame = decode_frame(data)
        assert used, "half a frame"
        found.append(frame)
        data = data[used:]
    return found


@given(channels, short, short, st.booleans(), st.binary(max_size=300))
def test_pika_reads_what_is_published(
    channel: int, exchange: str, key: str, mandatory: bool, body: bytes
) -> None:
    properties = frames.properties(content_type="text/plain", headers={})
    sent = frames.publish(channel, 4096, Message(exchange, key, properties, body, mandatory=mandatory))
    method, header, *bodies = decoded(sent)
    assert {frame.channel_number for frame in (method, header, *bodies)} == {channel}
    assert method.method == Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory)
    assert header.body_size == len(body)
    assert [frame.fragment for frame in bodies] == ([body] if body else [])


@given(
    content_type=short,
    message_id=st.none() | short,
    type_=st.none() | short,
    timestamp=st.none() | st.integers(0, 2**64 - 1),
    headers=headers,
)
def test_pika_reads_the_properties(headers: dict[str, object], **other: Any) -> None:  # noqa: ANN401
    encoded = frames.properties(headers=headers, **other)
    expected = BasicProperties(
        content_type=other["content_type"],
        headers=headers,
        delivery_mode=2,
        message_id=other["message_id"],
        timestamp=other["timestamp"],
        type=other["type_"],
    )
    assert BasicProperties().decode(encoded) == expected


@given(st.integers(9, 200), st.binary(max_size=2000))
def test_a_long_body_is_cut_into_frames(room: int, body: bytes) -> None:
    properties = frames.properties(content_type="", headers={})
    frame_max = len(properties) + 12 + room
    _, _, *bodies = decoded(frames.publish(1, frame_max, Message("", "", properties, body)))
    assert b"".join(frame.fragment for frame in bodies) == body
    assert all(len(frame.marshal()) <= frame_max for frame in bodies)


def test_headers_that_do_not_fit_a_frame_are_refused() -> None:
    properties = frames.properties(content_type="", headers={"BCC": ["oms.a.b.PARTICIPANT"] * 200})
    with pytest.raises(InvalidInputError, match=r"headers: take .* of at most 4088"):
        frames.publish(1, 4096, Message("oms", "", properties, b"x"))


@given(channels, tags, st.booleans())
def test_pika_reads_acks_and_requeues(channel: int, tag: int, multiple: bool) -> None:
    ack, nack = decoded(frames.ack(channel, tag, multiple) + frames.requeue(channel, tag))
    assert (ack.channel_number, ack.method) == (channel, Basic.Ack(tag, multiple))
    assert (nack.channel_number, nack.method) == (channel, Basic.Nack(tag, multiple=False, requeue=True))


@given(short, tags, st.booleans(), short, short)
def test_a_delivery_is_read_as_pika_writes_it(
    consumer: str, tag: int, redelivered: bool, exchange: str, key: str
) -> None:
    method = Basic.Deliver(consumer, tag, redelivered, exchange, key)
    payload = Method(1, method).marshal()[7:-1]
    assert frames.read_deliver(payload) == (tag, redelivered, exchange, key)
    assert frames.read_tag(payload) == tag


@given(
    headers=st.none() | headers,
    timestamp=st.none() | st.integers(0, 2**64 - 1),
    numbers=st.tuples(*[st.none() | st.integers(0, 255)] * 2),
    texts=st.tuples(*[st.none() | short] * 10),
)
def test_properties_are_read_as_pika_writes_them(
    headers: dict[str, object] | None,
    timestamp: int | None,
    numbers: tuple[int | None, ...],
    texts: tuple[str | None, ...],
) -> None:
    written = BasicProperties(
        texts[0], texts[1], headers, *numbers, texts[2], texts[3], texts[4], texts[5], timestamp, *texts[6:]
    )
    found = frames.read_properties(Header(1, 5, written).marshal()[7:-1])
    assert found == (written.message_id, written.type, written.timestamp, headers or {})


def test_rabbitmqs_own_headers_are_read() -> None:
    death = {"count": 2, "reason": "expired", "routing-keys": ["a", "b"], "time": datetime.now(UTC)}
    written = BasicProperties(headers={"x-death": [death], "x-delivery-count": 3, "flag": True, "none": None})
    found = frames.read_properties(Header(1, 0, written).marshal()[7:-1]).headers
    assert found["x-death"][0]["routing-keys"] == ["a", "b"]
    assert (found["x-delivery-count"], found["flag"], found["none"]) == (3, True, None)
