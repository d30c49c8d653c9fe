"""``claimbus receive`` as its users run it: a process of its own, over TLS."""

import asyncio
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from pyreqwest.exceptions import PyreqwestError

from claimbus.events.event import Event
from claimbus.events.tls import client_context
from claimbus.subscribers.certificate import Certificate
from claimbus.subscribers.deadlines import HttpProtocol
from claimbus.subscribers.listener import Listener, nothing_here
from consumers.signature import new_secret
from tests.consumers.webhooks import webhook
from tests.events.test_tls import answer, lax_client, lax_server, listening, only_tls_1_1
from tests.subscribers.daemon import Daemon, post, receiving, sender
from tests.subscribers.sender import SECRET, an_event, signed
from tests.waiting import eventually


def taken(directory: Path) -> list[str]:
    """The IDs of the events in a directory, of which each is there whole."""
    sidecars = [json.loads(file.read_bytes()) for file in directory.glob("*.event")]
    assert all((directory / one["body"]).exists() for one in sidecars)
    return sorted(one["event"]["id"] for one in sidecars)


async def test_events_become_files_and_duplicates_do_not(certificates: Path, tmp_path: Path) -> None:
    with receiving(certificates, tmp_path, "--dir", "out") as daemon:
        async with sender(certificates) as iso:
            statuses = [await post(iso, daemon.url, an_event(number)) for number in (1, 2, 1)]
            statuses.append(await post(iso, daemon.url, an_event(2), attempt=2))
        assert statuses == [204] * 4
        assert taken(tmp_path / "out") == ["event-1", "event-2"]
        await eventually(lambda: len(daemon.told("event duplicate")) == 2)
        assert daemon.end() == 0
    assert daemon.told("receiver stopped")
    assert SECRET not in repr(daemon.logs)


async def test_each_event_runs_a_command(certificates: Path, tmp_path: Path) -> None:
    script = tmp_path / "on event.sh"
    script.write_text(
        "#!/bin/sh\n"
        'printf "%s %s %s\\n" "$CE_TYPE" "$(cat)" "${CLAIMBUS_RECEIVE_SECRETS:-none}" >> got\n'
        "echo seen\n"
    )
    script.chmod(0o755)
    with receiving(certificates, tmp_path, "--exec", f"'{script}'") as daemon:
        async with sender(certificates) as iso:
            assert await post(iso, daemon.url, an_event()) == 204
        await eventually(lambda: daemon.told("command says"))
    assert (tmp_path / "got").read_text() == f'{an_event().type} {{"number": 1}} none\n'
    assert daemon.told("command says")[0]["output"] == "seen"


async def test_a_failing_command_is_answered_5xx_until_it_succeeds(
    certificates: Path, tmp_path: Path
) -> None:
    with receiving(certificates, tmp_path, "--shell", "--exec", "test -e ready && cat >> got") as daemon:
        async with sender(certificates) as iso:
            assert await post(iso, daemon.url, an_event()) == 500
            (tmp_path / "ready").touch()
            assert await post(iso, daemon.url, an_event(), attempt=2) == 204
            assert await post(iso, daemon.url, an_event(), attempt=3) == 204
    assert (tmp_path / "got").read_bytes() == an_event().body


async def test_events_are_printed_as_lines_of_json(certificates: Path, tmp_path: Path) -> None:
    with (
        (tmp_path / "lines").open("wb") as lines,
        receiving(certificates, tmp_path, "--stdout", stdout=lines) as daemon,
    ):
        async with sender(certificates) as iso:
            assert await post(iso, daemon.url, an_event(1)) == 204
            assert await post(iso, daemon.url, an_event(2, body=b"\xff")) == 204
        printed = [json.loads(line) for line in (tmp_path / "lines").read_bytes().splitlines()]
    assert [line["event"]["id"] for line in printed] == ["event-1", "event-2"]
    assert printed[0]["body"] == {"number": 1}


async def test_a_reader_who_leaves_ends_the_receiver(certificates: Path, tmp_path: Path) -> None:
    with receiving(certificates, tmp_path, "--stdout", stdout=subprocess.PIPE) as daemon:
        assert daemon.process.stdout is not None
        daemon.process.stdout.close()
        async with sender(certificates) as iso:
            assert await post(iso, daemon.url, an_event()) == 500
        assert await asyncio.to_thread(daemon.process.wait, 20) == 1


async def test_with_latest_an_old_status_is_acked_but_left_out(certificates: Path, tmp_path: Path) -> None:
    def status(sequence: int) -> Event:
        return an_event(sequence, partitionkey="15120034", sequence=sequence)

    with receiving(certificates, tmp_path, "--dir", "out", "--latest") as daemon:
        async with sender(certificates) as iso:
            assert [await post(iso, daemon.url, status(number)) for number in (2, 1, 3)] == [204] * 3
    assert taken(tmp_path / "out") == ["event-2", "event-3"]


