"""Makes the shipped sample: a week's outages and their owners, every name in it made up.

``python -m claimbus.cli.demo.make_sample`` writes both files anew. They are the same each time: what looks
random is a hash of what it is for.
"""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import cycle
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

DIRECTORY: Final = Path(__file__).parent / "sample"
FEED: Final = DIRECTORY / "outages.csv"
OWNERS: Final = DIRECTORY / "owners.csv"

TRADE_DATES: Final = [date(2026, 3, 5) + timedelta(days=day) for day in range(6)]
SHORT_DAY: Final = date(2026, 3, 8)
"""Has 23 hours in Los Angeles: 01:59 is followed by 03:00."""

OUTAGES_AT_FIRST: Final = 64
OUTAGES_NEW_A_DAY: Final = 14

FEED_COLUMNS: Final = (
    "TRADE DATE",
    "OUTAGE MRID",
    "RESOURCE NAME",
    "RESOURCE ID",
    "OUTAGE TYPE",
    "NATURE OF WORK",
    "OUTAGE STATUS",
    "CURTAILMENT START DATE TIME",
    "CURTAILMENT END DATE TIME",
    "CURTAILMENT MW",
    "RESOURCE PMAX MW",
    "NET QUALIFYING CAPACITY MW",
)
OWNER_COLUMNS: Final = ("organisation", "participant", "resource_id", "valid_from", "valid_to")

PARTICIPANTS: Final = {
    "AVOCET_POWER": "Avocet Power Cooperative",
    "BITTERN_EAST": "Bittern Energy Trading",
    "BITTERN_WEST": "Bittern Energy Trading",
    "CURLEW_SOLAR": "Curlew Solar Partners",
    "DUNLIN_CITY": "Dunlin Municipal Utility",
    "EGRET_STORAGE": "Egret Renewables",
    "EGRET_WIND": "Egret Renewables",
    "FULMAR_GENERATION": "Fulmar Generation",
    "GODWIT_WATER": "Godwit Irrigation District",
    "HARRIER_HYDRO": "Harrier Hydro",
    "IBIS_BATTERIES": "Ibis Batteries",
    "JACANA_NORTH": "Jacana Gas and Power",
    "JACANA_SOUTH": "Jacana Gas and Power",
    "KITTIWAKE_WIND": "Kittiwake Wind",
    "LAPWING_ELECTRIC": "Lapwing Electric",
    "MERGANSER_DAY": "Merganser Trading House",
    "MERGANSER_NIGHT": "Merganser Trading House",
    "NUTHATCH_CHOICE": "Nuthatch Community Choice",
    "OSPREY_PEAKERS": "Osprey Thermal",
    "OSPREY_STEAM": "Osprey Thermal",
}
"""Participant IDs and their organisations. No ID occurs in any other text of the sample."""

STEMS: Final = (
    "AXOLOTL LAKE", "BANDICOOT GLEN", "BILBY PLAIN", "CIVET GULCH", "DORMOUSE HILL", "ERMINE PASS",
    "FENNEC DUNE", "GERBIL SAND", "HEDGEHOG FLAT", "IBEX CLIFF", "JERBOA WELL", "KINKAJOU BEND",
    "LEMMING POINT", "MARMOT RIDGE", "NUMBAT MESA", "OCELOT FORK", "PANGOLIN ROCK", "QUOKKA ISLE",
    "STOAT CANYON", "TAPIR RIVER", "VICUNA PEAK", "WOMBAT BURROW",
)  # fmt: skip
PLANTS: Final = ("SOLAR", "WIND", "BESS", "HYDRO", "PEAKER")
UNITS_A_STEM: Final = 3

NATURES: Final = (
    "PLANT_TROUBLE", "PLANT_MAINTENANCE", "AMBIENT_DUE_TO_TEMP", "AMBIENT_NOT_DUE_TO_TEMP",
    "ENVIRONMENTAL_RESTRICTIONS", "UNIT_TESTING", "TRANSMISSION_INDUCED",
)  # fmt: skip
UNKNOWN_NATURE: Final = "VOLCANIC_ASH_CLEANING"
STATUSES: Final = ("STUDY", "APPROVED", "OUT", "IN SERVICE")

STORIES: Final = (
    "steady", "moves on", "derated", "over", "steady", "several rows", "extended", "withdrawn", "moves on",
    "reassessed", "returns", "over", "derated and moves on", "several rows derated", "withdrawn", "over",
)  # fmt: skip
"""What becomes of an outage in the days after it appeared."""


class Resource(NamedTuple):
    """A generating resource; MW."""

    id: str
    name: str
    pmax: float
    capacity: float


class Outage(NamedTuple):
    """An outage and its story; ``first`` counts trade dates from 0."""

    mrid: str
    resource: Resource
    story: str
    first: int


