from hypothesis import given
from hypothesis import strategies as st

from claimstore.cache import Cache
from claimstore.claim import Claim
from tests.claimstore.samples import an_event


def a_claim(claim_id: str, size: int) -> Claim:
    return Claim(claim_id, an_event(body=bytes(size)), size, bytes(32), "identity", 0, 0)


def test_the_claim_not_used_for_longest_goes_first() -> None:
    cache = Cache(3 * 12_500)
    for name in "abc":
        cache.put(a_claim(name, 10_000))
    assert cache.get("a") is not None
    cache.put(a_claim("d", 10_000))
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]


def test_a_claim_larger_than_the_cache_is_not_kept_and_displaces_nobody() -> None:
    cache = Cache(20_000)
    cache.put(a_claim("small", 10))
    cache.put(a_claim("large", 20_000))
    assert cache.get("small") is not None
    assert cache.get("large") is None


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 30_000))), st.integers(0, 60_000))
def test_the_bodies_kept_stay_within_the_bound(puts: list[tuple[str, int]], limit: int) -> None:
    cache = Cache(limit)
    for name, size in puts:
        cache.put(a_claim(name, size))
        kept = [claim for other in "abcdefgh" if (claim := cache.get(other))]
        assert sum(claim.size for claim in kept) <= limit
