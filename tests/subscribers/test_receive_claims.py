"""``claimbus receive`` for an endpoint in mode ``claim``: bodies are fetched from the portal, or not."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claimbus.events.event import Event
from tests.consumers.webhooks import webhook
from tests.subscribers.daemon import Daemon, receiving
from tests.subscribers.inner import Inner
from tests.subscribers.portals import Bodies
from tests.subscribers.sender import SECRET, an_event
from tests.waiting import eventually


@pytest.fixture
async def bodies(certificates: Path) -> AsyncIterator[Bodies]:
    bodies = Bodies(certificates, an_event().body)
    async with bodies.listening():
        yield bodies


def portal(bodies: Bodies) -> list[str]:
    """The options with which its bodies are fetched."""
    url = f"https://localhost:{bodies.port}"
    files = {"--portal-cert": "client.pem", "--portal-ca": "ca.pem"}
    return [
        "--portal",
        url,
        *(str(one) for key, name in files.items() for one in (key, bodies.certificates / name)),
    ]


async def post(daemon: Daemon, certificates: Path, *events: Event) -> list[int | None]:
    """Post events as the ISO's worker does in this mode; the answers' statuses."""
    async with webhook(daemon.url, secrets=[SECRET], ca_pem=(certificates / "ca.pem").read_bytes()) as hook:
        return [
            (await hook.post_claim(one, claim_id="c1", message_id=one.identity, attempt=1)).status
            for one in events
        ]


async def test_the_body_is_fetched_once_and_taken(certificates: Path, bodies: Bodies, tmp_path: Path) -> None:
    event = an_event()
    with receiving(certificates, tmp_path, "--dir", "out", *portal(bodies)) as daemon:
        assert await post(daemon, certificates, event, event) == [204, 204]
    assert (tmp_path / "out" / f"{event.identity}.json").read_bytes() == event.body
    sidecar = json.loads((tmp_path / "out" / f"{event.identity}.event").read_bytes())
    assert (sidecar["body"], sidecar["dataref"]) == (f"{event.identity}.json", None)
    assert len(bodies.heads) == 1


async def test_a_token_is_shown_too(certificates: Path, bodies: Bodies, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("clb_secret\n")
    with receiving(certificates, tmp_path, "--stdout", *portal(bodies), "--token-file", "token") as daemon:
        assert await post(daemon, certificates, an_event()) == [204]
    assert "authorization: bearer clb_secret" in bodies.heads[0]


async def test_a_body_that_is_not_to_be_had_is_answered_500(
    certificates: Path, bodies: Bodies, tmp_path: Path
) -> None:
    bodies.status = 410
    with receiving(certificates, tmp_path, "--dir", "out", *portal(bodies)) as daemon:
        assert await post(daemon, certificates, an_event()) == [500]
        bodies.status = 200
        assert await post(daemon, certificates, an_event()) == [204]
    assert "HTTP 410" in daemon.told("event not taken")[0]["reason"]
    assert not daemon.told("Exception in ASGI application\n")


async def test_without_a_portal_the_dataref_is_handed_on_and_that_is_told_once(
    certificates: Path, tmp_path: Path
) -> None:
    with receiving(certificates, tmp_path, "--dir", "out") as daemon:
        assert await post(daemon, certificates, an_event(1), an_event(2)) == [204, 204]
        await eventually(lambda: len(daemon.told("event taken")) == 2)
    sidecar = json.loads((tmp_path / "out" / f"{an_event(1).identity}.event").read_bytes())
    assert (sidecar["body"], sidecar["dataref"]) == (None, "/v1/claims/c1")
    (told,) = daemon.told("body not fetched")
    assert "--portal" in told["next"]


async def test_a_body_that_was_fetched_is_forwarded_whole_and_unsigned(
    certificates: Path,
    bodies: Bodies,
    inner: Inner,
    tmp_path: Path,
) -> None:
    event = an_event(datacontenttype="application/octet-stream", subject="Zoë")
    bodies.body = bytes(range(256)) * 8000
    forward = ("--forward", inner.url, "--forward-ca", certificates / "ca.pem")
    with receiving(certificates, tmp_path, *forward, *portal(bodies)) as daemon:
        assert await post(daemon, certificates, event) == [204]
    ((headers, body),) = inner.requests
    assert body == bodies.body
    assert (headers["ce-id"], headers["content-type"]) == ("event-1", "application/octet-stream")
    assert headers["webhook-id"] == event.identity
    assert "webhook-signature" not in headers
    assert "transfer-encoding" not in headers
