"""Every decoder in short: ``./dev fuzz`` goes on for a million inputs, with atheris."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.errors import InvalidInputError
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS, Target, UnclearError


def test_each_target_has_seeds() -> None:
    assert TARGETS.keys() == SEEDS.keys()


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name, all_ in SEEDS.items() for seed in all_])
def test_what_is_valid_is_taken(name: str, seed: bytes) -> None:
    assert TARGETS[name].take(seed)


@st.composite
def spoilt(draw: st.DrawFn, seed: bytes) -> bytes:
    """The seed with pieces cut out, put in, or said twice."""
    data = seed
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, len(data)))
        other = draw(st.binary(max_size=8) | st.sampled_from([data[start:stop] * 2, b"\xff", b"\0", b"\n"]))
        data = data[:start] + other + data[stop:]
    return data


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_what_is_spoilt_is_taken_or_clearly_refused(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[name]))
    TARGETS[name].take(data.draw(spoilt(seed) | st.binary(max_size=64)))


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a\0", 2000 * "a"])
def test_an_unclear_refusal_is_a_finding(text: str) -> None:
    class SilentError(InvalidInputError):
        def __str__(self) -> str:
            return text

    def decode(_: bytes) -> None:
        raise SilentError("body", "is wrong")

    with pytest.raises(UnclearError):
        Target(decode).take(b"")


def test_another_exception_is_a_finding() -> None:
    def decode(_: bytes) -> None:
        raise KeyError("mrid")

    with pytest.raises(KeyError):
        Target(decode).take(b"")
