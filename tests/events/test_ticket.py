from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.errors import InvalidTicketError
from claimbus.events.ticket import Ticket, decode

TICKET = Ticket(
    claim_id="q83Kd0",
    message_id="evt_1",
    type="market.dam.closed",
    timestamp=1_700_000_000,
    expires=1_700_604_800,
)

ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
numbers = st.integers(0, 2**62)
tickets = st.builds(
    Ticket,
    claim_id=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    message_id=ids,
    type=ids,
    timestamp=numbers,
    expires=numbers,
    partitionkey=st.none() | ids,
    sequence=st.none() | numbers,
    traceparent=st.none() | ids,
    endpoint=st.none() | ids,
    attempt=st.integers(0, 2**31 - 1),
    released=st.none() | numbers,
    replay=st.none() | ids,
)


def read_back(ticket: Ticket, headers: Mapping[str, object] | None = None) -> Ticket:
    return decode(
        ticket.body(),
        message_id=ticket.message_id,
        type_=ticket.type,
        timestamp=ticket.timestamp,
        headers={**ticket.headers(), **(headers or {})},
    )


@given(tickets)
def test_a_ticket_comes_back_from_amqp(ticket: Ticket) -> None:
    assert read_back(ticket) == ticket


def test_what_the_broker_adds_to_a_ticket_is_passed_over() -> None:
    assert read_back(TICKET, {"x-death": [{"count": 1}], "x-delivery-count": 2}) == TICKET


def test_a_first_ticket_has_no_header_but_its_expiry() -> None:
    assert TICKET.headers() == {"expires": TICKET.expires}


def test_the_age_counts_from_the_release_if_there_was_one() -> None:
    assert TICKET.age_begins == TICKET.timestamp
    assert replace(TICKET, released=1_700_000_500).age_begins == 1_700_000_500


@pytest.mark.parametrize("body", [b"", b"x" * 65, "é".encode(), b"a\0b", b"a b"])
def test_a_body_that_is_no_claim_id_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidTicketError) as refused:
        decode(body, message_id="evt_1", type_="market.dam.closed", timestamp=1, headers=TICKET.headers())
    assert refused.value.field == "body"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("expires", None),
        ("expires", "soon"),
        ("sequence", -1),
        ("sequence", 2**63),
        ("attempt", 2**31),
        ("partitionkey", "a\0b"),
        ("partitionkey", "x" * 1025),
        ("attempt", True),
        ("attempt", 1.5),
        ("released", b"1"),
        ("endpoint", 7),
        ("partitionkey", ["15120034"]),
        ("replay", {}),
        ("traceparent", 0),
    ],
)
def test_a_malformed_header_is_named(header: str, value: object) -> None:
    with pytest.raises(InvalidTicketError) as refused:
        read_back(TICKET, {header: value})
    assert refused.value.field == header


@pytest.mark.parametrize("missing", ["message_id", "type_", "timestamp"])
def test_a_missing_property_is_named(missing: str) -> None:
    properties: dict[str, Any] = {"message_id": "evt_1", "type_": "market.dam.closed", "timestamp": 1}
    properties[missing] = None
    with pytest.raises(InvalidTicketError) as refused:
        decode(b"q83Kd0", headers=TICKET.headers(), **properties)
    assert refused.value.field == missing.rstrip("_")
