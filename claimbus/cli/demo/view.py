"""What the demo shows while it runs: one calm frame on a terminal, plain lines anywhere else."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import zip_longest
from types import TracebackType
from typing import Final, Literal, Self, get_args

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from claimbus.cli.demo.expectation import Expectation
from claimbus.cli.demo.plan import Plan
from claimbus.cli.output import sparkline

Phase = Literal["services", "participants", "publish", "deliver", "operator", "judge"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

WINDOW: Final = 3.0
"""Seconds over which a rate is taken."""

FRAMES: Final = 8
"""Frames a second."""

ROWS: Final = 10
"""Rows of the participants' table, which has two columns of them."""

STYLES: Final[Mapping[str, str]] = {"ok": "green", "held": "red", "down": "red"}
"""Colours of the endpoints' states; any other is yellow."""

DONE: Final = "✓"
BUSY: Final = "●"
OPEN: Final = "·"


@dataclass
class Meter:
    """A count on its way to a total, and its rate a second."""

    name: str
    total: int = 0
    done: int = 0
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def set(self, done: int, now: float) -> None:
        """Take the count at this moment."""
        self.done = done
        self._seen.append((now, done))
        while now - self._seen[0][0] > WINDOW:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """How many a second lately."""
        if not self._seen:
            return 0.0
        (began, before), (ended, after) = self._seen[0], self._seen[-1]
        return (after - before) / (ended - began) if ended > began else 0.0

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,}"


@dataclass
class Seat:
    """A participant in the table."""

    due: int
    received: int = 0
    dead: int = 0
    state: str = "ok"


@dataclass(frozen=True)
class DeadGroup:
    """A group of dead letters as it is shown; ``trend`` counts them in equal spans of time."""

    title: str
    count: int
    trend: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.count:,} {self.title}  {sparkline(self.trend)}"


