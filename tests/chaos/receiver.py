"""The receivers of all webhooks, a process: ``python -m tests.chaos.receiver DIRECTORY NAME...``.

They are those of the demo, which write down every request before they answer it, and misbehave as told; here
one may also show a certificate that has expired. When all listen, a line of JSON tells ``ca_pem`` and
the ``urls``. A line of JSON on standard input changes a receiver (``name``, ``behaviours``, ``secrets``,
``expired``) and is answered by a line. They end with their standard input.
"""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from claimbus.cli.demo import authority
from claimbus.cli.demo.receivers import Behaviour, Receivers
from claimbus.events.tls import server_context

HOST = "127.0.0.1"
DOWN = Behaviour(kind="down")
TAKES, FORGETS = "204", "200"
"""How a receiver that works answers, and one that forgets what it took (`Behaviour` of status 200)."""


async def main(directory: Path, *names: str) -> None:
    async with Receivers.open(directory, host=HOST, remember=False) as receivers:
        valid = receivers._tls
        with patch.object(authority, "LIFE", timedelta(minutes=-1)):
            expired = server_context(receivers.authority.server("expired", HOST))
        for name in names:
            await receivers.add(name)
        urls = {name: receiver.url for name, receiver in receivers.by_name.items()}
        told = {"ca_pem": receivers.authority.ca_pem.decode(), "urls": urls}
        print(json.dumps(told), flush=True)
        async for line in await _standard_input():
            wish = json.loads(line)
            receiver = receivers.by_name[wish["name"]]
            if "secrets" in wish:
                receiver.secrets = tuple(wish["secrets"])
            if "expired" in wish:
                receiver._tls = expired if wish["expired"] else valid
                await receiver.behave(DOWN)  # connections that are open would not notice
                await receiver.behave()
            if "behaviours" in wish:
                await receiver.behave(*map(Behaviour.model_validate, wish["behaviours"]))
            print("{}", flush=True)


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