async def test_one_receiver_forwards_to_another(certificates: Path, tmp_path: Path) -> None:
    inner_state, outer_state = tmp_path / "inner.db", tmp_path / "outer.db"
    with receiving(certificates, tmp_path, "--dir", "out", "--state", inner_state) as inner:
        forward = ("--forward", inner.url, "--forward-ca", certificates / "ca.pem", "--state", outer_state)
        with receiving(certificates, tmp_path, *forward) as outer:
            async with sender(certificates) as iso:
                assert await post(iso, outer.url, an_event(body=b"\xff\x00")) == 204
                inner.end(signal.SIGKILL)
                assert await post(iso, outer.url, an_event(2)) == 500
    assert taken(tmp_path / "out") == ["event-1"]


async def test_what_is_not_the_isos_is_refused_and_never_reaches_the_sink(
    certificates: Path, tmp_path: Path
) -> None:
    headers, body = signed(an_event())
    with receiving(certificates, tmp_path, "--dir", "out", "--path", "/in") as daemon:
        url = daemon.url + "in"
        async with sender(certificates) as iso:
            for changed, content, status in [
                (headers, body + b" ", 401),
                (headers | {"webhook-id": "evt_x"}, body, 401),
                (headers | {"webhook-signature": "v1,AAAA"}, body, 401),
                (signed(an_event(), at=1)[0], body, 401),
                (headers | {"ce-id": "another"}, body, 400),
                (headers, bytes(65 * 1024 * 1024), 413),
            ]:
                response = await iso.post(url).headers(changed).body_bytes(content).build().send()
                assert response.status == status
            assert await post(iso, daemon.url + "other", an_event()) == 404
        assert taken(tmp_path / "out") == []


async def test_the_isos_worker_and_the_receiver_understand_each_other(
    certificates: Path, tmp_path: Path
) -> None:
    event, claimed = an_event(1, subject="Zoë"), an_event(2)
    with receiving(certificates, tmp_path, "--dir", "out") as daemon:
        ca_pem = (certificates / "ca.pem").read_bytes()
        async with webhook(daemon.url, secrets=[new_secret(), SECRET], ca_pem=ca_pem) as hook:
            answers = [
                await hook.post(event, message_id=event.identity, attempt=2, replay="rp_1"),
                await hook.post_claim(claimed, claim_id="abc", message_id=claimed.identity, attempt=1),
            ]
    assert [answer.status for answer in answers] == [204, 204]
    first = json.loads((tmp_path / "out" / f"{event.identity}.event").read_bytes())
    assert (first["event"], first["attempt"], first["replay"]) == (event.attributes(), 2, "rp_1")
    second = json.loads((tmp_path / "out" / f"{claimed.identity}.event").read_bytes())
    assert (second["event"], second["dataref"]) == (claimed.attributes(), "/v1/claims/abc")


async def test_a_body_of_64_mib_is_received(certificates: Path, tmp_path: Path) -> None:
    event = an_event(body=bytes(64 * 1024 * 1024), datacontenttype="application/octet-stream")
    with receiving(certificates, tmp_path, "--dir", "out") as daemon:
        async with sender(certificates) as iso:
            assert await post(iso, daemon.url, event) == 204
    assert (tmp_path / "out" / f"{event.identity}.bin").stat().st_size == len(event.body)


async def test_sigterm_finishes_the_event_in_work(certificates: Path, tmp_path: Path) -> None:
    command = "touch begun; until test -e release; do sleep 0.02; done; echo $CE_ID >> got"
    with receiving(certificates, tmp_path, "--shell", "--exec", command) as daemon:
        async with sender(certificates) as iso:
            first = asyncio.create_task(post(iso, daemon.url, an_event(1)))
            await eventually((tmp_path / "begun").exists)
            second = asyncio.create_task(post(iso, daemon.url, an_event(2)))
            await eventually(lambda: _connections(daemon) == 2)
            daemon.process.send_signal(signal.SIGTERM)
            await eventually(lambda: not _listens(daemon))
            assert daemon.process.poll() is None
            (tmp_path / "release").touch()
            assert await first == 204
            with suppress(PyreqwestError):  # when it had come no further than to the connection
                assert await second == 503
        assert await asyncio.to_thread(daemon.process.wait, 20) == 0
    assert (tmp_path / "got").read_text() == "event-1\n"


