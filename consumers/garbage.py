"""How often Python looks for garbage that refers to itself."""

import gc
from typing import Final

NEW_OBJECTS: Final = 50_000
"""After so many it looks; Python's own 700 are sixty deliveries."""


def collect_seldom() -> None:
    """Have it look less often, in this whole process.

    A delivery is a dozen objects without a cycle that live until its row is committed. Thousands are there at
    a time, and would be looked through again and again: 10 of 145 µs of CPU a delivery.
    """
    _, *older = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, *older)
