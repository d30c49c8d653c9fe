"""Receivers as a process of their own: ``python -m claimbus.cli.demo.receivers SPEC.json``.

When all of them listen it prints one line of JSON: ``ca``, ``record``, and for each of the ``receivers`` its
``url`` and ``secrets``. Each line on its standard input, like one of the specification's ``receivers``,
changes that receiver, and is answered by ``{"changed": NAME}``. It ends with its standard input, so that it
never outlives who started it.
"""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from claimbus.cli.demo.receivers import Behaviour, Receivers


class Wish(BaseModel):
    """A receiver as it shall be. On standard input, what is absent stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    behaviours: tuple[Behaviour, ...] | None = None
    secrets: tuple[str, ...] | None = None
    port: int = 0


class Specification(BaseModel):
    """What the file says. ``directory`` is where the certificates and the record go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path
    receivers: tuple[Wish, ...]


async def run(specification: Specification) -> None:
    """Run the receivers until standard input ends."""
    async with Receivers.open(specification.directory, remember=False) as receivers:
        for wish in specification.receivers:
            await receivers.add(wish.name, *wish.behaviours or (), secrets=wish.secrets or (), port=wish.port)
        ready = {
            "ca": str(receivers.authority.ca),
            "record": str(receivers.record),
            "receivers": {
                name: {"url": receiver.url, "secrets": receiver.secrets}
                for name, receiver in receivers.by_name.items()
            },
        }
        print(json.dumps(ready), flush=True)
        async for line in await _lines():
            wish = Wish.model_validate_json(line)
            await _change(receivers, wish)
            print(json.dumps({"changed": wish.name}), flush=True)


async def _change(receivers: Receivers, wish: Wish) -> None:
    receiver = receivers.by_name[wish.name]
    if wish.secrets is not None:
        receiver.secrets = wish.secrets
    if wish.behaviours is not None:
        await receiver.behave(*wish.behaviours)


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def main() -> None:
    """Read the specification and run."""
    try:
        specification = Specification.model_validate_json(Path(sys.argv[1]).read_bytes())
    except (IndexError, OSError, ValidationError) as wrong:
        sys.exit(f"receivers: {wrong}")
    with suppress(KeyboardInterrupt):
        asyncio.run(run(specification))


if __name__ == "__main__":
    main()
