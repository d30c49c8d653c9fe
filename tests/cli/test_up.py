"""``./dev up``: what it says and starts, and that what it says to type works."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from claimbus.cli import development
from claimbus.cli.development import ROOT
from claimbus.database import tidings
from claimbus.database.engine import Database
from consumers.contacts import READER
from tests.cli.test_demo_run import environment
from tests.waiting import eventually

UP = [sys.executable, "-m", "claimbus.cli.up"]
CLAIMBUS = [sys.executable, "-m", "claimbus"]


class Running:
    """A ``./dev up`` that is ready, or one of the commands that it says to type."""

    def __init__(self, process: "psutil.Popen", *texts: str) -> None:
        self.process, self.said = process, ""
        for text in texts:
            self.says(text)

    def says(self, text: str) -> None:
        """Read on until it says this."""
        while text not in self.said:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line

    def interrupted(self) -> str:
        """Press Ctrl-C; return the rest of what it says."""
        children = self.process.children(recursive=True)
        for child in children:
            if "claimbus" in child.cmdline() and "guard" not in " ".join(child.cmdline()):
                child.send_signal(signal.SIGINT)  # as the terminal does
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=30)
        assert psutil.wait_procs(children, timeout=10)[1] == []
        return str(rest)


def test_a_shell_reads_the_settings_that_are_kept_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(development, "UP", tmp_path / "up.env")
    settings = {
        "CLAIMBUS_MAIL_FROM": "Event bus <bus@iso.example>",
        "CLAIMBUS_AMQP_URL": "amqp://a:'$b@c/?d&e",
    }
    for name, value in settings.items():
        development.keep({name: value})
    shown = " ".join(f'"${name}"' for name in settings)
    script = f"set -a; . {development.UP}; printf '%s\n' {shown}"
    said = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == list(settings.values())


@pytest.fixture
def settings(amqp_url: str, key_prefix: str, tmp_path: Path) -> dict[str, str]:
    """For servers of this test's own; the terminal is narrow."""
    return {
        "CLAIMBUS_AMQP_URL": amqp_url,
        "CLAIMBUS_KEY_PREFIX": key_prefix,
        "CLAIMBUS_DATABASE_URL": f"sqlite:///{tmp_path / 'claimbus.db'}",
        "COLUMNS": "40",
    }


@contextmanager
def started(command: list[str], settings: dict[str, str], *texts: str) -> Iterator[Running]:
    """Start something at the place where a newcomer is, and wait until it has said all this."""
    with psutil.Popen(
        command,
        cwd=ROOT,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Running(process, *texts)
        finally:
            if process.poll() is None:
                process.terminate()


def typed(up: Running, begin: str) -> list[str]:
    """What is to be typed, as it was printed, without the words ``./dev claimbus``."""
    (line,) = (line.strip() for line in up.said.splitlines() if line.strip().startswith(begin))
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert words[:2] == ["./dev", "claimbus"]
    return [*CLAIMBUS, *words[2:]]


def test_it_works_until_it_is_stopped(settings: dict[str, str]) -> None:
    with started(UP, settings, "worker ready", "portal ready") as up:
        rest = up.interrupted()
    assert "RabbitMQ" in up.said
    assert "guest:guest@" not in up.said
    assert settings["CLAIMBUS_DATABASE_URL"] in up.said, "it is not cut into lines"
    assert "/metrics" in up.said
    assert "alembic" not in up.said
    assert "worker stopped" in rest
    assert "portal stopped" in rest
    assert up.process.returncode == 0


def test_a_script_runs_on_each_event_with_the_commands_that_it_prints(settings: dict[str, str]) -> None:
    with (
        started(UP, settings, "worker ready", "portal ready") as up,
        started(typed(up, "./dev claimbus subscribe"), settings, "subscriber ready") as subscriber,
        started(typed(up, "./dev claimbus receive"), settings, "receiver ready") as receiver,
    ):
        with started(typed(up, "./dev claimbus market close"), settings, "published") as close:
            assert close.process.wait(30) == 0
        subscriber.says("market.dam.closed dam")
        receiver.says("market.dam.closed dam")
        for daemon in (subscriber, receiver):
            daemon.interrupted()
            assert daemon.process.returncode == 0
        up.interrupted()


def test_what_a_contact_is_told_lands_in_the_folder_that_it_names(settings: dict[str, str]) -> None:
    with (
        Database.open(settings["CLAIMBUS_DATABASE_URL"]) as database,
        started(UP, settings, "worker ready", "portal ready") as up,
    ):

        def is_watched() -> bool:
            with database.snapshot() as sql:
                return tidings.waiting(sql, READER) is not None

        asyncio.run(eventually(is_watched))
        folder = re.search(r"mails +files in (\S+)", up.said)
        stream = re.search(r"--endpoint (\S+)", up.said)
        assert folder
        assert stream
        with started([*CLAIMBUS, "endpoints", "pause", stream[1]], settings) as pause:
            assert pause.process.wait(30) == 0
        (mail,) = asyncio.run(eventually(lambda: list((ROOT / folder[1]).glob("*.eml")), within=30))
        told = mail.read_text()
        up.interrupted()
    assert "To: ana@pacific.example" in told
    assert re.search(rf"https://127\.0\.0\.1:\d+/endpoints/{stream[1]}", told)


def test_when_one_of_them_ends_all_do_and_it_fails(settings: dict[str, str]) -> None:
    taken = settings | {"CLAIMBUS_PORTAL_LISTEN": "127.0.0.1:0:0"}
    with started(UP, taken) as up:
        said, _ = up.process.communicate(timeout=60)
    assert "CLAIMBUS_PORTAL_LISTEN" in said
    assert up.process.returncode == 1


def test_a_wrong_setting_stops_it_and_names_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        UP,
        env=environment(CLAIMBUS_HOLD_PAUSE="soon"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "CLAIMBUS_HOLD_PAUSE" in done.stderr
    assert "Traceback" not in done.stderr
