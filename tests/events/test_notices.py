from datetime import UTC, datetime
from typing import get_args

import pytest

from claimbus.events.bodies import decoded
from claimbus.events.catalogue import check
from claimbus.events.errors import InvalidEventError
from claimbus.events.notices import EndpointEvent, endpoint_event, notice_event
from claimbus.events.schemas import NoticeKind

AT = datetime(2026, 1, 15, 8, tzinfo=UTC)
EFFECTIVE = datetime(2026, 3, 1, 16, tzinfo=UTC)


@pytest.mark.parametrize("kind", get_args(NoticeKind))
def test_a_notice_of_every_kind_tells_from_when_it_holds(kind: NoticeKind) -> None:
    event = notice_event(
        kind,
        notice_id="tls-1-1-off",
        title="TLS 1.1 is switched off",
        text="Connections below TLS 1.2 are refused.",
        effective=EFFECTIVE,
        ends=EFFECTIVE,
        url="https://iso.example/notices/17",
        source="/production/portal",
        at=AT,
    )
    check(event)
    assert (event.id, event.partitionkey, event.audience) == ("tls-1-1-off", "tls-1-1-off", "all")
    assert decoded(event.body)["effective"] == "2026-03-01T16:00:00Z"


def test_a_notice_without_a_text_is_refused() -> None:
    event = notice_event(
        "general", notice_id="x", title="x", text="", effective=EFFECTIVE, source="/portal", at=AT
    )
    with pytest.raises(InvalidEventError, match=r"body\.text"):
        check(event)


@pytest.mark.parametrize("news", get_args(EndpointEvent))
def test_news_of_an_endpoint_goes_to_its_participant_only(news: EndpointEvent) -> None:
    event = endpoint_event(
        news, "ep_7Qm2", participant="PGAE", source="/workers", at=AT, reason="refused 5 times", since=AT
    )
    check(event)
    assert event.type == f"system.endpoint.{news}"
    assert event.audience == frozenset({"PGAE"})
    assert (event.subject, event.partitionkey) == ("ep_7Qm2", "ep_7Qm2")


def test_a_test_event_needs_no_reason_and_a_hold_does() -> None:
    check(endpoint_event("test", "ep_7Qm2", participant="PGAE", source="/portal", at=AT))
    with pytest.raises(InvalidEventError, match=r"body\.reason"):
        check(endpoint_event("held", "ep_7Qm2", participant="PGAE", source="/workers", at=AT))
