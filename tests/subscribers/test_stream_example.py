"""The program in ``docs/participants.md``, run as a user would run it."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.subscribers.portals import Portal, an_event
from tests.waiting import eventually

DOCUMENT = Path(__file__).parents[2] / "docs" / "participants.md"


def program() -> str:
    """The program of the part on streams."""
    _, _, part = DOCUMENT.read_text(encoding="utf-8").partition("## Over a stream")
    found = re.search(r"```python\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_program_in_the_documents_prints_each_event_and_acks_it(
    certificates: Path, tmp_path: Path
) -> None:
    (tmp_path / "pgae.pem").symlink_to(certificates / "client.pem")
    (tmp_path / "iso-ca.pem").symlink_to(certificates / "ca.pem")
    portal = Portal(certificates)
    portal.put(an_event(1), an_event(2))
    async with portal.listening():
        source = program().replace("wss://bus.iso.example:8443", portal.url)
        user = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            source,
            cwd=tmp_path,
            stdout=PIPE,
            stderr=PIPE,
            env={"PYTHONUNBUFFERED": "1"},
        )
        try:
            await eventually(lambda: len(portal.acked) == 2)
        finally:
            user.terminate()
            printed, _ = await user.communicate()
    lines = printed.decode().splitlines()
    assert [line.split(" ", 2)[1:] for line in lines] == [
        ["oms.resource-outage.status-changed", "b'{\"number\": 1}'"],
        ["oms.resource-outage.status-changed", "b'{\"number\": 2}'"],
    ]
