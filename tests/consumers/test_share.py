"""How workers share endpoints: a law for whoever computes it, whichever workers are there."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database.endpoint import Endpoint
from consumers.share import ORDERED, SPREAD, Share, share_of

ENDPOINT = Endpoint(
    id="ep_1",
    participant_id="PGAE",
    organisation_id="org_1",
    name="",
    kind="webhook",
    url="https://receiver.example/",
    mode="body",
    ordered=False,
    latest_only=False,
    concurrency=8,
    rate_limit=None,
    timeout_s=15.0,
    age_limit_s=3600,
    schema_version=None,
    ca_pem=None,
    state="active",
    state_reason="",
    generation=1,
    secrets=(),
    subscriptions=("#",),
    revision=1,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    verified_at=datetime(2026, 1, 1, tzinfo=UTC),
    removed_at=None,
    allowed_rate=None,
)

NAMES = st.sets(st.from_regex(r"host[0-9]:[0-9]{1,5}:[0-9a-f]{6}", fullmatch=True), min_size=1, max_size=12)


@st.composite
def _endpoints(draw: st.DrawFn) -> Endpoint:
    rates = st.none() | st.floats(0.01, 10_000)
    return replace(
        ENDPOINT,
        id=f"ep_{draw(st.integers(0, 10**6))}",
        ordered=draw(st.booleans()),
        concurrency=draw(st.integers(1, 256)),
        rate_limit=draw(rates),
        allowed_rate=draw(rates),
    )


def shares(endpoint: Endpoint, workers: set[str]) -> dict[str, Share]:
    """The share of each worker that has one."""
    found = {worker: share_of(endpoint, worker, workers) for worker in workers}
    return {worker: share for worker, share in found.items() if share is not None}


def together(endpoint: Endpoint) -> int:
    """How many workers an endpoint has if there are enough."""
    if endpoint.ordered:
        return ORDERED
    most = min(SPREAD, endpoint.concurrency)
    return most if endpoint.pace is None else max(1, min(most, int(endpoint.pace)))


@given(_endpoints(), NAMES)
def test_an_endpoint_has_so_many_workers_each_in_a_place_of_its_own(
    endpoint: Endpoint, workers: set[str]
) -> None:
    found = shares(endpoint, workers)
    assert len(found) == min(len(workers), together(endpoint))
    assert sorted(share.place for share in found.values()) == list(range(len(found)))


@given(_endpoints(), NAMES)
def test_shares_add_up_to_the_limits(endpoint: Endpoint, workers: set[str]) -> None:
    found = shares(endpoint, workers).values()
    if endpoint.ordered:
        assert {(share.concurrency, share.pace) for share in found} == {(1, endpoint.pace)}
        return
    assert sum(share.concurrency for share in found) == endpoint.concurrency
    assert all(share.concurrency >= 1 for share in found)
    if endpoint.pace is None:
        assert {share.pace for share in found} == {None}
    else:
        assert sum(share.pace or 0.0 for share in found) == pytest.approx(endpoint.pace)
        assert len(found) == 1 or all((share.pace or 0.0) >= 1 for share in found)


@given(_endpoints(), NAMES, st.data())
def test_who_goes_moves_nothing_between_others(
    endpoint: Endpoint, workers: set[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted(workers)))
    before, after = shares(endpoint, workers), shares(endpoint, workers - {gone})
    if gone not in before:
        assert after == before
    else:
        assert before.keys() - {gone} <= after.keys()
        assert len(after.keys() - before.keys()) <= 1, "somebody takes the place of who went"
    stayed = [
        sorted(one.keys() & before.keys() & after.keys(), key=lambda w: one[w]) for one in (before, after)
    ]
    assert stayed[0] == stayed[1], "their order is the same"


@given(_endpoints(), NAMES, st.data())
def test_everybody_computes_the_same(endpoint: Endpoint, workers: set[str], data: st.DataObject) -> None:
    listed = data.draw(st.permutations(sorted(workers)))
    assert {worker: share_of(endpoint, worker, listed) for worker in workers} == {
        worker: share_of(endpoint, worker, workers) for worker in workers
    }


def test_endpoints_spread_over_the_workers() -> None:
    workers = {f"host:{number}:abcdef" for number in range(10)}
    every = [replace(ENDPOINT, id=f"ep_{number}") for number in range(1000)]
    lanes = Counter(worker for endpoint in every for worker in shares(endpoint, workers))
    assert sum(lanes.values()) == 3000, "and not 10,000"
    assert all(240 <= lanes[worker] <= 360 for worker in workers)


def test_three_workers_share_eight_requests_and_twelve_deliveries_a_second() -> None:
    found = shares(replace(ENDPOINT, rate_limit=12.0), {"a", "b", "c"}).values()
    assert sorted(found) == [Share(0, 3, 4.0), Share(1, 3, 4.0), Share(2, 2, 4.0)]


def test_whoever_is_alone_has_everything() -> None:
    assert share_of(replace(ENDPOINT, rate_limit=12.0), "a", {"a"}) == Share(0, 8, 12.0)