class View:
    """The demo's face: the run tells it what happened, and it shows that.

    On a terminal it is ``live``; on anything else, or when told not to be, it prints a line for each phase,
    trade date, change of an endpoint's state and fault seen.
    """

    def __init__(self, console: Console, *, live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._phase: Phase = "services"
        self._detail = ""
        self._published = Meter("published")
        self._finished = Meter("finished")
        self._replayed = Meter("replayed")
        self._groups: list[DeadGroup] = []
        self._seats: dict[str, Seat] = {}
        self._faults: dict[str, str] = {}
        self._evidence: dict[str, str] = {}
        self._days: list[date] = []
        self._live = (
            Live(get_renderable=self.frame, console=console, refresh_per_second=FRAMES, transient=True)
            if live and console.is_terminal and not console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def plan(self, plan: Plan, expectation: Expectation) -> None:
        """Take what is going to happen."""
        self._published.total = len(expectation.audience)
        self._finished.total = sum(map(len, expectation.due.values()))
        self._seats = {participant: Seat(len(due)) for participant, due in expectation.due.items()}
        self._faults = {participant: str(fault) for participant, fault in plan.faults.items()}
        self._days = sorted(expectation.daily)

    def phase(self, phase: Phase, detail: str = "") -> None:
        """Enter a phase, or say more about the one that it is in."""
        self._phase, self._detail = phase, detail
        counted = phase in ("publish", "deliver")
        so_far = f"; {self._published} published, {self._finished} finished" if counted else ""
        self._line(f"{phase}: {detail or 'begins'}{so_far}")

    def day(self, trade_date: date) -> None:
        """Begin to publish a trade date."""
        number = self._days.index(trade_date) + 1
        self.phase("publish", f"trade date {trade_date}, {number} of {len(self._days)}")

    def counts(
        self, *, published: int, received: Mapping[str, int], dead: Mapping[str, int], superseded: int = 0
    ) -> None:
        """Take how many events are published, and how many each participant has received, repeats aside.

        ``dead`` counts its dead letters, ``superseded`` the statuses that will not come to anybody.
        """
        now = self._clock()
        self._published.set(published, now)
        self._finished.set(sum(received.values()) + sum(dead.values()) + superseded, now)
        for participant, count in received.items():
            self._seats[participant].received = count
        for participant, seat in self._seats.items():
            seat.dead = dead.get(participant, 0)

    def state(self, participant: str, state: str) -> None:
        """Take how a participant's endpoint does: ``ok``, ``held`` or another word."""
        seat = self._seats[participant]
        if seat.state != state:
            seat.state = state
            self._line(f"{participant}: {state}")

    def seen(self, participant: str, evidence: str) -> None:
        """Tick a planned fault off, with how it showed."""
        if participant not in self._evidence:
            self._line(f"seen: {participant} {self._faults[participant]}: {evidence}")
        self._evidence[participant] = evidence

    def groups(self, groups: Sequence[DeadGroup]) -> None:
        """Show the groups of dead letters in place of the planned faults, and how many were replayed."""
        self._groups = list(groups)
        self._replayed.total = sum(group.count for group in groups)
        for group in groups:
            self._line(f"dead: {group}")

    def replayed(self, done: int, total: int) -> None:
        """Take of how many dead letters in a replay how many were delivered."""
        self._replayed.total = total
        self._replayed.set(done, self._clock())

    def _line(self, text: str) -> None:
        if self._live is None:
            self._console.print(f"{self._elapsed:4.0f} s  {text}", highlight=False, soft_wrap=True)

    @property
    def _elapsed(self) -> float:
        return self._clock() - self._began

    def frame(self) -> RenderableType:
        """Return the frame as it is now; it keeps its height once the plan is known."""
        detail = Text(f"  {self._detail}", "dim", no_wrap=True, overflow="ellipsis")
        if not self._seats:
            return Group(self._heading(), detail)
        below = self._dead() if self._groups else self._planned()
        return Group(self._heading(), detail, "", self._meters(), "", self._participants(), "", below)

    def _heading(self) -> Table:
        steps = Text(" ")
        reached = PHASES.index(self._phase)
        for number, phase in enumerate(PHASES):
            mark, colour = (DONE, "green") if number < reached else (OPEN, "dim")
            if number == reached:
                mark, colour = BUSY, "cyan"
            steps.append(mark, colour)
            steps.append(f" {phase}  ", "bold" if number == reached else "dim")
        grid = Table.grid(expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right", style="dim", no_wrap=True)
        grid.add_row(steps, f"{self._elapsed:.0f} s")
        return grid

    def _meters(self) -> Table:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(justify="right", no_wrap=True, style="dim", min_width=8)
        for meter in (self._replayed if self._groups else self._published, self._finished):
            bar = ProgressBar(
                total=max(meter.total, 1), completed=meter.done, complete_style="cyan", finished_style="green"
            )
            grid.add_row(f" {meter.name}", bar, str(meter), f"{meter.rate:,.0f}/s")
        return grid

    def _participants(self) -> Table:
        """Return two columns of participants; when there are too many, those in trouble first."""
        seats = sorted(self._seats.items(), key=lambda item: item[1].state == "ok")
        if len(seats) <= 2 * ROWS:
            seats = list(self._seats.items())
        shown = seats[: 2 * ROWS]
        half = (len(shown) + 1) // 2
        grid = Table.grid(padding=(0, 1), expand=True)
        for _ in range(2):
            grid.add_column(width=2, justify="right")
            grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
            grid.add_column(justify="right", no_wrap=True, style="dim")
            grid.add_column(width=9, no_wrap=True, overflow="ellipsis")
        for left, right in zip_longest(shown[:half], shown[half:]):
            grid.add_row(*self._cells(left), *(self._cells(right) if right else ()))
        if len(seats) > len(shown):
            grid.add_row("", Text(f"and {len(seats) - len(shown)} more", "dim"))
        return grid

    def _cells(self, seat: tuple[str, Seat]) -> tuple[RenderableType, ...]:
        participant, at = seat
        style = STYLES.get(at.state, "yellow")
        state = Text(at.state, "dim" if at.state == "ok" else style)
        if at.dead and at.state == "ok":
            state = Text(f"{at.dead} dead", "yellow")
        return Text(BUSY, style), participant, f"{at.received:,}/{at.due:,}", state

    def _planned(self) -> Table:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(width=2, justify="right")
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis", style="dim")
        for participant, fault in self._faults.items():
            evidence = self._evidence.get(participant, "")
            mark = Text(DONE, "green") if evidence else Text(OPEN, "dim")
            grid.add_row(mark, f"{participant} ", f"{fault} ", evidence)
        return grid

    def _dead(self) -> Table:
        """Return the largest groups, in as many rows as the planned faults take."""
        rows = len(self._faults)
        shown = self._groups if len(self._groups) <= rows else self._groups[: rows - 1]
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(min_width=2, justify="right", no_wrap=True, style="yellow")
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(no_wrap=True, style="cyan")
        for group in shown:
            grid.add_row(f" {group.count:,}", group.title, sparkline(group.trend))
        if len(self._groups) > len(shown):
            grid.add_row("", Text(f"and {len(self._groups) - len(shown)} more", "dim"))
        for _ in range(rows - grid.row_count):
            grid.add_row("")
        return grid
