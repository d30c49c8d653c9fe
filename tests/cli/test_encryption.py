"""Encryption keys on the command line: read, hidden, changed, and missed."""

import sqlite3
from contextlib import closing

from tests.cli.terminal import Answer, Terminal
from tests.events.keys import NEW, OLD
from tests.producers.watchers import SAMPLE


def stored_secrets(terminal: Terminal) -> list[str]:
    with closing(sqlite3.connect(terminal.directory / "claimbus.db")) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM endpoint_secrets")]


def used(answer: Answer) -> dict[str | None, tuple[str, int, int]]:
    """What each key encrypts, by its ID: its use, secrets, claims."""
    return {
        one["key"] and one["key"].partition(".")[0]: (one["use"], one["secrets"], one["claims"])
        for one in answer.json
    }


def endpoint(terminal: Terminal, name: str) -> None:
    terminal("endpoints", "add", "PGAE", "--name", name, "--url", "https://a.example/")


def test_keys_are_never_shown(terminal: Terminal) -> None:
    with_keys = terminal.but(encryption_keys=f"{NEW},{OLD}")
    (shown,) = [
        one for one in with_keys("settings", "--json").json if one["variable"] == "CLAIMBUS_ENCRYPTION_KEYS"
    ]
    assert (set(shown["value"]), shown["default"]) == ({"*"}, "")
    doctor = with_keys("doctor").out
    assert "at rest: bodies and secrets are kept encrypted with key new." in doctor
    assert NEW.partition(":")[2] not in doctor


def test_wrong_keys_stop_the_start_by_the_settings_name(terminal: Terminal) -> None:
    wrong = terminal.but(encryption_keys="old:c2VjcmV0")
    for words in (("participants", "list"), ("market", "close", "dam", "--trade-date", "today"), ("doctor",)):
        answer = wrong(*words, code=1)
        assert "CLAIMBUS_ENCRYPTION_KEYS: the key old has 6 bytes" in answer.err + answer.out
        assert "c2Vj" not in answer.err + answer.out


def test_a_key_is_changed_without_a_gap_and_dropped_once_nothing_needs_it(terminal: Terminal) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")
    endpoint(terminal, "in clear")
    assert used(terminal("rekey", "--json")) == {None: ("in clear", 1, 0)}
    before, after = terminal.but(encryption_keys=OLD), terminal.but(encryption_keys=f"{NEW},{OLD}")
    endpoint(before, "encrypted")
    before("market", "close", "dam", "--trade-date", "today")
    counted = used(before("rekey", "--look", "--json"))
    assert counted == {"old": ("encrypts", 1, 1), None: ("in clear", 1, 0)}
    assert used(after("rekey", "--json")) == {"new": ("encrypts", 2, 0), "old": ("decrypts", 0, 1)}
    assert all(one.startswith("sealed:new.") for one in stored_secrets(terminal))
    assert len(after("endpoints", "list", "--json").json) == 2
    too_early = terminal.but(encryption_keys=NEW)("rekey", code=1)
    assert "missing" in too_early.out
    assert "set the key again" in too_early.err


def test_a_migration_to_encryption_ends_with_what_is_in_clear_refused(terminal: Terminal) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")
    endpoint(terminal, "in clear")
    required = terminal.but(encryption_keys=OLD, encryption_required="true")
    assert (
        "lies in clear, which CLAIMBUS_ENCRYPTION_REQUIRED refuses"
        in required("endpoints", "list", code=1).err
    )
    doctor = required("doctor", code=1).out
    assert "1 secrets and 0 parked events lie in clear, and are refused; run 'claimbus rekey'" in doctor
    assert used(required("rekey", "--json")) == {"old": ("encrypts", 1, 0)}
    assert len(required("endpoints", "list", "--json").json) == 1
    assert "; what lies in clear is refused" in required("doctor").out
    without = terminal.but(encryption_required="true")
    assert (
        "CLAIMBUS_ENCRYPTION_REQUIRED: needs CLAIMBUS_ENCRYPTION_KEYS"
        in without("endpoints", "list", code=1).err
    )


def test_remembered_outages_are_rekeyed(terminal: Terminal) -> None:
    feed = SAMPLE.read_bytes().splitlines(keepends=True)
    (terminal.directory / "feed.csv").write_bytes(b"".join(feed[:40]))
    terminal("oms", "watch", terminal.directory / "feed.csv")

    def outages(answer: Answer) -> dict[str | None, bool]:
        return {one["key"] and one["key"].partition(".")[0]: one["outages"] > 0 for one in answer.json}

    with_keys = terminal.but(encryption_keys=OLD)
    assert outages(with_keys("rekey", "--look", "--json")) == {None: True, "old": False}
    assert outages(with_keys("rekey", "--json"))["old"]
    assert not outages(with_keys("rekey", "--look", "--json")).get(None)


def test_without_the_key_commands_say_which_one_is_missing(terminal: Terminal) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")
    endpoint(terminal.but(encryption_keys=OLD), "one")
    refused = terminal("endpoints", "list", code=1)
    assert "is encrypted with key old." in refused.err
    assert "which CLAIMBUS_ENCRYPTION_KEYS does not have" in refused.err
