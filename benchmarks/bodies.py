"""Bodies for every side alike: outages as JSON, of exact sizes, in one file."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TYPE: Final = "oms.resource-outage.status-changed"

DIFFERENT: Final = 64
"""So many different bodies are taken in turn: enough that none is cached, few enough to keep in memory."""


def body(number: int, size: int) -> bytes:
    """Return an outage of ``size`` bytes: as many rows of curtailment as fit, the rest spaces."""
    outage = {
        "mrid": str(15120000 + number),
        "resource_id": f"SUNRIV_{number}_UNIT 1",
        "resource_name": f"SUN RIVER UNIT {number}",
        "outage_type": "FORCED",
        "nature_of_work": "PLANT_TROUBLE",
        "status": "OUT",
        "previous_status": "APPROVED",
        "changed_fields": ["status"],
        "pmax_mw": 150.0,
        "net_qualifying_capacity_mw": 120.5,
        "curtailments": [],
    }
    rows = ",".join(_rows(number, room=size - len(_compact(outage))))
    whole = _compact(outage).replace('"curtailments":[]', f'"curtailments":[{rows}]').encode()
    if len(whole) > size or not rows:
        raise ValueError(f"a body needs more than {size} bytes")
    return whole.ljust(size)


@contextmanager
def file_of_bodies(size: int) -> Iterator[Path]:
    """Give a file that holds the `DIFFERENT` bodies one after another."""
    with tempfile.NamedTemporaryFile(prefix="claimbus-bodies-") as file:
        file.writelines(body(number, size) for number in range(DIFFERENT))
        file.flush()
        yield Path(file.name)


def read_bodies(path: Path, size: int) -> list[bytes]:
    """Return the bodies of a `file_of_bodies`."""
    whole = path.read_bytes()
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _rows(number: int, room: int) -> Iterator[str]:
    hour = 0
    while True:
        day, of_day = divmod(hour, 23)
        date = f"{2026 + day // 336}-{1 + day // 28 % 12:02}-{1 + day % 28:02}"
        row = {
            "start": f"{date}T{of_day:02}:00:00Z",
            "end": f"{date}T{of_day + 1:02}:00:00Z",
            "mw": (number * 7 + hour * 13) % 1500 / 10,
        }
        text = _compact(row)
        room -= len(text) + 1
        if room < 0:
            return
        yield text
        hour += 1


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
