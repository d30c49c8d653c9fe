"""The decision after an attempt, as a table; no clock, no I/O."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.answer import Answer, Failure
from consumers.retry import Ack, DeadLetter, Disable, Keep, Retry, RetryPolicy, Step, next_step
from consumers.verdict import Outcome, Verdict, judge

POLICY = RetryPolicy(ladder=(5, 30, 120), age_limit=1000)


def answer(status: int | None, retry_after: float | None = None) -> Answer:
    failure: Failure | None = "connect" if status is None else None
    return Answer(
        status=status, failure=failure, retry_after=retry_after, duration_ms=1, head=b"", detail="it said no"
    )


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED),
        (204, Verdict.DELIVERED),
        (301, Verdict.FAILED),
        (307, Verdict.FAILED),
        (400, Verdict.REJECTED),
        (401, Verdict.REJECTED),
        (408, Verdict.FAILED),
        (410, Verdict.REJECTED),
        (422, Verdict.REJECTED),
        (425, Verdict.FAILED),
        (429, Verdict.FAILED),
        (500, Verdict.FAILED),
        (503, Verdict.FAILED),
        (None, Verdict.FAILED),
    ],
)
def test_an_answer_is_judged_by_its_status(status: int | None, verdict: Verdict) -> None:
    assert judge(answer(status)).verdict is verdict


@pytest.mark.parametrize(
    ("status", "attempt", "step"),
    [
        (200, 1, Ack()),
        (500, 1, Retry(0, 5)),
        (500, 2, Retry(1, 30)),
        (500, 3, Retry(2, 120)),
        (500, 4, DeadLetter("attempts exhausted")),
        (None, 1, Retry(0, 5)),
        (None, 4, DeadLetter("attempts exhausted")),
        (302, 1, Retry(0, 5)),
        (422, 1, Retry(0, 5)),
        (422, 2, Retry(1, 30)),
        (422, 3, DeadLetter("rejected")),
        (410, 1, Disable()),
    ],
)
def test_the_step_after_an_attempt(status: int | None, attempt: int, step: Step) -> None:
    assert next_step(judge(answer(status)), attempt=attempt, age=1, probe=False, policy=POLICY) == step


@pytest.mark.parametrize(
    ("retry_after", "attempt", "rung"),
    [(0, 1, 0), (5, 1, 0), (6, 1, 1), (100, 1, 2), (9999, 1, 2), (1, 3, 2)],
)
def test_retry_after_is_heeded_and_never_shortens_the_pause(
    retry_after: float, attempt: int, rung: int
) -> None:
    step = next_step(judge(answer(503, retry_after)), attempt=attempt, age=1, probe=False, policy=POLICY)
    assert step == Retry(rung, POLICY.ladder[rung])


def test_a_probe_without_an_answer_does_not_count() -> None:
    assert next_step(judge(answer(None)), attempt=4, age=1, probe=True, policy=POLICY) == Keep()


def test_a_probe_with_an_answer_counts() -> None:
    assert next_step(judge(answer(500)), attempt=1, age=1, probe=True, policy=POLICY) == Retry(0, 5)


def test_a_failure_past_the_age_limit_is_given_up() -> None:
    step = next_step(judge(answer(500)), attempt=1, age=1001, probe=False, policy=POLICY)
    assert step == DeadLetter("expired")


@pytest.mark.parametrize("verdict", [Verdict.EXPIRED, Verdict.MISSING, Verdict.CORRUPT, Verdict.NOT_ENTITLED])
def test_what_no_attempt_can_mend_is_a_dead_letter(verdict: Verdict) -> None:
    step = next_step(Outcome(verdict), attempt=1, age=0, probe=False, policy=POLICY)
    assert step == DeadLetter(str(verdict))


def test_without_the_store_nothing_is_burned() -> None:
    for probe in (False, True):
        step = next_step(Outcome(Verdict.STORE_UNAVAILABLE), attempt=9, age=1e9, probe=probe, policy=POLICY)
        assert step == Keep()


@given(
    status=st.integers(200, 599),
    attempt=st.integers(1, 50),
    age=st.floats(0, 2000),
    probe=st.booleans(),
    retry_after=st.none() | st.floats(0, 1e6),
)
def test_every_delivery_ends(
    status: int, attempt: int, age: float, probe: bool, retry_after: float | None
) -> None:
    step = next_step(judge(answer(status, retry_after)), attempt=attempt, age=age, probe=probe, policy=POLICY)
    if attempt > len(POLICY.ladder):
        assert not isinstance(step, Retry | Keep)
    if isinstance(step, Retry):
        assert step.rung >= attempt - 1
        assert step.delay == POLICY.ladder[step.rung]