def share(*key: object) -> float:
    """Return a number in [0, 1) that is always the same for this key."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def pick(choices: Sequence[T], *key: object) -> T:
    """Return one of the choices, always the same for this key."""
    return choices[int(share(*key) * len(choices))]


def resources() -> list[Resource]:
    """Return the generating resources."""
    found = []
    for stem in STEMS:
        plant = pick(PLANTS, "plant", stem)
        number = 1 + int(9 * share("number", stem))
        for unit in range(1, UNITS_A_STEM + 1):
            suffix = f"UNIT {unit}" if plant in ("HYDRO", "PEAKER") else f"{plant}{unit}"
            pmax = round(12 + 188 * share("pmax", stem, unit), 1)
            capacity = round(pmax * (0.2 + 0.8 * share("capacity", stem)), 2)
            found.append(
                Resource(f"{stem[:6].strip()}_{number}_{suffix}", f"{stem} {plant} {unit}", pmax, capacity)
            )
    return found


def owners() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the lines of the owners file: one resource has none, two have two, two were sold."""
    ids = list(PARTICIPANTS)
    for number, resource in enumerate(resources()):
        holder, other = ids[number % len(ids)], ids[(number + 7) % len(ids)]
        if number == 5:
            continue
        if number in (20, 33):
            yield PARTICIPANTS[other], other, resource.id, "2019-07-01", "2024-01-01"
            yield PARTICIPANTS[holder], holder, resource.id, "2024-01-01", ""
            continue
        yield PARTICIPANTS[holder], holder, resource.id, "2020-01-01", ""
        if number in (11, 40):
            yield PARTICIPANTS[other], other, resource.id, "2021-04-01", ""


def outages() -> Iterator[Outage]:
    """Yield every outage of the sample."""
    known, stories = resources(), cycle(STORIES)
    firsts = [0] * OUTAGES_AT_FIRST + [
        day for day in range(1, len(TRADE_DATES)) for _ in range(OUTAGES_NEW_A_DAY)
    ]
    for number, first in enumerate(firsts):
        yield Outage(str(70_000_013 + 17 * number), known[number * 7 % len(known)], next(stories), first)


def rows(outage: Outage, day: int) -> list[list[str]]:
    """Return an outage's rows on a trade date, counted from 0; none when the report leaves it out."""
    age, story, mrid = day - outage.first, outage.story, outage.mrid
    last = int(2 * share("life", mrid))
    turned = age > int(2 * share("turn", mrid))
    if age < 0 or (story in ("over", "withdrawn") and age > last) or (story == "returns" and age == 1):
        return []
    nature = UNKNOWN_NATURE if mrid.endswith("64") else pick(NATURES, "nature", mrid)
    if story == "reassessed" and turned:
        nature = NATURES[(NATURES.index(nature) + 1) % len(NATURES)]
    status = STATUSES[min(age, 3) if "moves on" in story else int(len(STATUSES) * share("status", mrid))]
    kind = "PLANNED" if nature in ("PLANT_MAINTENANCE", "UNIT_TESTING") else "FORCED"
    found = []
    for start, end, mw in _spans(outage, last=last, turned=turned):
        times = [moment.isoformat(" ", "minutes") for moment in (start, end)]
        sizes = [str(mw), str(outage.resource.pmax), str(outage.resource.capacity)]
        resource = [outage.resource.name, outage.resource.id]
        found.append([TRADE_DATES[day].isoformat(), mrid, *resource, kind, nature, status, *times, *sizes])
    return found[::-1] if day % 2 else found


def _spans(outage: Outage, *, last: int, turned: bool) -> Iterator[tuple[datetime, datetime, float]]:
    """Yield start, end and MW of each row."""
    began = TRADE_DATES[outage.first]
    start = datetime.combine(
        began, time(1, 30) if began == SHORT_DAY else time(int(24 * share("hour", outage.mrid)))
    )
    closing = {"over": began + timedelta(days=last), "withdrawn": TRADE_DATES[-1] + timedelta(days=9)}
    end = datetime.combine(closing.get(outage.story, TRADE_DATES[-1] + timedelta(days=20)), time(23, 59))
    if began == end.date() == SHORT_DAY:
        end = datetime.combine(SHORT_DAY, time(3, 30))
    if outage.story == "extended" and turned:
        end += timedelta(days=3, hours=-5)
    size = outage.resource.pmax * (0.4 if "derated" in outage.story and turned else 0.8)
    steps = 3 if "several rows" in outage.story else 1
    step = (end - start) / steps
    for number in range(steps):
        whole = (step * number) // timedelta(minutes=10) * timedelta(minutes=10)
        until = start + (step * (number + 1)) // timedelta(minutes=10) * timedelta(minutes=10)
        yield start + whole, end if number == steps - 1 else until, round(size / (number + 1), 2)


def feed() -> Iterator[list[str]]:
    """Yield the lines of the feed, without its header. One row of the fifth day has no readable MW."""
    everything = sorted(outages(), key=lambda outage: (outage.resource.id, outage.mrid))
    spoiled = next(outage for outage in everything if outage.story == "several rows" and outage.first == 0)
    for day in range(len(TRADE_DATES)):
        for outage in everything:
            for number, row in enumerate(rows(outage, day)):
                if outage is spoiled and day == 4 and number == 1:
                    row[FEED_COLUMNS.index("CURTAILMENT MW")] = "n/a"
                yield row


def main() -> None:
    """Write both files."""
    DIRECTORY.mkdir(exist_ok=True)
    for path, columns, lines in ((FEED, FEED_COLUMNS, feed()), (OWNERS, OWNER_COLUMNS, owners())):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(lines)


if __name__ == "__main__":
    main()
