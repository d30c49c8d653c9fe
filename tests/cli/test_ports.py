"""Ports as people write them, and as the settings show them again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.cli.ports import PortRange, parse_ports

RANGES = st.lists(st.integers(1, 65535), min_size=2, max_size=2).map(sorted).map(lambda two: PortRange(*two))


@given(st.lists(RANGES))
def test_what_is_shown_reads_the_same(ranges: list[PortRange]) -> None:
    shown = ",".join(map(str, ranges))
    assert parse_ports(shown) == parse_ports(tuple(ranges)) == tuple(ranges)


def test_ports_and_ranges_are_read_from_text_and_from_a_list() -> None:
    wanted = (PortRange(443, 443), PortRange(9000, 9099))
    assert parse_ports("443, 9000-9099") == wanted
    assert parse_ports([443, "9000-9099"]) == wanted
    assert parse_ports(443) == wanted[:1]
    assert parse_ports("") == ()


@pytest.mark.parametrize(
    "text", ["0", "65536", "9-8", "https", "-1", "1-", "1-2-3", "443;8443", "0x1bb", "*"]
)
def test_what_is_no_port_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="is no port; write"):
        parse_ports(text)
