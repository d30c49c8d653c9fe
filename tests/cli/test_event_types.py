"""``claimbus event-types``."""

from tests.cli.terminal import Terminal

CLOSED = "market.dam.closed"


def test_dates_are_set_listed_and_taken_back(terminal: Terminal) -> None:
    listed = {one["name"]: one for one in terminal("event-types", "list", "--json").json}
    assert listed["oms.resource-outage.changed"]["versions"] == [1, 2]
    assert listed[CLOSED]["sunset"] is None
    days = ("--deprecated", "2027-01-01", "--sunset", "2027-07-01")
    terminal("event-types", "dates", CLOSED, *days, "--reason", "another takes its place")
    assert "2027-07-01" in terminal("event-types", "list").out
    (entry,) = terminal("audit", "list", "--kind", "event type", "--json").json
    assert (entry["object_id"], entry["reason"]) == (CLOSED, "another takes its place")
    shown = terminal("event-types", "dates", CLOSED, "--clear", "--json").json
    assert (shown["deprecated"], shown["sunset"]) == (None, None)


def test_dates_that_make_no_sense_are_refused(terminal: Terminal) -> None:
    terminal("event-types", "dates", CLOSED, code=2)
    terminal("event-types", "dates", CLOSED, "--clear", "--sunset", "2027-07-01", code=2)
    wrong = terminal(
        "event-types", "dates", CLOSED, "--deprecated", "2027-07-02", "--sunset", "2027-07-01", code=1
    )
    assert "--sunset: 2027-07-01 is before the deprecation" in wrong.err
    unknown = terminal("event-types", "dates", "market.dam.clsed", "--sunset", "2027-07-01", code=1)
    assert "did you mean 'market.dam.closed'" in unknown.err
    assert "no dates were set" in terminal("event-types", "dates", CLOSED, "--clear", code=1).err
