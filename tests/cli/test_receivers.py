"""The receivers of the demo, driven by the real webhook client and watched through their own record."""

import asyncio
import base64
import hashlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from claimbus.cli.demo.authority import Authority
from claimbus.cli.demo.receivers import Behaviour, Receiver, Receivers
from claimbus.events.event import Event
from consumers.signature import new_secret
from tests.consumers.webhooks import EVENT, post, webhook, webhook_to
from tests.waiting import eventually

BINARY = b"\xff\x00"
PROCESS = (sys.executable, "-m", "claimbus.cli.demo.receivers")


@pytest.fixture
async def receivers(tmp_path: Path) -> AsyncIterator[Receivers]:
    async with Receivers.open(tmp_path) as receivers:
        yield receivers


async def answers(receiver: Receiver, *events: Event) -> list[int | str | None]:
    """Post events; give the status or the failure of each."""
    async with webhook_to(receiver) as hook:
        given = [await post(hook, event) for event in events or (EVENT,)]
    return [answer.status or answer.failure for answer in given]


async def test_a_request_is_on_record_before_it_is_answered(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    assert await answers(receiver) == [204]
    written = json.loads(receivers.record.read_bytes())
    assert written["receiver"] == "PGAE"
    assert written["webhook_id"] == "evt_1"
    assert written["event"] == {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:iso:test:oms",
        "type": "oms.resource-outage.created",
        "time": "2024-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "partitionkey": "1001",
        "sequence": "3",
    }
    assert written["body"] == '{"mw": 12}'
    assert written["sha256"] == hashlib.sha256(b'{"mw": 12}').hexdigest()
    assert (written["attempt"], written["verified"], written["answered"]) == (1, True, "204")
    assert ["webhook-id", "evt_1"] in written["headers"]


async def test_an_event_in_claim_mode_is_recorded_alike(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    async with webhook_to(receiver) as hook:
        await post(hook)
        await hook.post_claim(EVENT, claim_id="abc", message_id="evt_1", attempt=1)
    inline, claimed = receiver.received
    assert claimed.event == {**inline.event, "dataref": "/v1/claims/abc"}


async def test_a_body_that_is_no_text_is_verified_and_recorded(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE")
    assert await answers(receiver, replace(EVENT, body=BINARY)) == [204]
    assert receiver.received[0].verified
    assert json.loads(receivers.record.read_bytes())["body_base64"] == base64.b64encode(BINARY).decode()


@pytest.mark.parametrize("body", [b"text", BINARY])
async def test_a_wrong_signature_is_refused(receivers: Receivers, body: bytes) -> None:
    receiver = await receivers.add("PGAE")
    async with webhook_to(receiver, secrets=[new_secret()]) as hook:
        assert (await post(hook, body=body)).status == 401
    assert not receiver.received[0].verified


async def test_one_that_is_down_refuses_connections_and_comes_back(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="down"))
    assert await answers(receiver) == ["connect"]
    await receiver.behave()
    assert await answers(receiver) == [204]
    await receiver.behave(Behaviour(kind="down"))
    assert await answers(receiver) == ["connect"]


async def test_going_down_cuts_the_connections(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="hang"))
    posting = asyncio.create_task(answers(receiver))
    await eventually(lambda: receiver.received)
    await receiver.behave(Behaviour(kind="down"))
    assert await posting == ["reset"]


async def test_times_count_from_the_first_request_to_any(receivers: Receivers) -> None:
    first_down = await receivers.add("A", Behaviour(kind="down", end=0.2))
    then_down = await receivers.add("B", Behaviour(kind="down", start=0.2))
    await asyncio.sleep(0.3)  # the time that must not count
    assert (first_down.listening, then_down.listening) == (False, True)
    assert await answers(then_down) == [204]
    await eventually(lambda: first_down.listening and not then_down.listening)
    assert await answers(first_down) == [204]
    assert first_down.received[0].monotonic - then_down.received[0].monotonic > 0.2


async def test_every_nth_request_fails(receivers: Receivers) -> None:
    receiver = await receivers.add("PGAE", Behaviour(kind="status", status=500, every=3))
    assert await answers(receiver, *[EVENT] * 6) == [204, 204, 500, 204, 204, 500]


async def test_only_certain_events_are_refused(receivers: Receivers) -> None:
    markets = Behaviour(kind="status", status=422, types=("market.*",))
    outage = Behaviour(kind="status", status=410, partitionkeys=frozenset({"7"}))
    receiver = await receivers.add("PGAE", markets, outage)
    market, other = replace(EVENT, type="market.dam.closed"), replace(EVENT, partitionkey="7")
    assert await answers(receiver, market, other, EVENT, replace(EVENT, partitionkey=None)) == [
        422,
        410,
        204,
        204,
    ]


async def test_slow_and_failing_combine(receivers: Receivers) -> None:
    receiver = await receivers.add(
        "PGAE", Behaviour(kind="slow", seconds=0.2), Behaviour(kind="status", status=503)
    )
    async with webhook_to(receiver) as hook:
        answer = await post(hook)
    assert answer.status == 503
    assert answer.duration_ms >= 200
    assert (receiver.received[0].answered, receiver.received[0].delay) == ("503", 0.2)


async def test_a_client_certificate_can_be_demanded(tmp_path: Path) -> None:
    ours, strange = Authority(tmp_path / "ours"), Authority(tmp_path / "strange")
    known, unknown = ours.client("iso").read_bytes(), strange.client("iso").read_bytes()
    async with Receivers.open(tmp_path, authority=ours, client_certificates=True) as receivers:
        receiver = await receivers.add("PGAE")
        answered = []
        for identity in (known, unknown, None):
            async with webhook_to(receiver, identity_pem=identity) as hook:
                answered.append((await post(hook)).status)
    assert answered == [204, None, None]
    assert len(receiver.received) == 1


async def test_receivers_run_as_a_process_and_obey(tmp_path: Path) -> None:
    secret = new_secret()
    wishes = [
        {"name": "A", "secrets": [secret]},
        {"name": "B", "behaviours": [{"kind": "status", "status": 410}]},
    ]
    specification = tmp_path / "spec.json"
    specification.write_text(json.dumps({"directory": str(tmp_path / "files"), "receivers": wishes}))
    process = await asyncio.create_subprocess_exec(
        *PROCESS, str(specification), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ready = json.loads(await process.stdout.readline())
    assert ready["receivers"]["A"]["secrets"] == [secret]

    answered = []
    for told in ready["receivers"].values():
        async with webhook(told["url"], secrets=told["secrets"], ca_pem=content(ready["ca"])) as hook:
            answered.append((await post(hook)).status)
    assert answered == [204, 410]

    port = int(ready["receivers"]["A"]["url"].split(":")[2].partition("/")[0])
    process.stdin.write(b'{"name": "A", "behaviours": [{"kind": "down"}]}\n')
    assert json.loads(await process.stdout.readline()) == {"changed": "A"}
    assert refuses(port)
    process.stdin.close()
    assert await process.wait() == 0
    lines = content(ready["record"]).splitlines()
    assert [json.loads(line)["receiver"] for line in lines] == ["A", "B"]


async def test_a_wrong_specification_says_what_is_wrong(tmp_path: Path) -> None:
    specification = tmp_path / "spec.json"
    specification.write_text(
        '{"directory": ".", "receivers": [{"name": "A", "behaviours": [{"kind": "rude"}]}]}'
    )
    process = await asyncio.create_subprocess_exec(
        *PROCESS, str(specification), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"receivers.0.behaviours.0.kind" in errors


def content(path: str) -> bytes:
    return Path(path).read_bytes()


def refuses(port: int) -> bool:
    with socket.socket() as connecting:
        return connecting.connect_ex(("127.0.0.1", port)) != 0
