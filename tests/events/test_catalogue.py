import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given

from claimbus.events import catalogue
from claimbus.events.bodies import Body, decoded, encoded
from claimbus.events.catalogue import (
    EVENT_TYPES,
    HOURLY_MARKETS,
    MARKET_EVENTS,
    WINDOW_EVENTS,
    EventType,
    Retirement,
    admit,
    check,
    convert,
    lookup,
    retirement,
    schema_uri,
    version_of,
)
from claimbus.events.errors import InvalidEventError
from claimbus.events.event import ALL, Event, is_event_type, parse_time
from claimbus.events.outages import Change, Outage, outage_event
from claimbus.events.routing import DOMAINS
from tests.events.strategies import outages

CHANGED = "oms.resource-outage.changed"
AT = datetime(2026, 1, 15, 8, tzinfo=UTC)

every_type = pytest.mark.parametrize("kind", EVENT_TYPES.values(), ids=lambda kind: kind.name)


def event_of(name: str, body: Body | bytes, **attributes: object) -> Event:
    known: dict[str, Any] = {"source": "/production/oms", "id": "1", "time": AT, "audience": ALL}
    return Event(type=name, body=body if isinstance(body, bytes) else encoded(body), **(known | attributes))


def example(name: str = CHANGED, **fields: object) -> Body:
    return lookup(name).example | fields


def test_the_catalogue_holds_every_type_of_the_design_and_no_other() -> None:
    changes = ("created", "changed", "status-changed", "ended", "cancelled")
    window = {"opened", "closing-soon", "closed", "reopened", "reclosed"}
    results = {"results-published", "publication-delayed", "price-corrected"}
    wanted = {f"oms.{noun}-outage.{change}" for noun in ("resource", "transmission") for change in changes}
    wanted |= {f"market.{m}.{event}" for m in ("dam", "hasp", "fmm", "rtm") for event in window | results}
    wanted |= {f"market.ruc.{event}" for event in results}
    wanted |= {f"system.endpoint.{event}" for event in ("test", "held", "released", "disabled")}
    wanted |= {"system.notice.published"}
    assert EVENT_TYPES.keys() == wanted


@every_type
def test_every_type_is_well_formed(kind: EventType) -> None:
    assert is_event_type(kind.name)
    assert kind.name.partition(".")[0] in DOMAINS
    assert [known.version for known in kind.versions] == list(range(1, len(kind.versions) + 1))
    for known in kind.versions:
        assert jsonschema_rs.meta.is_valid(known.schema.document)
        assert known.uri == known.schema.document["$id"] == schema_uri(kind.name, known.version)


@every_type
def test_every_example_can_be_published_and_converted_to_every_version(kind: EventType) -> None:
    event = admit(event_of(kind.name, kind.example))
    assert event.dataschema == kind.newest.uri
    for known in kind.versions:
        converted = convert(event, known.version)
        assert version_of(converted) is known
        known.schema.check(decoded(converted.body))
        assert converted == replace(event, body=converted.body, dataschema=known.uri)


@every_type
def test_every_required_field_is_missed(kind: EventType) -> None:
    for missing in kind.newest.schema.document["required"]:
        body = {name: value for name, value in kind.example.items() if name != missing}
        with pytest.raises(InvalidEventError) as refused:
            check(event_of(kind.name, body))
        assert (refused.value.field, refused.value.reason) == (f"body.{missing}", "is required")


def test_two_versions_of_a_schema_stand_side_by_side() -> None:
    first, second = lookup(CHANGED).versions
    assert first.schema.document != second.schema.document
    with pytest.raises(InvalidEventError):
        first.schema.check(example())
    with pytest.raises(InvalidEventError):
        second.schema.check(decoded(convert(event_of(CHANGED, example()), 1).body))


@given(outages)
def test_the_older_version_has_the_envelope_of_the_curtailments(outage: Outage) -> None:
    change = Change(kind="created", before=None, after=outage)
    event = outage_event(change, sequence=1, source="/oms", audience=ALL, at=AT)
    check(event)
    older = decoded(convert(event, 1).body)
    lookup(event.type).versions[0].schema.check(older)
    rows = outage.curtailments
    assert parse_time(older["start"]) == min(row.start for row in rows)
    assert parse_time(older["end"]) == outage.end
    assert older["curtailment_mw"] == max(row.mw for row in rows)


