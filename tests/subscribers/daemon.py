"""``claimbus receive`` as a process of its own, and the ISO that posts to it over TLS."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyreqwest.client import Client, ClientBuilder

from claimbus.events.event import Event
from tests.subscribers.sender import SECRET, signed


@dataclass
class Daemon:
    """A running receiver. ``url`` is where it listens, ``logs`` what it wrote so far."""

    process: "subprocess.Popen[bytes]"
    url: str = ""
    logs: list[dict[str, Any]] = field(default_factory=list)

    def told(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one kind."""
        return [log for log in self.logs if log["event"] == event]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal, wait, return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@contextmanager
def receiving(
    certificates: Path | None,
    directory: Path,
    *options: object,
    environment: Mapping[str, str] | None = None,
    stdout: Any = None,  # noqa: ANN401 - as subprocess has it
) -> Iterator[Daemon]:
    """Start a receiver in a directory, with `SECRET`; it is ready."""
    listen = ["--listen", "127.0.0.1:0", "--log-format", "json"]
    if certificates is not None:
        listen += ["--cert", str(certificates / "server.pem")]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "claimbus", "receive", *listen, *map(str, options)],
        cwd=directory,
        env=os.environ | {"CLAIMBUS_RECEIVE_SECRETS": SECRET} | dict(environment or {}),
        stdout=stdout,
        stderr=subprocess.PIPE,
    ) as process:
        daemon = Daemon(process)
        reader = threading.Thread(target=_read, args=[daemon])
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            try:
                daemon.logs.append(json.loads(first))
            except ValueError:
                process.kill()
                raise AssertionError(first + process.stderr.read()) from None
            daemon.url = daemon.logs[0]["url"].replace("127.0.0.1", "localhost")
            reader.start()
            yield daemon
        finally:
            process.kill()
            process.wait()
            if reader.ident:
                reader.join()


def _read(daemon: Daemon) -> None:
    assert daemon.process.stderr is not None
    for line in daemon.process.stderr:
        try:
            daemon.logs.append(json.loads(line))
        except ValueError:
            daemon.logs.append({"event": line.decode()})


@asynccontextmanager
async def sender(certificates: Path, *, identity: str | None = None) -> AsyncIterator[Client]:
    """The ISO's HTTP client, which trusts the receiver's authority."""
    builder = (
        ClientBuilder()
        .add_root_certificate_pem((certificates / "ca.pem").read_bytes())
        .timeout(timedelta(seconds=30))
        .no_proxy()
    )
    if identity is not None:
        builder = builder.identity_pem((certificates / identity).read_bytes())
    async with builder.build() as client:
        yield client


async def post(client: Client, url: str, event: Event, **options: Any) -> int:  # noqa: ANN401 - those of `signed`
    """Post an event once; returns the status."""
    headers, body = signed(event, **options)
    response = await client.post(url).headers(headers).body_bytes(body).build().send()
    return response.status
