"""Where endpoints stand, in words: what a UAA is told to look after."""

import pytest

from claimbus.database.attempts import Attempt
from claimbus.portal.pages.standing import advice, last_failure, plain
from consumers.answer import Answer
from consumers.verification import FAILURES, meaning

DELIVERED = Attempt(
    started_ms=1,
    id=1,
    endpoint_id="ep_1",
    message_id="evt_1",
    verdict="delivered",
    participant_id="PGAE",
    type="market.dam.closed",
    claim_id="claim",
    attempt=1,
    status=204,
    duration_ms=12,
    next="ack",
    detail=None,
    answer_head=None,
    replay=None,
    source="urn:tests",
    event_id="1",
    partitionkey=None,
    sequence=None,
)


@pytest.mark.parametrize(
    ("status", "detail", "said"),
    [
        (503, "HTTP 503", "an error of its own"),
        (429, "HTTP 429", "more than it takes"),
        (302, "HTTP 302", "Redirects are never followed"),
        (None, "connect: refused", "is the receiver running"),
        (None, "tls: certificate expired", "is its certificate valid"),
        (None, "timeout: 15 s", "did not answer in time"),
        (None, None, "Is your receiver up"),
        (None, "what nobody foresaw", "Is your receiver up"),
    ],
)
def test_a_failure_is_told_as_what_to_look_after(status: int | None, detail: str | None, said: str) -> None:
    failed = DELIVERED._replace(verdict="failed", status=status, detail=detail)
    assert said in advice(failed)
    assert last_failure([DELIVERED, failed, DELIVERED._replace(verdict="failed")]) is failed


def test_without_a_failure_there_is_still_something_to_look_after() -> None:
    assert last_failure([]) is None
    assert advice(None).endswith("?")


@pytest.mark.parametrize("failure", FAILURES)
def test_a_uaa_reads_sentences_and_no_names_of_settings(failure: str) -> None:
    told = plain(meaning(Answer(status=None, failure=failure, duration_ms=1, detail="")))  # type: ignore[arg-type]
    assert told[0].isupper()
    assert told[-1] in ".?"
    assert "CLAIMBUS" not in told
    assert ("ask the ISO" in told) is ("CLAIMBUS" in FAILURES[failure])  # type: ignore[index]
