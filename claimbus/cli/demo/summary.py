"""The demo's verdict as a table for people."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from claimbus.cli.demo.evidence import Finding
from claimbus.cli.demo.scenario import Scenario
from claimbus.cli.demo.verdict import Verdict

PLACES: Final = {
    "received.jsonl": "each request, as its receiver wrote it down",
    "worker.log": "each attempt, as the workers logged it",
    "portal.log": "the portal's log",
    "mails": "what the organisations' contacts were told by mail",
    "claimbus.db": "endpoints, attempts, dead letters, replays, parked events",
}
"""What a run leaves behind."""

LISTED: Final = 10
"""Findings that are spelled out; of more only the number is told."""


def prospect(scenario: Scenario) -> RenderableType:
    """Return what is going to be tried, in plain words."""
    dates, plan, expectation = scenario.trade_dates, scenario.plan, scenario.expectation
    ordered = sum(one.ordered for one in plan.participants)
    latest_only = sum(one.latest_only for one in plan.participants)
    text = (
        f"The outage report {scenario.report.name} of {_many(len(dates), 'trade date')} ({_span(dates)}) is"
        " read day by day, and what has changed is published, as are the markets' events."
        f" {_many(len(plan.participants), 'participant')} receive what concerns them by HTTPS, each at an"
        f" endpoint and with subscriptions of its own: {ordered} in order, {latest_only} the latest status"
        f" only; {len(plan.faults)} go wrong on purpose, and what dies of that is replayed in the end."
        f" {_many(len(expectation.parked), 'event')} on resources that nobody owns must be parked,"
        f" {_many(expectation.malformed, 'malformed row')} left out."
    )
    return Padding(Text(text), (1, 1))


def summary(verdict: Verdict, directory: Path) -> RenderableType:
    """Return the verdict: figures, faults, dead letters, what is wrong, where to look, a last sentence."""
    parts: list[RenderableType] = [_figures(verdict), "", _faults(verdict)]
    if verdict.relief:
        parts += ["", _relief(verdict)]
    for title, findings in (
        ("lost", verdict.lost),
        ("leaked", verdict.leaked),
        ("out of order", verdict.disordered),
    ):
        if findings:
            parts += ["", *_listed(title, findings)]
    return Group(*parts, "", *_places(directory), "", _sentence(verdict))


def _places(directory: Path) -> Iterator[RenderableType]:
    yield Text(f" {directory} has", overflow="fold")
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=2)
    grid.add_column(no_wrap=True)
    grid.add_column(style="dim")
    for name, content in PLACES.items():
        grid.add_row("", name, f" {content}")
    yield grid


def _figures(verdict: Verdict) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=2, justify="right")
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right")
    grid.add_column(style="dim")
    came = f"{verdict.duplicates:,} came more than once" if verdict.duplicates else "each once"
    if again := sum(group.delivered for group in verdict.relief):
        came += f"; {again:,} by a replay"
    dead = f"of {_many(verdict.dead, 'dead letter')}"
    if verdict.causes:
        dead += ": " + ", ".join(f"{count:,} {cause}" for cause, count in sorted(verdict.causes.items()))
    mended = not verdict.dead_after_replay if verdict.relief else None
    held = ", ".join(verdict.held)
    rows: Sequence[tuple[bool | None, str, int, str]] = (
        (
            verdict.published == verdict.due,
            "events published",
            verdict.published,
            f"{verdict.due:,} by the report",
        ),
        (None, "deliveries expected", verdict.expected, "by the report, the owners and the subscriptions"),
        (None, "  delivered", verdict.delivered, came),
        (None, "  superseded", verdict.superseded, "a newer status had been delivered"),
        (mended, "  still dead", verdict.dead_after_replay, dead),
        (not verdict.lost, "  lost", len(verdict.lost), ""),
        (not verdict.leaked, "leaked", len(verdict.leaked), "events or names that were for others"),
        (not verdict.held, "still held", len(verdict.held), held),
        (not verdict.disordered, "out of order", len(verdict.disordered), "at ordered endpoints"),
    )
    for good, label, count, remark in rows:
        grid.add_row(_mark(good), label, f"{count:,}", f" {remark}")
    return grid


def _faults(verdict: Verdict) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=2, justify="right")
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_column(style="dim")
    for participant, fault, evidence in verdict.faults:
        grid.add_row(_mark(bool(evidence)), f"{participant} ", f"{fault} ", evidence or "was not seen")
    return grid


def _relief(verdict: Verdict) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column(width=2, justify="right")
    table.add_column("dead letters", overflow="fold")
    for title in ("count", "ready", "not ready", "replayed", "delivered", "still dead"):
        table.add_column(title, justify="right", no_wrap=True)
    for group, *counts in verdict.relief:
        table.add_row(_mark(not counts[-1]), group, *(f"{count:,}" for count in counts))
    return table


def _listed(title: str, findings: Sequence[Finding]) -> Iterator[RenderableType]:
    for participant, event, reason in findings[:LISTED]:
        number = "" if event.number is None else f" {event.number}"
        yield Text(f" {title}: {participant} {event.type} {event.about}{number}: {reason}", "red")
    if len(findings) > LISTED:
        yield Text(f" and {len(findings) - LISTED:,} more", "red")


def _mark(good: bool | None) -> Text:
    if good is None:
        return Text("")
    return Text("✓", "green") if good else Text("✗", "bold red")


def _sentence(verdict: Verdict) -> Text:
    if verdict.ok:
        return Text(
            f" Everything reached whom it concerns and nobody else, in {verdict.seconds:.0f} s.", "bold green"
        )
    return Text(" Not everything went as it must: see above.", "bold red")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _span(dates: Sequence[date]) -> str:
    return str(dates[0]) if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