def _connections(daemon: Daemon) -> int:
    found = psutil.Process(daemon.process.pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


def _listens(daemon: Daemon) -> bool:
    parts = urlsplit(daemon.url)
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", parts.port or 0)) == 0


async def test_only_the_iso_gets_in_when_its_authority_is_named(certificates: Path, tmp_path: Path) -> None:
    with receiving(certificates, tmp_path, "--dir", "out", "--client-ca", certificates / "ca.pem") as daemon:
        async with sender(certificates, identity="client.pem") as iso:
            assert await post(iso, daemon.url, an_event()) == 204
        for stranger in (None, "other-client.pem"):
            async with sender(certificates, identity=stranger) as client:
                with pytest.raises(PyreqwestError):
                    await post(client, daemon.url, an_event(2))
    assert taken(tmp_path / "out") == ["event-1"]


def test_tls_1_1_is_refused(certificates: Path, tmp_path: Path) -> None:
    old = only_tls_1_1(lax_client(certificates))
    with listening(only_tls_1_1(lax_server(certificates))) as port:
        assert answer(old, port) == (b"served", "TLSv1.1")  # so the client could
    with receiving(certificates, tmp_path, "--dir", "out") as daemon:
        port = urlsplit(daemon.url).port or 0
        with pytest.raises(ssl.SSLError):
            answer(old, port)
        new = client_context(ca_file=certificates / "ca.pem")
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            new.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            assert secured.version() == "TLSv1.3"


def test_the_handshake_is_answered(certificates: Path, tmp_path: Path) -> None:
    with receiving(certificates, tmp_path, "--dir", "out", "--origin", "iso.example") as daemon:
        parts = urlsplit(daemon.url)
        context = client_context(ca_file=certificates / "ca.pem")
        connection = http.client.HTTPSConnection("localhost", parts.port, context=context, timeout=10)
        answers = []
        for origin in ("iso.example", "evil.example"):
            connection.request("OPTIONS", "/in", headers={"WebHook-Request-Origin": origin})
            with connection.getresponse() as response:
                response.read()
                answers.append((response.status, response.headers["WebHook-Allowed-Origin"]))
        connection.close()
    assert answers == [(200, "iso.example"), (403, None)]


async def test_a_renewed_certificate_is_shown_without_a_restart(certificates: Path, tmp_path: Path) -> None:
    file = tmp_path / "server.pem"
    shutil.copy(certificates / "server.pem", file)
    certificate = Certificate(file)
    renewing = asyncio.create_task(certificate.renew(every=0.01))
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=certificate.context
    )
    port = server.sockets[0].getsockname()[1]

    async def trusted(ca: Path) -> bool:
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_context(ca_file=ca), server_hostname="localhost"
            )
        except ssl.SSLError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async with server:
        assert await trusted(certificates / "ca.pem")
        file.write_text("half a fi")
        await asyncio.sleep(0.1)
        assert await trusted(certificates / "ca.pem")
        shutil.copy(certificates / "other-server.pem", file)
        await eventually(lambda: trusted(certificates / "other-ca.pem"))
        assert not await trusted(certificates / "ca.pem")
        renewing.cancel()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--dir", "out"], 2, "--cert"),
        (["--plain-http"], 2, "one of --exec, --dir, --forward, --stdout"),
        (["--plain-http", "--dir", "out", "--stdout"], 2, "one of"),
        (["--plain-http", "--dir", "out", "--listen", "8443x"], 2, "HOST:PORT"),
        (["--plain-http", "--dir", "out", "--listen", "0.0.0.0:0"], 1, "plain HTTP will not do"),
        (["--plain-http", "--exec", "no-such-program"], 1, "there is no such program"),
        (["--plain-http", "--dir", "out", "--secret-file", "absent"], 1, "absent"),
        (["--cert", "absent.pem", "--dir", "out"], 1, "absent.pem"),
        (["--plain-http", "--forward", "ftp://x/"], 1, "must begin with http"),
        (["--plain-http", "--dir", "out", "--portal", "https://x"], 2, "--portal-cert or --token-file"),
        (["--plain-http", "--dir", "out", "--portal-ca", "ca.pem"], 2, "are for --portal"),
    ],
)
def test_wrong_usage_is_told(tmp_path: Path, options: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "claimbus", "receive", "--listen", "127.0.0.1:0", *options],
        cwd=tmp_path,
        env={"CLAIMBUS_RECEIVE_SECRETS": SECRET, "TERMINAL_WIDTH": "200"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


async def test_secrets_come_from_files_too(certificates: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text(f"# shown when the endpoint was made\n{new_secret()}\n\n")
    (tmp_path / "two").write_text(f"{SECRET}\n")
    secrets = ("--secret-file", "one", "--secret-file", "two")
    with receiving(
        certificates, tmp_path, "--dir", "out", *secrets, environment={"CLAIMBUS_RECEIVE_SECRETS": ""}
    ) as daemon:
        async with sender(certificates) as iso:
            assert await post(iso, daemon.url, an_event()) == 204


async def test_plain_http_is_for_trying_out_on_this_machine(certificates: Path, tmp_path: Path) -> None:
    with receiving(None, tmp_path, "--plain-http", "--dir", "out") as daemon:
        assert daemon.url.startswith("http://localhost:")
        async with sender(certificates) as client:
            assert await post(client, daemon.url, an_event()) == 204


async def test_who_asks_nothing_does_not_keep_one_of_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpProtocol, "head_within", 0.3)
    listener, stop = Listener("127.0.0.1", 0, certificate_file=None), asyncio.Event()
    serving = asyncio.create_task(listener.serve(nothing_here, stop))
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(listener.url).port)
    writer.write(b"POST / HTTP/1.1\r\n")
    with suppress(ConnectionError):
        async with asyncio.timeout(20):
            assert await reader.read() == b""
    writer.close()
    stop.set()
    await serving
