"""What was taken is known for ever after, and by one process only."""

import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimbus.events.errors import ConfigurationError
from claimbus.subscribers import SinkError
from claimbus.subscribers.dedupe import Dedupe
from tests.subscribers.sender import received


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "taken.db"


def test_what_was_taken_is_known_after_a_restart(file: Path) -> None:
    with Dedupe(file) as dedupe:
        assert not dedupe.seen(received(1).message_id)
        dedupe.done(received(1))
    with Dedupe(file) as dedupe:
        assert dedupe.seen(received(1).message_id)
        assert not dedupe.seen(received(2).message_id)


def test_what_is_taken_back_comes_again(file: Path) -> None:
    with Dedupe(file) as dedupe:
        dedupe.done(received())
        dedupe.done(received())
        dedupe.forget(received().message_id)
        assert not dedupe.seen(received().message_id)


@settings(max_examples=20)  # each is written to disk
@given(sequences=st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=8))
def test_a_status_is_stale_when_a_newer_one_was_taken(sequences: list[int]) -> None:
    with TemporaryDirectory() as directory, Dedupe(Path(directory, "state")) as dedupe:
        taken: list[int] = []
        for sequence in sequences:
            event = received(partitionkey="15120034", sequence=sequence)
            assert dedupe.stale(event) == any(sequence < other for other in taken)
            dedupe.done(event)
            taken.append(sequence)


def test_only_versions_of_the_same_outage_are_compared(file: Path) -> None:
    with Dedupe(file) as dedupe:
        dedupe.done(received(partitionkey="1", sequence=9))
        assert dedupe.stale(received(partitionkey="1", sequence=8))
        assert not dedupe.stale(received(partitionkey="1", sequence=9))
        assert not dedupe.stale(received(partitionkey="2", sequence=8))
        assert not dedupe.stale(received(partitionkey="1", sequence=8, source="urn:iso:test:other"))
        assert not dedupe.stale(received(partitionkey="1"))
        assert not dedupe.stale(received(sequence=1))


def test_market_events_are_never_stale(file: Path) -> None:
    with Dedupe(file) as dedupe:
        dedupe.done(received(type="market.dam.closed", partitionkey="dam", sequence=9))
        assert not dedupe.stale(received(type="market.dam.closed", partitionkey="dam", sequence=8))


def test_what_is_past_retention_is_forgotten(file: Path) -> None:
    now = time.time()
    for number, days in [(1, 15), (2, 13), (3, 0)]:
        clock = partial(float, now - days * 86400)
        with Dedupe(file, retention=timedelta(days=14), clock=clock) as dedupe:
            dedupe.done(received(number))
            known = [dedupe.seen(received(other).message_id) for other in (1, 2, 3)]
    assert known == [False, True, True]


def test_a_second_process_is_refused_until_the_first_has_ended(file: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from claimbus.subscribers.dedupe import Dedupe\n"
        "held = Dedupe(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigurationError, match="another process"):
            Dedupe(file)
        other.kill()
    Dedupe(file).close()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, which nobody wants to lose, and no database" * 20)
    with pytest.raises(ConfigurationError, match=r"notes\.txt"):
        Dedupe(text)
    assert text.read_text().startswith("these are notes")
    with pytest.raises(ConfigurationError):
        Dedupe(tmp_path)


def test_a_file_of_a_newer_version_is_refused(file: Path) -> None:
    Dedupe(file).close()
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="another version"):
        Dedupe(file)


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "theirs.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE seen (theirs TEXT)")
    database.close()
    with pytest.raises(ConfigurationError, match="no state of ours"):
        Dedupe(file)


def test_a_full_disk_makes_the_event_come_again(file: Path) -> None:
    with Dedupe(file) as dedupe:
        (pages,) = dedupe._database.execute("PRAGMA page_count").fetchone()
        dedupe._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SinkError, match="full"):  # noqa: PT012 - where it is full is SQLite's affair
            for number in range(1000):
                dedupe.done(received(number))
        assert not dedupe.seen(received(number).message_id)
        dedupe._database.execute("PRAGMA max_page_count = 100000")
        dedupe.done(received(number))
        assert dedupe.seen(received(number).message_id)
