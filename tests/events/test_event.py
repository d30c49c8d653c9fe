from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.errors import InvalidEventError
from claimbus.events.event import (
    ALL,
    MAX_SEQUENCE,
    Audience,
    Event,
    audience_of,
    check,
    format_time,
    identity,
    new_id,
    parse_time,
)
from tests.events.strategies import audiences, event_types

EVENT = Event(
    type="oms.resource-outage.changed",
    source="/production/oms",
    id="15120034-3",
    time=datetime(2026, 1, 15, 8, tzinfo=UTC),
    body=b"{}",
    audience=ALL,
)

words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40)
moments = st.datetimes(
    datetime(1990, 1, 1),  # noqa: DTZ001 - the zone is drawn
    datetime(2090, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-8))]),
)


@given(
    st.builds(
        Event,
        type=event_types,
        source=words,
        id=words,
        time=moments,
        body=st.binary(max_size=9),
        audience=audiences,
        subject=st.none() | words,
        dataschema=st.none() | words,
        partitionkey=st.none() | words,
        sequence=st.none() | st.integers(0, MAX_SEQUENCE),
        traceparent=st.none() | words,
    )
)
def test_an_event_comes_back_from_its_attributes(event: Event) -> None:
    check(event)
    assert Event.from_attributes(event.attributes(), event.body, event.audience) == event


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("type", "oms.outage"),
        ("type", "oms.resource-outage.Changed"),
        ("id", ""),
        ("id", "x" * 129),
        ("id", "15120034\n3"),
        ("source", ""),
        ("source", "/" + "é" * 512),
        ("subject", "\x7f"),
        ("time", EVENT.time.replace(tzinfo=None)),
        ("sequence", -1),
        ("sequence", MAX_SEQUENCE + 1),
        ("audience", frozenset()),
        ("audience", frozenset({"pgae"})),
        ("audience", "PGAE"),
        ("audience", frozenset(f"P{n}" for n in range(1001))),
    ],
)
def test_an_event_beyond_the_limits_is_refused_with_the_attribute(attribute: str, value: object) -> None:
    wrong: dict[str, Any] = {attribute: value}
    with pytest.raises(InvalidEventError) as refused:
        check(replace(EVENT, **wrong))
    assert refused.value.field == attribute


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("sequence", "-1"),
        ("sequence", "1_0"),
        ("sequence", "9" * 40),
        ("time", "2026-01-15T08:00"),
        ("time", "x"),
    ],
)
def test_a_malformed_attribute_is_named(attribute: str, value: str) -> None:
    with pytest.raises(InvalidEventError) as refused:
        Event.from_attributes({**EVENT.attributes(), attribute: value}, b"", ALL)
    assert refused.value.field == attribute


@pytest.mark.parametrize("attribute", ["id", "source", "type", "time"])
def test_a_missing_attribute_is_named(attribute: str) -> None:
    attributes = EVENT.attributes()
    del attributes[attribute]
    with pytest.raises(InvalidEventError) as refused:
        Event.from_attributes(attributes, b"", ALL)
    assert refused.value.field == attribute


def test_the_attributes_do_not_tell_the_audience() -> None:
    assert "PGAE" not in str(replace(EVENT, audience=audience_of(["PGAE", "SCE1"])).attributes())


@given(st.tuples(words, words), st.tuples(words, words))
def test_source_and_id_together_are_the_identity(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (identity(*one) == identity(*other)) == (one == other)
    assert len(identity(*one)) < 64


def test_new_ids_differ_and_are_safe_in_a_url() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(made) == 22 and made.replace("-", "").replace("_", "").isalnum() for made in ids)


@given(moments)
def test_a_time_survives_its_text(moment: datetime) -> None:
    assert format_time(moment).endswith("Z")
    assert parse_time(format_time(moment)) == moment


@pytest.mark.parametrize("audience", [ALL, frozenset({"PGAE", "NOB_2"})])
def test_a_well_formed_audience_is_accepted(audience: Audience) -> None:
    check(replace(EVENT, audience=audience))


@pytest.mark.parametrize(
    "datacontenttype",
    [
        "application/json",
        "text/plain; charset=utf-8",
        'text/csv;header="pre\\"sent"',
        "application/vnd.iso+xml ;",
    ],
)
def test_a_content_type_may_have_parameters(datacontenttype: str) -> None:
    check(replace(EVENT, datacontenttype=datacontenttype))


@pytest.mark.parametrize("datacontenttype", ["json", "text/", "a/b/c", "text/plain charset", "text/plain; ="])
def test_what_is_no_content_type_is_refused(datacontenttype: str) -> None:
    with pytest.raises(InvalidEventError) as refused:
        check(replace(EVENT, datacontenttype=datacontenttype))
    assert refused.value.field == "datacontenttype"
