"""A webhook in claim mode, from the event to the body that its participant fetches, and after its time."""

from ipaddress import ip_network
from pathlib import Path

import orjson

from claimbus.cli.ports import PortRange
from claimbus.cli.settings import Settings
from tests.consumers.house import open_house
from tests.portal.portals import open_portal
from tests.waiting import eventually


async def test_a_dataref_opens_the_body_to_its_participant_until_it_has_expired(
    settings: Settings, tmp_path: Path
) -> None:
    receivers = {"webhook_networks": (ip_network("127.0.0.0/8"),), "webhook_ports": (PortRange(1, 65535),)}
    chosen = settings.model_copy(update=receivers)
    async with open_house(chosen, tmp_path) as house, open_portal(chosen, tmp_path) as portal:
        house.participant("PGAE")
        house.participant("SCE1")
        _, receiver = await house.endpoint("PGAE", mode="claim")
        await house.worker()
        await house.publish("PGAE", "SCE1")
        await eventually(lambda: receiver.received)
        (request,) = receiver.received
        dataref = orjson.loads(request.body or b"")["dataref"]
        pgae, sce1 = portal.token_of("PGAE"), portal.token_of("SCE1")
        got = await portal.get(dataref, token=pgae)
        assert (got.status, got.json) == (200, orjson.loads(house.event().body))
        await house.delete_claims()
        assert (await portal.get(dataref, token=pgae)).status == 410
        assert (await portal.get(dataref, token=sce1)).status == 403  # it was handed to PGAE alone
