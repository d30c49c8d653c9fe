"""``claimbus receive``: the participant's webhook receiver."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer

from claimbus.cli import sink_options as to
from claimbus.cli.logs import configure_logs
from claimbus.cli.options import duration
from claimbus.subscribers.listener import Listener, nothing_here
from claimbus.subscribers.middleware import MAX_BODY, WebhookMiddleware
from claimbus.subscribers.signature import TOLERANCE

SECRETS: Final = "CLAIMBUS_RECEIVE_SECRETS"

_log: Final = structlog.get_logger("claimbus.cli.receive")


def receive(
    *,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = "0.0.0.0:8443",
    cert: to.Cert = None,
    key: to.Key = None,
    client_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Demand a client certificate of these authorities.")
    ] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="No TLS: for trying out, on a loopback address only.")
    ] = False,
    secret_file: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help=f"The endpoint's secrets, one a line; repeat it. Or {SECRETS}."),
    ] = None,
    path: Annotated[str | None, typer.Option(help="Where in the URL. Default: anywhere.")] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Grant the handshake to this sender only; repeat it. Default: any."
        ),
    ] = None,
    tolerance: Annotated[
        timedelta,
        typer.Option(parser=duration, metavar="TIME", help="How far the ISO's clock may be from ours."),
    ] = TOLERANCE,
    max_body: Annotated[int, typer.Option(metavar="BYTES", min=1, help="Refuse larger bodies.")] = MAX_BODY,
    exec_: to.Exec = None,
    shell: to.Shell = False,
    directory: to.Dir = None,
    forward: to.Forward = None,
    forward_ca: to.ForwardCa = None,
    stdout: to.Stdout = False,
    within: to.Within = to.WITHIN,
    latest: to.Latest = False,
    state: to.State = None,
    log_level: to.LogLevel = "info",
    log_format: to.LogFormat = "auto",
) -> None:
    """Receive webhooks, as a participant, and give each event to one place, once.

    They come over HTTPS and are verified. An event is acked when that place has taken it; otherwise the ISO
    sends it again. SIGTERM or Ctrl-C finish the event in work.
    """
    configure_logs(log_level, log_format)
    choice = to.SinkChoice(
        command=exec_,
        shell=shell,
        directory=directory,
        forward=forward,
        forward_ca=forward_ca,
        stdout=stdout,
        within=within,
        latest=latest,
        state=state,
    )
    if cert is None and not plain_http:
        raise typer.BadParameter("give --cert; or --plain-http, for trying out")
    secrets = _secrets(secret_file or [])
    if not secrets:
        raise typer.BadParameter(f"give --secret-file, or {SECRETS} in the environment")
    host, _, port = listen.rpartition(":")
    if not port.isdecimal():
        raise typer.BadParameter("--listen must be HOST:PORT")
    listener = Listener(
        host.strip("[]"),
        int(port),
        certificate_file=None if plain_http else cert,
        key_file=key,
        client_ca_file=client_ca,
    )

    async def run() -> bool:
        async with choice.inbox() as inbox:
            webhooks = WebhookMiddleware(
                nothing_here,
                path=path,
                secrets=secrets,
                handler=inbox.handle,
                tolerance=tolerance,
                max_body=max_body,
                origins=origin,
            )
            _log.info("receiver ready", url=listener.url, pid=os.getpid())
            await listener.serve(webhooks, inbox.stopped)
        _log.info("receiver stopped", pid=os.getpid())
        return inbox.failed

    with closing(listener):
        failed = asyncio.run(run())
    raise typer.Exit(1 if failed else 0)


def _secrets(files: Sequence[Path]) -> list[str]:
    """Return the secrets of the files or, without any, of the environment. Raises ConfigurationError."""
    if not files:
        return os.environ.get(SECRETS, "").replace(",", " ").split()
    lines = [line.strip() for file in files for line in to.read("--secret-file", file).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
