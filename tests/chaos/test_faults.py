"""Faults are what they say, without a server: names, points in the product, kinds of servers."""

import functools
import importlib
from collections import Counter

import pytest

from tests.chaos.at_point import POINTS, Point
from tests.chaos.faults import FAULTS
from tests.chaos.servers import KINDS


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_a_point_is_a_function_of_the_product(point: Point) -> None:
    module, _, path = point.function.partition(":")
    assert callable(functools.reduce(getattr, path.split("."), importlib.import_module(module)))


def test_each_fault_has_a_name_of_its_own_and_servers_that_can_be_had() -> None:
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1
    assert {fault.kind for fault in FAULTS} == set(KINDS)
