"""The sinks one by one: what they hand on, and what they report as not taken."""

import base64
import json
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from claimbus.events.errors import ConfigurationError
from claimbus.subscribers import Received, SinkError, verify
from claimbus.subscribers.dedupe import Dedupe
from claimbus.subscribers.errors import SinkClosedError
from claimbus.subscribers.sinks import CommandSink, DirectorySink, ForwardSink, StandardOutputSink
from claimbus.subscribers.sinks.directory import STAGE
from claimbus.subscribers.sinks.standard_output import line
from tests.subscribers.inner import Inner
from tests.subscribers.sender import SECRET, an_event, received, signed
from tests.waiting import eventually


class Noted:
    """Counts the calls of ``done``."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def done() -> Noted:
    return Noted()


def command(script: str, *, timeout: float = 20, **environment: str) -> CommandSink:
    return CommandSink(["/bin/sh", "-c", script], environment=os.environ | environment, timeout=timeout)


# --exec


async def test_a_command_gets_body_and_attributes(tmp_path: Path, done: Noted) -> None:
    event = replace(
        received(subject="Zoë's", sequence=7, body=b"\x00\xff" * 100_000), replay="rp_1", attempt=2
    )
    sink = command(f"cat > {tmp_path}/body; env > {tmp_path}/env", OURS="kept")
    await sink.take(event, done)
    assert (tmp_path / "body").read_bytes() == event.body
    variables = dict(text.split("=", 1) for text in (tmp_path / "env").read_text().splitlines())
    expected = {f"CE_{name.upper()}": value for name, value in event.attributes.items()} | {
        "CLAIMBUS_MESSAGE_ID": event.message_id,
        "CLAIMBUS_ATTEMPT": "2",
        "CLAIMBUS_REPLAY": "rp_1",
        "OURS": "kept",
    }
    assert expected.items() <= variables.items()
    assert done.times == 1


async def test_a_command_is_told_where_to_fetch_a_body(tmp_path: Path, done: Noted) -> None:
    event = replace(received(), body=None, dataref="/v1/claims/a")
    await command(f'cat > {tmp_path}/body; echo "$CE_DATAREF" > {tmp_path}/dataref').take(event, done)
    assert (tmp_path / "body").read_bytes() == b""
    assert (tmp_path / "dataref").read_text() == "/v1/claims/a\n"


async def test_a_command_that_fails_has_not_taken_the_event(done: Noted) -> None:
    for script, reason in [("exit 3", "exit code 3"), ("kill -9 $$", "exit code -9")]:
        with pytest.raises(SinkError, match=reason):
            await command(script).take(received(), done)
    with pytest.raises(SinkError, match="cannot be run"):
        await CommandSink(["/nowhere"], environment={}, timeout=1).take(received(), done)
    assert done.times == 0


async def test_a_command_need_not_read_its_input(done: Noted) -> None:
    await command("exit 0").take(received(body=bytes(4_000_000)), done)
    assert done.times == 1


async def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path, done: Noted) -> None:
    with pytest.raises(SinkError, match="killed"):
        await command(f"sh -c 'echo $$ > {tmp_path}/child; exec sleep 60'; true", timeout=0.5).take(
            received(), done
        )
    child = int((tmp_path / "child").read_text())
    await eventually(lambda: not _alive(child))
    assert done.times == 0


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_a_commands_output_is_logged_line_by_line(done: Noted) -> None:
    with capture_logs() as logs:
        await command(
            "echo one; printf '\\377two\\n' >&2; yes | head -c 9000 | tr -d '\\n'; echo; printf end"
        ).take(received(), done)
    said = [log["output"] for log in logs if log["event"] == "command says"]
    assert said[:2] == ["one", "\ufffdtwo"]
    assert said[2] == "y" * 2000
    assert said[-1] == "end"
    assert {log["message_id"] for log in logs} == {received().message_id}


async def test_what_a_command_leaves_running_does_not_hold_the_next_event(
    done: Noted, tmp_path: Path
) -> None:
    await command(f"sleep 60 & echo $! > {tmp_path}/pid").take(received(), done)
    left = int((tmp_path / "pid").read_text())
    assert _alive(left)
    os.kill(left, 9)
    assert done.times == 1


# --dir


@pytest.fixture
def dedupe(tmp_path: Path) -> Iterator[Dedupe]:
    with Dedupe(tmp_path / "taken.db") as dedupe:
        yield dedupe


def noting(dedupe: Dedupe, event: Received) -> Callable[[], Awaitable[None]]:
    async def done() -> None:
        dedupe.done(event)

    return done


@pytest.mark.parametrize(
    ("content_type", "suffix"),
    [
        ("application/json", ".json"),
        ("application/problem+json; charset=utf-8", ".json"),
        ("Text/CSV", ".csv"),
        ("application/cim+xml", ".xml"),
        ("application/x-whatever/../../etc", ".bin"),
    ],
)
async def test_an_event_is_a_body_and_a_sidecar(
    tmp_path: Path, dedupe: Dedupe, content_type: str, suffix: str
) -> None:
    event = received(datacontenttype=content_type, subject="Zoë", body=b"\x00\xff")
    out = tmp_path / "out"
    await DirectorySink(out, dedupe).take(event, noting(dedupe, event))
    names = {file.name for file in out.iterdir()}
    assert names == {STAGE, f"{event.message_id}{suffix}", f"{event.message_id}.event"}
    sidecar = json.loads((out / f"{event.message_id}.event").read_bytes())
    assert sidecar["event"] == event.attributes
    assert sidecar["message_id"] == event.message_id
    assert (out / sidecar["body"]).read_bytes() == b"\x00\xff"
    assert list((out / STAGE).iterdir()) == []


async def test_an_event_without_a_body_is_a_sidecar_with_its_dataref(tmp_path: Path, dedupe: Dedupe) -> None:
    event = replace(received(), body=None, dataref="/v1/claims/a")
    await DirectorySink(tmp_path, dedupe).take(event, noting(dedupe, event))
    sidecar = json.loads((tmp_path / f"{event.message_id}.event").read_bytes())
    assert (sidecar["body"], sidecar["dataref"]) == (None, "/v1/claims/a")


async def test_a_directory_that_takes_no_more_leaves_the_event_to_come_again(
    tmp_path: Path, dedupe: Dedupe
) -> None:
    event, out = received(), tmp_path / "out"
    sink = DirectorySink(out, dedupe)
    (out / f"{event.message_id}.json").mkdir()  # in the way of the move, which comes after the note
    with pytest.raises(SinkError):
        await sink.take(event, noting(dedupe, event))
    assert not dedupe.seen(event.message_id)
    (out / f"{event.message_id}.json").rmdir()
    await sink.take(event, noting(dedupe, event))
    assert (out / f"{event.message_id}.json").read_bytes() == event.body


async def test_an_event_that_cannot_be_written_leaves_no_body_on_the_stage(
    tmp_path: Path, dedupe: Dedupe
) -> None:
    event, stage = received(), tmp_path / "out" / STAGE
    sink = DirectorySink(tmp_path / "out", dedupe)
    (stage / f"{event.message_id}.event").mkdir()  # in the way of the sidecar, which is written last
    with sink.room() as file, pytest.raises(SinkError):
        await sink.take(replace(event, body=None, file=file), noting(dedupe, event))
    (stage / f"{event.message_id}.event").rmdir()
    assert list(stage.iterdir()) == []


@pytest.mark.parametrize("umask", [0, 0o022])
async def test_what_it_makes_is_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    event, out = received(), tmp_path / "new" / "out"
    before = os.umask(umask)
    try:
        with Dedupe(out / ".claimbus.db") as dedupe:
            await DirectorySink(out, dedupe).take(event, noting(dedupe, event))
            made = [out.parent, out, *out.iterdir()]
    finally:
        os.umask(before)
    assert len(made) >= 7  # the stage, body and sidecar, SQLite's file and its log
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in made if file.exists()} == {
        file.name: 0o700 if file.is_dir() else 0o600 for file in made if file.exists()
    }


async def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path, dedupe: Dedupe) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o750)
    DirectorySink(out, dedupe)
    assert stat.S_IMODE(out.stat().st_mode) == 0o750


async def test_a_fetched_body_that_is_not_taken_leaves_no_file(tmp_path: Path, dedupe: Dedupe) -> None:
    sink = DirectorySink(tmp_path / "out", dedupe)
    with sink.room() as file:
        file.write(b"half of it")
    assert list((tmp_path / "out" / STAGE).iterdir()) == []


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path, dedupe: Dedupe) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError):
        DirectorySink(tmp_path / "file" / "out", dedupe)


# --stdout


def test_a_line_holds_the_body_in_its_own_form() -> None:
    assert json.loads(line(received(body=b'{\r\n "mw": 1.50}')))["body"] == {"mw": 1.5}
    assert b'"mw": 1.50' in line(received(body=b'{\r\n "mw": 1.50}'))
    assert (
        json.loads(line(received(body="Zoë,1\n".encode(), datacontenttype="text/csv")))["body"] == "Zoë,1\n"
    )
    assert json.loads(line(received(body=b"{broken")))["body"] == "{broken"
    assert (
        json.loads(line(replace(received(), body=None, dataref="/v1/claims/a")))["dataref"] == "/v1/claims/a"
    )
    assert base64.b64decode(json.loads(line(received(body=b"\xff\x00")))["body_base64"]) == b"\xff\x00"


def test_a_line_holds_a_body_that_was_fetched() -> None:
    with TemporaryFile() as file:
        file.write(b'{"mw": 1.5}')
        file.seek(0)
        found = json.loads(line(replace(received(), body=None, file=file)))
    assert found["body"] == {"mw": 1.5}


@given(body=st.binary(max_size=50), kind=st.sampled_from(["application/json", "text/plain"]))
def test_every_event_is_one_line_of_json(body: bytes, kind: str) -> None:
    written = line(received(body=body, datacontenttype=kind))
    assert written.endswith(b"\n")
    assert written.count(b"\n") == 1
    assert json.loads(written)["event"]["id"] == "event-1"


async def test_a_line_is_flushed_before_the_event_is_noted(done: Noted) -> None:
    output = BytesIO()
    await StandardOutputSink(output).take(received(), done)
    assert output.getvalue() == line(received())
    assert done.times == 1


async def test_a_broken_pipe_ends_it(done: Noted) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as output, pytest.raises(SinkClosedError):
        await StandardOutputSink(output).take(received(), done)
    assert done.times == 0


# --forward


@asynccontextmanager
async def forwarding(inner: Inner) -> AsyncIterator[ForwardSink]:
    sink = ForwardSink(inner.url, timeout=10, ca_pem=inner.ca_pem)
    try:
        yield sink
    finally:
        await sink.aclose()


async def test_what_is_forwarded_can_be_verified_again(inner: Inner, done: Noted) -> None:
    event = verify(*signed(an_event(body=b"\xff\x00", subject="Zoë")), [SECRET])
    async with forwarding(inner) as sink:
        await sink.take(event, done)
    assert verify(*inner.requests[0], [SECRET]) == event
    assert done.times == 1


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_what_is_not_answered_with_2xx_was_not_taken(inner: Inner, done: Noted, status: int) -> None:
    inner.status = status
    async with forwarding(inner) as sink:
        with pytest.raises(SinkError, match=f"HTTP {status}"):
            await sink.take(received(), done)
    assert len(inner.requests) == 1  # no redirect was followed
    assert done.times == 0


async def test_a_server_that_is_away_has_not_taken_it_and_its_url_is_not_told(
    inner: Inner, done: Noted
) -> None:
    unknown = ForwardSink(inner.url, timeout=10)
    away = ForwardSink("https://localhost:1/?token=secret", timeout=10)
    for sink in (unknown, away):
        with pytest.raises(SinkError) as failed:
            await sink.take(received(), done)
        assert "secret" not in str(failed.value)
        await sink.aclose()
    assert done.times == 0


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://a/", "file:///etc/passwd"])
def test_a_url_of_no_server_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        ForwardSink(url, timeout=1)


def test_an_unusable_authority_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        ForwardSink(
            "https://localhost/",
            timeout=1,
            ca_pem=b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
        )