def test_the_envelope_compares_instants_not_texts() -> None:
    rows = [
        {"start": "2026-01-15T08:00:00Z", "end": "2026-01-15T09:00:00Z", "mw": 1},
        {"start": "2026-01-15T00:30:00-08:00", "end": "2026-01-15T01:30:00-08:00", "mw": 2},
    ]
    older = decoded(convert(event_of(CHANGED, example(curtailments=rows)), 1).body)
    assert (older["start"], older["end"]) == ("2026-01-15T08:00:00Z", "2026-01-15T01:30:00-08:00")


def test_an_event_in_an_older_version_is_not_converted_upwards() -> None:
    older = convert(event_of(CHANGED, example()), 1)
    assert convert(older, 2) is older
    assert convert(older, 1) is older


def test_a_body_that_is_not_json_is_not_converted() -> None:
    event = event_of(CHANGED, b"<outage/>", datacontenttype="application/xml")
    assert convert(event, 1) is event


@pytest.mark.parametrize("version", [0, 3])
def test_a_version_that_does_not_exist_is_refused(version: int) -> None:
    with pytest.raises(InvalidEventError, match=f"has no version {version}"):
        convert(event_of(CHANGED, example()), version)


def test_a_schema_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidEventError) as refused:
        version_of(event_of(CHANGED, b"", dataschema=schema_uri("market.dam.closed", 1)))
    assert refused.value.field == "dataschema"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("market.dam.close", "did you mean 'market.dam.closed'?"),
        ("oms.resource-outage.update", "oms.resource-outage"),
        ("market.ruc.closed", "did you mean"),
    ],
)
def test_an_unknown_type_is_refused_with_a_near_miss(name: str, hint: str) -> None:
    with pytest.raises(InvalidEventError, match=hint.replace("?", r"\?")) as refused:
        check(event_of(name, {}))
    assert refused.value.field == "type"


def test_a_type_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(InvalidEventError) as refused:
        lookup("qqq.qqq.qqq")
    assert refused.value.reason == "'qqq.qqq.qqq' is not in the catalogue"


ROW = {"start": "2026-01-15T08:00:00Z", "end": "2026-01-15T20:00:00Z", "mw": 1.0}


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        (
            {"curtailments": [ROW, ROW | {"mw": "SECRET"}]},
            "body.curtailments[1].mw",
            'is not of type "number"',
        ),
        ({"curtailments": [ROW | {"mw": -1}]}, "body.curtailments[0].mw", "is less than the minimum of 0"),
        ({"curtailments": [ROW | {"mw": True}]}, "body.curtailments[0].mw", 'is not of type "number"'),
        ({"curtailments": []}, "body.curtailments", "has less than 1 item"),
        ({"curtailments": [{"start": ROW["start"], "mw": 1}]}, "body.curtailments[0].end", "is required"),
        ({"curtailments": [ROW | {"SECRET": 1}]}, "body.curtailments[0].SECRET", "is not in the schema"),
        (
            {"curtailments": [ROW | {"end": "2026-01-15T20:00:00"}]},
            "body.curtailments[0].end",
            'is not a "date-time"',
        ),
        ({"mrid": "SECRET SECRET"}, "body.mrid", 'does not match "^[!-~]{1,64}$"'),
        ({"mrid": 15120034}, "body.mrid", 'is not of type "string"'),
        ({"status": "SECRET" * 20}, "body.status", "is longer than 64 characters"),
        ({"resource_name": ""}, "body.resource_name", "is shorter than 1 character"),
        ({"changed_fields": ["SECRET"]}, "body.changed_fields[0]", None),
        ({"extra": "SECRET"}, "body.extra", "is not in the schema"),
    ],
)
def test_a_body_against_its_schema_is_refused_with_the_path_and_without_the_value(
    fields: Body, field: str, reason: str | None
) -> None:
    with pytest.raises(InvalidEventError) as refused:
        check(event_of(CHANGED, example(**fields)))
    assert refused.value.field == field
    assert reason in (refused.value.reason, None)
    assert "SECRET" not in refused.value.reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"pmax_mw": NaN}',
        b"[" * 100_000,
        b'{"mrid":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"pmax_mw":' + b"9" * 5000 + b"}",
        b'{"mrid": "\\ud800"}',
        b"[]",
        b"null",
    ],
    ids=lambda body: str(body[:12]),
)
def test_a_body_that_is_no_sound_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidEventError) as refused:
        check(event_of(CHANGED, body))
    assert refused.value.field == "body"


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/cim+json"]
)
def test_json_by_any_name_is_checked(content_type: str) -> None:
    with pytest.raises(InvalidEventError):
        check(event_of(CHANGED, b"{}", datacontenttype=content_type))


