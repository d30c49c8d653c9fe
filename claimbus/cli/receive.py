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
from claimbus.subscribers.address import Identity
from claimbus.subscribers.claims import Claims
from claimbus.subscribers.listener import Listener, nothing_here
from claimbus.subscribers.middleware import WebhookMiddleware
from claimbus.subscribers.received import MAX_BODY
from claimbus.subscribers.room import Peers
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
    max_body: to.MaxBody = MAX_BODY,
    portal: Annotated[
        str | None,
        typer.Option(
            metavar="https://HOST:PORT", help="Fetch bodies there that do not come with their events."
        ),
    ] = None,
    portal_cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Our certificate for the portal, with its chain (PEM)."),
    ] = None,
    portal_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key, if not in the same file.")
    ] = None,
    portal_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The portal's authorities. Default: the system's.")
    ] = None,
    token_file: to.Token = None,
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
    identity = Identity(
        certificate_file=portal_cert, key_file=portal_key, ca_file=portal_ca, token=to.token(token_file)
    )
    claims = _claims(portal, identity, max_body)
    host, _, port = listen.rpartition(":")
    if not port.isdecimal():
        raise typer.BadParameter("--listen must be HOST:PORT")
    peers = Peers()
    listener = Listener(
        host.strip("[]"),
        int(port),
        certificate_file=None if plain_http else cert,
        key_file=key,
        client_ca_file=client_ca,
        peers=peers,
    )

    async def run() -> bool:
        async with choice.inbox(claims) as inbox:
            webhooks = WebhookMiddleware(
                nothing_here,
                path=path,
                secrets=secrets,
                handler=inbox.handle,
                tolerance=tolerance,
                max_body=max_body,
                origins=origin,
                peers=peers,
            )
            _log.info("receiver ready", url=listener.url, pid=os.getpid())
            await listener.serve(webhooks, inbox.stopped)
        _log.info("receiver stopped", pid=os.getpid())
        return inbox.failed

    with closing(listener):
        failed = asyncio.run(run())
    raise typer.Exit(1 if failed else 0)


def _claims(portal: str | None, identity: Identity, max_body: int) -> Claims | None:
    """Return where bodies are fetched, if they are to be. Raises typer.BadParameter, ConfigurationError."""
    shown = identity.certificate_file is not None or identity.token is not None
    if portal is None:
        if shown or identity.ca_file is not None or identity.key_file is not None:
            raise typer.BadParameter(
                "--portal-cert, --portal-key, --portal-ca and --token-file are for --portal"
            )
        return None
    if not shown:
        raise typer.BadParameter(
            "the portal gives bodies to whom it knows: give --portal-cert or --token-file"
        )
    identity.context()  # so that an unusable file is told now
    return Claims(portal, identity, max_body=max_body)


def _secrets(files: Sequence[Path]) -> list[str]:
    """Return the secrets of the files or, without any, of the environment. Raises ConfigurationError."""
    if not files:
        return os.environ.get(SECRETS, "").replace(",", " ").split()
    lines = [line.strip() for file in files for line in to.read("--secret-file", file).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
