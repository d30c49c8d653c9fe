"""CloudEvents in HTTP, as the CloudEvents project's own library and others write them."""

import base64
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from claimbus.events.errors import InvalidEventError
from claimbus.events.event import Audience
from claimbus.portal.ingest_events import Defaults, binary, idempotency_key, structured
from tests.events.strategies import audiences

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OWN = Defaults(source="urn:claimbus:test:oms", at=NOW)
TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
JSON = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9)
)


def spelled(audience: Audience) -> str:
    return audience if isinstance(audience, str) else ", ".join(sorted(audience))


@st.composite
def attributes(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": draw(TEXT),
        "source": "urn:claimbus:test:oms:" + draw(st.sampled_from(["a", "b"])),
        "type": "oms.resource-outage.changed",
        "specversion": "1.0",
        "time": draw(st.datetimes(timezones=st.just(UTC))),
        "datacontenttype": "application/json",
    }
    optional = {"subject": TEXT, "partitionkey": TEXT, "sequence": st.integers(0, 2**63 - 1).map(str)}
    return found | {name: draw(values) for name, values in optional.items() if draw(st.booleans())}


@given(attributes(), audiences, JSON)
def test_what_another_library_sends_in_binary_mode_is_what_arrives(
    sent: dict[str, Any], audience: Audience, data: dict[str, Any]
) -> None:
    message = to_binary_event(CloudEvent(sent, data))
    event = binary(Headers({**message.headers, "claimbus-audience": spelled(audience)}), OWN)
    arrived = event.attributes()
    assert datetime.fromisoformat(arrived.pop("time")) == sent.pop("time")
    assert arrived == sent
    assert event.audience == audience


@given(attributes(), audiences, JSON)
def test_what_another_library_sends_in_structured_mode_is_what_arrives(
    sent: dict[str, Any], audience: Audience, data: dict[str, Any]
) -> None:
    message = to_structured_event(CloudEvent({**sent, "audience": spelled(audience)}, data))
    event = structured(orjson.loads(message.body), OWN)
    arrived = event.attributes()
    assert datetime.fromisoformat(arrived.pop("time")) == sent.pop("time")
    assert arrived == sent
    assert event.audience == audience
    assert orjson.loads(event.body) == data


@given(attributes(), st.binary())
def test_a_body_in_base64_is_taken_as_it_is(sent: dict[str, Any], data: bytes) -> None:
    sent |= {"datacontenttype": "application/octet-stream", "audience": "all"}
    message = to_structured_event(CloudEvent(sent, data))
    document = orjson.loads(message.body)
    assert "data_base64" in document
    assert structured(document, OWN).body == data


MINIMAL = {
    "specversion": "1.0",
    "id": "1",
    "type": "market.dam.closed",
    "audience": ["PGAE", "SCE1"],
    "data": {"market": "dam"},
}


def test_what_is_left_out_is_the_publishers_own_source_now_and_json() -> None:
    event = structured({**MINIMAL, "time": None}, OWN)
    assert (event.source, event.time, event.datacontenttype) == (OWN.source, NOW, "application/json")
    assert event.audience == frozenset({"PGAE", "SCE1"})
    assert event.body == b'{"market":"dam"}'


def test_a_text_that_is_not_json_is_the_body() -> None:
    event = structured({**MINIMAL, "datacontenttype": "application/xml", "data": "<a>ü</a>"}, OWN)
    assert event.body == "<a>ü</a>".encode()


def test_a_sequence_may_be_a_number() -> None:
    assert structured({**MINIMAL, "sequence": 7}, OWN).sequence == 7


def test_an_idempotency_key_is_the_id() -> None:
    for given_key in ("0815", '"0815"'):
        key = idempotency_key(Headers({"Idempotency-Key": given_key}))
        own = Defaults(source=OWN.source, at=NOW, id=key)
        without = {name: value for name, value in MINIMAL.items() if name != "id"}
        assert structured(without, own).id == "0815"
        with pytest.raises(InvalidEventError) as refused:
            structured(MINIMAL, own)
        assert refused.value.field == "idempotency-key"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"specversion": None}, "specversion"),
        ({"specversion": "0.3"}, "specversion"),
        ({"id": None}, "id"),
        ({"type": None}, "type"),
        ({"type": True}, "type"),
        ({"type": 1.5}, "type"),
        ({"subject": {"resource": "X"}}, "subject"),
        ({"time": "yesterday"}, "time"),
        ({"time": "2026-03-01T12:00:00"}, "time"),
        ({"sequence": "-1"}, "sequence"),
        ({"audience": None}, "audience"),
        ({"audience": ""}, "audience"),
        ({"audience": []}, "audience"),
        ({"audience": {"PGAE": True}}, "audience"),
        ({"audience": ["all", "PGAE"]}, "audience"),
        ({"audience": "pgae"}, "audience"),
        ({"dataref": "https://elsewhere.example"}, "dataref"),
        ({"colour": "red"}, "colour"),
        ({"data_base64": "YQ=="}, "data_base64"),
        ({"data": None, "data_base64": "%"}, "data_base64"),
        ({"data": None, "data_base64": 1}, "data_base64"),
        ({"datacontenttype": "text/plain"}, "data"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidEventError) as refused:
        structured({**MINIMAL, **changes}, OWN)
    assert refused.value.field == field


HEADERS = [
    ("ce-specversion", "1.0"),
    ("ce-id", "1"),
    ("ce-type", "market.dam.closed"),
    ("content-type", "application/json"),
    ("claimbus-audience", "PGAE"),
]


def headers(*more: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode("latin-1")) for name, value in [*HEADERS, *more]])


def test_several_audience_headers_add_up() -> None:
    assert binary(headers(("claimbus-audience", "SCE1")), OWN).audience == frozenset({"PGAE", "SCE1"})


def test_a_quoted_header_is_unquoted() -> None:
    assert binary(headers(("ce-subject", r'"a \"b\" %C3%BC"')), OWN).subject == 'a "b" ü'


@pytest.mark.parametrize(
    ("more", "field"),
    [
        (("ce-id", "2"), "id"),
        (("ce-subject", "ü"), "subject"),
        (("ce-subject", "%FF"), "subject"),
        (("ce-datacontenttype", "text/plain"), "datacontenttype"),
        (("ce-audience", "PGAE"), "audience"),
    ],
)
def test_a_wrong_header_is_named(more: tuple[str, str], field: str) -> None:
    with pytest.raises(InvalidEventError) as refused:
        binary(headers(more), OWN)
    assert refused.value.field == field


def test_a_header_of_tracing_is_dropped() -> None:
    assert "tracestate" not in binary(headers(("ce-tracestate", "a=b")), OWN).attributes()


def test_base64_of_more_than_one_line_is_refused() -> None:
    folded = base64.encodebytes(bytes(100)).decode()
    with pytest.raises(InvalidEventError, match="Base64"):
        structured({**MINIMAL, "data": None, "data_base64": folded}, OWN)
