"""What people see of the demo."""

import io
from datetime import date, timedelta
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from claimbus.cli.demo.evidence import Finding
from claimbus.cli.demo.expectation import Expectation, Identity, expect
from claimbus.cli.demo.plan import Plan, made_up_participants, make_plan
from claimbus.cli.demo.summary import summary
from claimbus.cli.demo.verdict import FaultSeen, Relief, Verdict
from claimbus.cli.demo.view import DeadGroup, View

DAYS = [date(2026, 3, 5) + timedelta(days=number) for number in range(3)]
CLOSED = Identity("market.dam.closed", "2026-03-05", None)


def planned(participants: int = 20) -> tuple[Plan, Expectation]:
    plan = make_plan(made_up_participants(participants), DAYS)
    return plan, expect([], [], plan.calendar, plan.subscriptions)


def lines(shown: RenderableType) -> list[str]:
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(shown)
    return [line.rstrip() for line in console.export_text().splitlines()]


def terminal(out: io.StringIO, *, real: bool = True) -> Console:
    return Console(file=out, width=80, force_terminal=real, color_system=None, _environ={"TERM": "xterm"})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def view(clock: Clock) -> View:
    view = View(terminal(io.StringIO()), live=True, clock=clock)
    view.plan(*planned())
    return view


def test_the_frame_shows_phase_rates_participants_and_faults(view: View, clock: Clock) -> None:
    view.day(DAYS[1])
    view.counts(published=5, received={}, dead={})
    clock.now = 2.0
    view.counts(published=25, received={"QZX_DEMO_0000": 7}, dead={"QZX_DEMO_0003": 2}, superseded=1)
    view.state("QZX_DEMO_0002", "held")
    view.seen("QZX_DEMO_0001", "3 answers took so long")
    shown = lines(view.frame())
    text = " ".join(" ".join(shown).split())
    assert "✓ services  ✓ participants  ● publish  · deliver  · operator  · judge" in shown[0]
    assert shown[0].endswith("2 s")
    assert "trade date 2026-03-06, 2 of 3" in shown[1]
    assert "25 of 37 10/s" in text
    assert " 10 of " in text
    assert "QZX_DEMO_0000 7/37 ok" in text
    assert "QZX_DEMO_0002 0/14 held" in text
    assert "QZX_DEMO_0003 0/37 2 dead" in text
    assert "✓ QZX_DEMO_0001 answers after 0.6 s 3 answers took so long" in text
    assert "· QZX_DEMO_0002 answers 500 now and then" in text


def test_the_frame_keeps_its_height_and_fits_a_small_terminal(view: View) -> None:
    before = lines(view.frame())
    view.day(DAYS[0])
    view.state("QZX_DEMO_0003", "held, and that for a very long reason")
    view.seen("QZX_DEMO_0000", "a very long evidence, longer than the line of any terminal, " * 3)
    after = lines(view.frame())
    assert len(before) == len(after) < 24
    assert max(map(len, after)) <= 80


@pytest.mark.parametrize("groups", [1, 4, 9])
def test_the_operators_part_takes_the_place_of_what_is_over(view: View, clock: Clock, groups: int) -> None:
    before = lines(view.frame())
    view.phase("operator", "replay rp_1 running: the first 1 of 12")
    dead_groups = [
        DeadGroup(f"rejected: HTTP 42{n}, and that at length" * 3, 12, (0, 1, 8)) for n in range(groups)
    ]
    view.groups(dead_groups)
    view.replayed(0, 12)
    clock.now = 1000.0
    view.replayed(9, 12)
    shown = lines(view.frame())
    text = " ".join(" ".join(shown).split())
    assert "✓ deliver  ● operator  · judge" in shown[0]
    assert "replayed" in text
    assert "9 of 12" in text
    assert text.count("▁▂█") == min(groups, 4) - (groups > 4)
    assert ("and 6 more" in text) == (groups > 4)
    assert "answers 500 now and then" not in text
    assert len(shown) == len(before)
    assert max(map(len, shown)) <= 80


