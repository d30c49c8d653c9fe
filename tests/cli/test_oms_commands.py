"""``claimbus oms``: the real command, on the shipped sample and on files that must not be believed."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

from claimbus.cli.watching import Files
from tests.cli.terminal import Terminal
from tests.producers.bus import Bus
from tests.producers.watchers import SAMPLE, changes_in_the_sample

OWNERS = SAMPLE.with_name("owners.csv")
HEADER = (
    "OUTAGE MRID,RESOURCE NAME,RESOURCE ID,OUTAGE TYPE,NATURE OF WORK,CURTAILMENT START DATE TIME,"
    "CURTAILMENT END DATE TIME,CURTAILMENT MW,RESOURCE PMAX MW,NET QUALIFYING CAPACITY MW\n"
)


def feed(path: Path, *outages: str, age: float = 3600) -> Path:
    """A file of outages given as ``MRID RESOURCE MW``, written so many seconds ago."""
    rows = []
    for one in outages:
        mrid, resource, mw = one.split()
        times = "2026-03-05 00:00,2026-03-06 00:00"
        rows.append(f"{mrid},A PLANT,{resource},FORCED,PLANT_TROUBLE,{times},{mw},150,100\n")
    path.write_text(HEADER + "".join(rows))
    os.utime(path, (time.time() - age,) * 2)
    return path


def own(terminal: Terminal, *resources: str) -> None:
    """Let PGAE own resources, by an import."""
    export = terminal.directory / "export.csv"
    rows = [f"Pacific,PGAE,{resource},2020-01-01,\n" for resource in resources]
    export.write_text("organisation,participant,resource_id,valid_from,valid_to\n" + "".join(rows))
    terminal("participants", "import", export)


async def test_a_report_is_watched_day_by_day_and_each_change_is_published_once(
    bus: Bus, terminal: Terminal
) -> None:
    terminal("participants", "import", OWNERS)
    answer = terminal("oms", "watch", SAMPLE, "--json")
    days = [json.loads(line) for line in answer.out.splitlines()]
    assert [day["at"][:10] for day in days] == [f"2026-03-{day:02}" for day in range(5, 11)]
    told = sum((Counter(day["published"]) for day in days), Counter())
    parked = sum(day["parked"] for day in days)
    assert told.total() + parked == len(changes_in_the_sample())
    tickets = await bus.hears(told.total())
    assert Counter(ticket.type for ticket in tickets) == told
    assert len({ticket.message_id for ticket in tickets}) == len(tickets)
    assert f"{SAMPLE}:390: CURTAILMENT MW: 'n/a' is no power" in answer.err
    again = terminal("oms", "watch", SAMPLE)
    assert again.out.count("older than what was seen") == 5
    assert len(bus.tickets) == told.total()


async def test_two_watchers_publish_each_change_once(bus: Bus, terminal: Terminal) -> None:
    command = ("oms", "watch", SAMPLE, "--owners", OWNERS, "--json")
    with terminal.started(*command) as first, terminal.started(*command) as second:
        ended = [one.communicate(timeout=60) for one in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), ended
    days = [json.loads(line) for out, _ in ended for line in out.splitlines()]
    total = sum(sum(day["published"].values()) + day["parked"] for day in days)
    assert total == len(changes_in_the_sample())
    tickets = await bus.hears(sum(sum(day["published"].values()) for day in days))
    assert len({ticket.message_id for ticket in tickets}) == len(tickets)


async def test_what_nobody_owns_is_parked_and_released_to_those_who_own_it_later(
    bus: Bus, terminal: Terminal
) -> None:
    own(terminal, "KNOWN_1")
    file = feed(terminal.directory / "feed.csv", "1 UNKNOWN_1 10", "2 UNKNOWN_2 10", "3 KNOWN_1 10")
    taken = terminal("oms", "watch", file, "--json").json
    assert (taken["parked"], taken["published"]) == (2, {"oms.resource-outage.created": 1})
    await bus.hears(1)
    parked = {one["resource_id"]: one["message_id"] for one in terminal("oms", "parked", "--json").json}
    assert parked.keys() == {"UNKNOWN_1", "UNKNOWN_2"}

    released = terminal("oms", "release", "--all", "--json")
    assert released.json == []
    assert released.err.startswith("claimbus: left parked: 2, since nobody owns")
    terminal("oms", "release", parked["UNKNOWN_1"], code=1)
    assert len(bus.tickets) == 1

    own(terminal, "KNOWN_1", "UNKNOWN_1")
    released = terminal("oms", "release", "--all", "--json", "--actor", "jane")
    assert [(one["message_id"], one["released_to"]) for one in released.json] == [
        (parked["UNKNOWN_1"], ["PGAE"])
    ]
    assert released.err.startswith("claimbus: left parked: 1, since")
    by_name = terminal("oms", "release", parked["UNKNOWN_2"], "--json", code=1)
    assert [one["released_to"] for one in by_name.json] == [[]]
    ticket = (await bus.hears(2))[1]
    assert ticket.message_id == parked["UNKNOWN_1"]
    assert (await bus.redeem(ticket)).event.audience == frozenset({"PGAE"})
    terminal("oms", "release", parked["UNKNOWN_2"], "--to", "PGAE", "--actor", "jane")
    assert (await bus.hears(3))[2].message_id == parked["UNKNOWN_2"]

    assert terminal("oms", "parked", "--json").json == []
    gone = terminal("oms", "parked", "--released", "--json").json
    assert {one["released_by"] for one in gone} == {"jane"}
    entries = terminal("audit", "list", "--kind", "parked event", "--json").json
    assert {one["object_id"] for one in entries} == set(parked.values())
    again = terminal("oms", "release", parked["UNKNOWN_1"], code=1)
    assert "is parked" in again.err


def test_release_wants_ids_or_all(terminal: Terminal) -> None:
    assert "--all" in terminal("oms", "release", code=2).err
    assert "--all" in terminal("oms", "release", "evt_1", "--all", code=2).err


async def test_files_that_must_not_be_believed_are_told_and_the_others_are_taken(
    bus: Bus, terminal: Terminal, tmp_path: Path
) -> None:
    own(terminal, "KNOWN_1")
    empty, good = feed(tmp_path / "1.csv"), feed(tmp_path / "2.csv", "1 KNOWN_1 10")
    answer = terminal("oms", "watch", empty, good, code=1)
    assert "1.csv: is empty" in answer.err
    await bus.hears(1)
    empty = feed(tmp_path / "1.csv", age=10)
    terminal("oms", "watch", empty, code=1)
    terminal("oms", "watch", empty, "--allow-empty")
    assert [ticket.type.rpartition(".")[2] for ticket in await bus.hears(2)] == ["created", "ended"]
    missing = terminal("oms", "watch", tmp_path / "none.csv", code=1)
    assert "none.csv: is no file" in missing.err


async def test_a_directory_is_watched_by_name_and_a_file_that_changes_is_read_again(
    bus: Bus, terminal: Terminal, tmp_path: Path
) -> None:
    own(terminal, "KNOWN_1")
    folder = tmp_path / "feeds"
    folder.mkdir()
    feed(folder / "b.csv", "1 KNOWN_1 20", age=100)
    feed(folder / "a.csv", "1 KNOWN_1 10", age=200)
    (folder / "notes.txt").write_text("nothing to read")
    with terminal.started("oms", "watch", folder, "--every", "0.1s", "--json") as process:
        await bus.hears(2)
        feed(folder / "a.csv", "1 KNOWN_1 30", age=50)
        await bus.hears(3)
        feed(folder / "c.csv", "1 KNOWN_1 40", age=10)
        tickets = await bus.hears(4)
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 0, err
    assert [Path(json.loads(line)["file"]).name for line in out.splitlines()] == [
        "a.csv",
        "b.csv",
        "a.csv",
        "c.csv",
    ]
    assert [ticket.sequence for ticket in tickets] == [1, 2, 3, 4]


def test_a_file_that_may_still_be_written_is_left_for_later(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    files = Files([file, tmp_path])
    assert list(files.changed()) == []
    feed(file, "1 KNOWN_1 10", age=0)
    assert list(files.changed()) == []
    feed(file, "1 KNOWN_1 10", age=5)
    assert list(files.changed()) == [file]
    assert list(files.changed()) == []
    files.put_back(file)
    assert list(files.changed()) == [file]


def test_two_feeds_do_not_know_each_other(terminal: Terminal, tmp_path: Path) -> None:
    own(terminal, "KNOWN_1")
    file = feed(tmp_path / "feed.csv", "1 KNOWN_1 10")
    for name in ("oms", "oms-north"):
        taken = terminal("oms", "watch", file, "--feed", name, "--json").json
        assert taken["published"] == {"oms.resource-outage.created": 1}
    assert "no name" in terminal("oms", "watch", file, "--feed", "Oms {1}", code=2).err