@pytest.mark.parametrize(
    "content_type", ["application/xml", "text/plain", "application/jsonish", "application/x-json-seq"]
)
def test_a_body_that_is_not_json_is_not_looked_into(content_type: str) -> None:
    event = event_of(CHANGED, b"<outage/>", datacontenttype=content_type, dataschema="urn:iso:outage.xsd")
    assert admit(event) is event


def test_the_wire_limits_hold_for_every_event() -> None:
    with pytest.raises(InvalidEventError) as refused:
        check(event_of(CHANGED, example(), id=""))
    assert refused.value.field == "id"


def test_what_the_catalogue_knows_is_filled_in() -> None:
    event = admit(event_of(CHANGED, example()))
    assert (event.partitionkey, event.dataschema) == ("15120034", f"urn:claimbus:schema:{CHANGED}:2")
    assert admit(event) is event


def test_an_ordering_key_that_contradicts_the_body_is_refused() -> None:
    with pytest.raises(InvalidEventError) as refused:
        check(event_of(CHANGED, example(), partitionkey="15120035"))
    assert refused.value.field == "partitionkey"


def test_only_the_newest_version_is_published() -> None:
    with pytest.raises(InvalidEventError) as refused:
        check(convert(event_of(CHANGED, example()), 1))
    assert refused.value.field == "dataschema"


@every_type
def test_a_market_has_an_hour_where_its_window_has_one(kind: EventType) -> None:
    _, market, event = kind.name.split(".")
    if market not in MARKET_EVENTS:
        return
    hour = {"hour": 18, "starts": "2026-01-16T01:00:00Z", "ends": "2026-01-16T02:00:00Z"}
    without = {name: value for name, value in kind.example.items() if name not in hour}
    assert is_accepted(kind.name, without | hour) == (market in HOURLY_MARKETS)
    assert is_accepted(kind.name, without) == (market not in HOURLY_MARKETS or event not in WINDOW_EVENTS)
    assert not is_accepted(kind.name, without | {"hour": 18})


def is_accepted(name: str, body: Body) -> bool:
    try:
        check(event_of(name, body))
    except InvalidEventError:
        return False
    return True


def test_a_version_is_retired_while_its_type_stays() -> None:
    event = event_of(CHANGED, example())
    assert retirement(event) == Retirement(None, None)
    assert retirement(convert(event, 1)) == Retirement(date(2026, 10, 1), date(2027, 10, 1))


def test_the_dates_of_a_retired_type_can_be_configured() -> None:
    retired = replace(lookup(CHANGED), sunset=date(2030, 1, 1))
    event = event_of(CHANGED, example())
    assert retirement(event, {CHANGED: retired}) == Retirement(None, date(2030, 1, 1))
    assert retirement(event_of("market.dam.closed", b""), {CHANGED: retired}) == Retirement(None, None)


def test_what_the_catalogue_does_not_know_has_no_dates() -> None:
    foreign = event_of(CHANGED, b"<outage/>", datacontenttype="text/xml", dataschema="urn:iso:outage.xsd")
    assert retirement(foreign) == retirement(event_of("oms.outage.gone", b"")) == Retirement(None, None)


def test_a_participant_needs_no_validator_to_read_the_catalogue() -> None:
    program = (
        f"import sys, {catalogue.__name__}, claimbus.events.outages; print('jsonschema_rs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