def test_of_many_participants_those_in_trouble_are_shown() -> None:
    view = View(terminal(io.StringIO()), live=True)
    view.plan(*planned(300))
    view.state("QZX_DEMO_0299", "held")
    text = "\n".join(lines(view.frame()))
    assert "QZX_DEMO_0299" in text
    assert "and 280 more" in text
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize(("real", "live"), [(False, True), (True, False)])
def test_without_a_terminal_or_when_told_so_it_prints_plain_lines(
    real: bool, live: bool, clock: Clock
) -> None:
    out = io.StringIO()
    with View(terminal(out, real=real), live=live, clock=clock) as view:
        view.phase("services", "RabbitMQ and Redis of this machine")
        view.plan(*planned())
        view.day(DAYS[0])
        clock.now = 3.0
        view.state("QZX_DEMO_0000", "down")
        view.state("QZX_DEMO_0000", "down")
        view.seen("QZX_DEMO_0001", "3 answers took so long")
        view.seen("QZX_DEMO_0001", "4 answers took so long")
        view.phase("operator", "1 group")
        view.groups([DeadGroup("rejected: HTTP 422", 2, (1, 1))])
        view.replayed(1, 2)
    assert out.getvalue().splitlines() == [
        "   0 s  services: RabbitMQ and Redis of this machine",
        "   0 s  publish: trade date 2026-03-05, 1 of 3; 0 of 37 published, 0 of 368 finished",
        "   3 s  QZX_DEMO_0000: down",
        "   3 s  seen: QZX_DEMO_0001 answers after 0.6 s: 3 answers took so long",
        "   3 s  operator: 1 group",
        "   3 s  dead: 2 rejected: HTTP 422  ██",
    ]


def test_a_live_view_leaves_the_terminal_as_it_was() -> None:
    out = io.StringIO()
    with View(terminal(out), live=True) as view:
        view.plan(*planned())
        view.phase("deliver")
    assert " deliver" in out.getvalue()
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1  # the cursor


def verdict(
    *,
    lost: tuple[Finding, ...] = (),
    leaked: tuple[Finding, ...] = (),
    evidence: str = "1 got a 422",
    relief: tuple[Relief, ...] = (),
) -> Verdict:
    return Verdict(
        published=402,
        due=402,
        expected=1288,
        delivered=1240 - len(lost),
        duplicates=2,
        superseded=36,
        causes={"rejected": 11, "expired": 1},
        relief=relief,
        dead_after_replay=sum(group.dead for group in relief) if relief else 12,
        held=(),
        lost=lost,
        leaked=leaked,
        disordered=(),
        faults=tuple(
            FaultSeen(participant, fault, evidence) for participant, fault in planned()[0].faults.items()
        ),
        seconds=32.4,
    )


def test_the_summary_of_a_good_run_says_so() -> None:
    text = "\n".join(lines(summary(verdict(), Path("/work"))))
    assert "✗" not in text
    assert "✓ events published      402  402 by the report" in text
    assert "  still dead           12  of 12 dead letters: 1 expired, 11 rejected" in text
    assert "✓ QZX_DEMO_0003  refuses some events for good  1 got a 422" in text
    assert "nobody else, in 32 s." in text


def test_the_summary_tells_what_the_operator_made_of_each_group() -> None:
    relief = Relief("rejected: HTTP 422", 11, 11, 0, 11, 11, 0), Relief("expired: too old", 1, 0, 1, 0, 0, 1)
    shown = lines(summary(verdict(relief=relief), Path("/work")))
    text = "\n".join(shown)
    assert "delivered         1,240  2 came more than once; 11 by a replay" in text
    assert "✗   still dead            1  of 12 dead letters: 1 expired, 11 rejected" in text
    rows = [" ".join(line.split()) for line in shown]
    assert "dead letters count ready not ready replayed delivered still dead" in rows
    assert "✓ rejected: HTTP 422 11 11 0 11 11 0" in rows
    assert "✗ expired: too old 1 0 1 0 0 1" in rows
    assert max(map(len, shown)) <= 80


def test_the_summary_of_a_bad_run_spells_out_what_is_wrong() -> None:
    lost = tuple(Finding("QZX_DEMO_0001", CLOSED._replace(number=hour), "never came") for hour in range(12))
    leak = Finding("QZX_DEMO_0002", CLOSED, "was not subscribed to")
    text = "\n".join(lines(summary(verdict(lost=lost, leaked=(leak,), evidence=""), Path("/work"))))
    assert "✗   lost                 12" in text
    assert "lost: QZX_DEMO_0001 market.dam.closed 2026-03-05 9: never came" in text
    assert "and 2 more" in text
    assert "leaked: QZX_DEMO_0002 market.dam.closed 2026-03-05: was not subscribed to" in text
    assert text.count("was not seen") == 4
    assert "Not everything went as it must" in text
