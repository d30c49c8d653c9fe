"""What every command has in common: help, exit codes, and errors in one line."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claimbus.cli.commands import COMMANDS, load, told
from claimbus.events.errors import InvalidEventError
from producers.producer import PublishingFailedError
from tests.cli.terminal import Terminal

WITHOUT_CLIENTS = """
import sys

class Away:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pika", "redis", "hiredis", "sqlalchemy", "alembic", "pyreqwest"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Away())
from claimbus.cli import main
main()
"""


def test_the_help_lists_every_command_and_loads_none() -> None:
    look = (
        "import sys\nfrom claimbus.cli.commands import app\ntry:\n    app()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('pika', 'redis', 'sqlalchemy', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", look, "--help"], capture_output=True, text=True, check=True, timeout=30
    )
    assert all(name in done.stdout for name in COMMANDS)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["no-such-command"], 2)])
def test_a_command_says_its_last_words_and_ends_before_the_interpreter_is_taken_apart(
    words: list[str], code: int
) -> None:
    script = (
        "import atexit\nfrom claimbus.cli import main\n"
        "class Late:\n    def __del__(self):\n        print('taken apart')\n"
        "late = Late()\natexit.register(print, 'last words')\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (code, ["last words"])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_of_itself_what_the_help_says(name: str) -> None:
    assert " ".join(load(name).help.split()).startswith(COMMANDS[name][1].removesuffix("."))


def test_the_line_of_usage_has_no_braces(terminal: Terminal) -> None:
    assert "endpoints show [OPTIONS] ID" in terminal("endpoints", "show", "--help").out
    assert "endpoints subscribe [OPTIONS] ID PATTERN..." in terminal("endpoints", "subscribe", "--help").out


@pytest.mark.parametrize(("name", "default"), [("receive", "5m"), ("subscribe", "1m")])
def test_the_help_has_durations_as_people_write_them(terminal: Terminal, name: str, default: str) -> None:
    assert f"default: {default}]" in terminal(name, "--help").out


def test_an_error_names_the_option_at_fault(terminal: Terminal) -> None:
    words = ("--listen", "127.0.0.1:0", "--stdout", "--secret-file", "secret", "--cert", "none.pem")
    (terminal.directory / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert terminal("receive", *words, code=1).err.startswith("claimbus: --cert: none.pem: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_list_command_gives_json(name: str) -> None:
    subcommands = getattr(load(name), "commands", {})
    if "list" in subcommands:
        assert any("--json" in option.opts for option in subcommands["list"].params)


def test_without_the_isos_side_help_and_settings_work_and_the_rest_says_what_to_install() -> None:
    def typed(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", WITHOUT_CLIENTS, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    assert typed("--help").returncode == 0
    assert typed("settings", "--json").returncode == 0
    done = typed("publish", "market.dam.closed", "--body", "-")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'claimbus[iso]'" in done.stderr


def test_wrong_usage_exits_with_2_and_a_near_miss_is_suggested(terminal: Terminal) -> None:
    assert "Did you mean 'settings'?" in terminal("setings", code=2).err
    assert "--body" in terminal("publish", "market.dam.closed", code=2).err
    assert "is no day" in terminal("market", "close", "dam", "--trade-date", "monday", code=2).err
    assert "yesterday 14:00" in terminal("audit", "list", "--since", "monday", code=2).err


def test_an_error_is_one_line_that_names_the_setting(terminal: Terminal) -> None:
    told = terminal.but(databse_url="x")("participants", "list", code=1).err
    assert told == "claimbus: CLAIMBUS_DATABSE_URL: is no setting; 'claimbus settings' lists them all\n"
    told = terminal.but(retry_ladder="5x")("market", "close", "dam", "--trade-date", "today", code=1).err
    assert told.startswith("claimbus: CLAIMBUS_RETRY_LADDER: '5x' is no delay")


def test_several_errors_are_told_by_the_first_unless_one_is_a_mistake_in_the_code() -> None:
    refused = InvalidEventError("type", "unknown")
    failed = PublishingFailedError("2 of 9 events", [refused, refused])
    assert told(failed) == "2 of 9 events; the first: type: unknown"
    assert told(PublishingFailedError("2 of 9 events", [refused, TypeError()])) is None


def test_a_missing_server_is_one_line_that_says_where_to_look(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimbus.cli.publish.COMMAND_WITHIN", 0.1)
    command = ("market", "close", "dam", "--trade-date", "today")
    for answer in (
        terminal.but(redis_url="redis://127.0.0.1:1")(*command, code=1),
        terminal.but(amqp_url="amqp://127.0.0.1:1")(*command, code=1),
    ):
        told = answer.err
        assert told.count("\n") == 1
        assert "127.0.0.1:1" in told
        assert "claimbus doctor" in told


def test_a_database_that_is_none_is_one_line(terminal: Terminal, tmp_path: Path) -> None:
    told = terminal.but(database_url=f"sqlite:///{tmp_path}/no/such.db")("endpoints", "list", code=1).err
    assert told.count("\n") == 1
    assert "CLAIMBUS_DATABASE_URL" in told


def test_settings_are_listed_without_passwords(terminal: Terminal) -> None:
    listed = {line["variable"]: line for line in terminal("settings", "--json").json}
    assert listed["CLAIMBUS_ENVIRONMENT"]["value"] == "test"
    assert ":***@" in listed["CLAIMBUS_AMQP_URL"]["value"]
    assert "CLAIMBUS_AMQP_URL" in terminal("settings").out


def test_the_version_is_told(terminal: Terminal) -> None:
    assert terminal("--version").out.startswith("claimbus ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_what_stays_ends_on_a_signal_without_a_traceback(
    terminal: Terminal, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("OUTAGE MRID\n")
    with terminal.started("oms", "watch", feed, "--every", "0.1s", "--json") as process:
        assert process.stderr is not None
        for line in process.stderr:  # the feed's problem, once it is old enough to be read
            if "has no header row" in line:
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (code, "", "")
