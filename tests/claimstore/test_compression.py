import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from claimstore.compression import compress, expand, shrink
from tests.claimstore.samples import bodies


@given(bodies)
def test_what_was_shrunk_expands_to_the_same(body: bytes) -> None:
    encoding, stored = shrink(body)
    assert expand(encoding, stored, limit=len(body)) == body
    assert len(stored) <= len(body)


@given(st.binary(max_size=200))
def test_what_is_no_frame_is_a_value_error(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"zstd|unpacks"):
        expand("zstd", garbage, limit=1000)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = compress(bytes(1 << 28))
    with pytest.raises(ValueError, match="unpacks to 268435456 bytes where 1000 are left"):
        expand("zstd", bomb, limit=1000)


def test_a_frame_that_hides_its_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 20))
    with pytest.raises(ValueError, match="unpacks to -1"):
        expand("zstd", frame, limit=1 << 21)


def test_bytes_after_a_frame_are_refused() -> None:
    with pytest.raises(ValueError, match="no whole zstd frame"):
        expand("zstd", compress(bytes(1000)) + b"more", limit=1000)
