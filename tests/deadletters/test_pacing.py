"""Token buckets, on a clock that the test moves."""

from hypothesis import given
from hypothesis import strategies as st

from claimbus.deadletters.pacing import Pacing

RATES = st.sampled_from([0.1, 1.0, 3.0, 50.0, 1000.0])
STEPS = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 200)), max_size=30)


def test_a_bucket_holds_one_seconds_worth() -> None:
    assert Pacing(5.0).take(["a"] * 20, now=1000.0) == 5


def test_a_bucket_of_a_slow_rate_holds_one() -> None:
    pacing = Pacing(0.1)
    assert pacing.take(["a", "a"], now=1000.0) == 1
    assert pacing.wait("a", now=1004.0) == 6.0
    assert pacing.take(["a"], now=1009.9) == 0
    assert pacing.take(["a"], now=1010.0) == 1


def test_each_endpoint_has_a_bucket_of_its_own() -> None:
    assert Pacing(2.0).take(["a", "b", "c"] * 2, now=0.0) == 6


def test_the_first_that_has_to_wait_ends_the_row() -> None:
    pacing = Pacing(1.0)
    assert pacing.take(["a", "a", "b"], now=0.0) == 1
    assert pacing.take(["b"], now=0.0) == 1


@given(RATES, STEPS)
def test_no_second_takes_more_than_the_rate_and_a_bucket(rate: float, steps: list[tuple[float, int]]) -> None:
    pacing, now, taken = Pacing(rate), 1000.0, 0
    for pause, asked in steps:
        now += pause
        taken += pacing.take(["a"] * asked, now=now)
        assert taken <= rate * (now - 1000.0) + max(rate, 1.0) + 0.01


@given(RATES, st.integers(1, 500))
def test_who_waits_as_long_as_told_gets_a_token(rate: float, count: int) -> None:
    pacing, now = Pacing(rate), 1000.0
    for _ in range(count):
        now += pacing.wait("a", now=now)
        assert pacing.take(["a"], now=now) == 1
