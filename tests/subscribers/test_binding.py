"""Events in HTTP: what the ISO puts in is what the participant gets out."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.event import Event
from claimbus.subscribers import MalformedEventError, Received
from claimbus.subscribers.binding import received, request_of
from consumers.binding import STRUCTURED, claim_body
from tests.subscribers.sender import an_event, signed

text = st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=60)
events = st.builds(
    an_event,
    id=text,
    source=text,
    subject=st.none() | text,
    partitionkey=st.none() | text,
    sequence=st.none() | st.integers(0, 2**63 - 1),
    dataschema=st.none() | text,
    time=st.datetimes(timezones=st.just(UTC)),
    body=st.binary(max_size=100),
    datacontenttype=st.sampled_from(["application/json", "text/csv; charset=utf-8", "application/gzip"]),
)


@given(event=events, attempt=st.integers(1, 99), replay=st.none() | st.just("rp_1"))
def test_every_event_arrives_as_it_was_sent(event: Event, attempt: int, replay: str | None) -> None:
    arrived = received(*signed(event, attempt=attempt, replay=replay))
    assert arrived.message_id == event.identity
    assert arrived.attributes == event.attributes()
    assert (arrived.attempt, arrived.replay, arrived.body) == (attempt, replay, event.body)
    for name in ("id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "sequence"):
        assert getattr(arrived, name) == getattr(event, name)


@given(event=events)
def test_what_a_stream_brought_is_forwarded_like_a_webhook(event: Event) -> None:
    streamed = Received(
        message_id=event.identity, attributes=event.attributes(), body=event.body, attempt=3, replay="rp_1"
    )
    assert received(*request_of(streamed)) == streamed


def test_what_a_webhook_brought_is_forwarded_with_its_own_headers() -> None:
    headers, body = signed(an_event())
    arrived = received(headers | {"host": "us", "authorization": "ours", "connection": "close"}, body)
    assert request_of(arrived) == (headers, body)


def test_a_claim_names_where_its_body_is() -> None:
    event = an_event(subject="Zoë", sequence=7)
    headers = signed(event)[0] | {"content-type": f"{STRUCTURED}; charset=utf-8"}
    body = claim_body(event, "/v1/claims/abc")
    arrived = received(headers, body)
    assert (arrived.body, arrived.dataref) == (None, "/v1/claims/abc")
    assert arrived.attributes == event.attributes()
    assert request_of(arrived).body == body


def test_dates_of_retirement_are_passed_on() -> None:
    headers, body = signed(an_event())
    arrived = received(
        headers | {"deprecation": "@1790812800", "sunset": "Fri, 01 Oct 2027 00:00:00 GMT"}, body
    )
    assert (arrived.deprecation, arrived.sunset) == ("@1790812800", "Fri, 01 Oct 2027 00:00:00 GMT")


def test_unknown_attributes_are_kept_and_quoted_strings_resolved() -> None:
    headers, body = signed(an_event())
    arrived = received(headers | {"ce-extra": '"a \\"b\\" %C3%A9"'}, body)
    assert arrived.attributes["extra"] == 'a "b" é'


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ce-id": None}, "id"),
        ({"ce-source": None}, "source"),
        ({"ce-type": None}, "type"),
        ({"ce-type": ""}, "type"),
        ({"ce-type": "a%0Ab"}, "type"),
        ({"ce-type": "%FF"}, "attributes"),
        ({"ce-a_b": "1"}, "attributes"),
        ({"ce-specversion": "0.3"}, "specversion"),
        ({"ce-time": "yesterday"}, "time"),
        ({"ce-time": "2026-01-01T00:00:00"}, "time"),
        ({"ce-sequence": "-1"}, "sequence"),
        ({"ce-sequence": "9223372036854775808"}, "sequence"),
        ({"ce-sequence": "²"}, "sequence"),
        ({"claimbus-attempt": "0"}, "attempt"),
        ({"claimbus-attempt": "two"}, "claimbus-attempt"),
        ({"webhook-id": "evt_another"}, "id"),
    ],
)
def test_what_is_malformed_is_refused_by_name(changes: dict[str, str | None], field: str) -> None:
    headers, body = signed(an_event())
    changed = {name: value for name, value in (headers | changes).items() if value is not None}
    with pytest.raises(MalformedEventError) as refused:
        received(changed, body)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"{}", "id"),
        ({"data": {}}, "data"),
        ({"dataref": None}, "dataref"),
        ({"sequence": 7}, "sequence"),
        ({"dataref": ""}, "dataref"),
    ],
)
def test_a_malformed_claim_is_refused_by_name(document: Any, field: str) -> None:  # noqa: ANN401
    event = an_event()
    if isinstance(document, dict):
        document = json.dumps(event.attributes() | {"dataref": "/v1/claims/a"} | document).encode()
    with pytest.raises(MalformedEventError) as refused:
        received(signed(event)[0] | {"content-type": STRUCTURED}, document)
    assert refused.value.field == field


def test_a_json_body_is_read_and_another_is_refused() -> None:
    assert received(*signed(an_event(body=b'{"mw": 1}'))).json() == {"mw": 1}
    with pytest.raises(MalformedEventError):
        received(*signed(an_event(body=b"\xff"))).json()


def test_a_time_in_another_zone_is_given_in_utc() -> None:
    headers, body = signed(an_event())
    arrived = received(headers | {"ce-time": "2026-01-01T01:00:00+01:00"}, body)
    assert arrived.time == datetime(2026, 1, 1, tzinfo=UTC)
    assert arrived.time.utcoffset() == timedelta(0)
