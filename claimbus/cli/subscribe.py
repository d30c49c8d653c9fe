"""``claimbus subscribe``: the participant's daemon on a stream."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer

from claimbus.cli import sink_options as to
from claimbus.cli.commands import WrongUsageError
from claimbus.cli.logs import configure_logs
from claimbus.events.errors import ConfigurationError
from claimbus.events.stream import DEFAULT_PREFETCH, MAX_PREFETCH
from claimbus.subscribers.client import Subscription
from claimbus.subscribers.client import subscribe as subscription_of
from claimbus.subscribers.received import MAX_BODY
from claimbus.subscribers.subscribing import take_all

WITHIN: Final = timedelta(minutes=1)
"""Of ``--within``: nobody waits at the other end of a stream."""

_log: Final = structlog.get_logger("claimbus.cli.subscribe")


def subscribe(
    *,
    url: Annotated[str, typer.Option(metavar="wss://HOST:PORT", help="The ISO's portal.")],
    endpoint: Annotated[str, typer.Option(metavar="ID", help="Our endpoint, of the kind stream.")],
    cert: to.Cert = None,
    key: to.Key = None,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The ISO's authorities (PEM). Default: the system's.")
    ] = None,
    token_file: to.Token = None,
    prefetch: Annotated[
        int, typer.Option(min=1, max=MAX_PREFETCH, help="Events that may be on their way at once.")
    ] = DEFAULT_PREFETCH,
    max_body: to.MaxBody = MAX_BODY,
    exec_: to.Exec = None,
    shell: to.Shell = False,
    directory: to.Dir = None,
    forward: to.Forward = None,
    forward_ca: to.ForwardCa = None,
    stdout: to.Stdout = False,
    within: to.Within = WITHIN,
    latest: to.Latest = False,
    state: to.State = None,
    log_level: to.LogLevel = "info",
    log_format: to.LogFormat = "auto",
) -> None:
    """Receive events over a stream, as a participant, and give each to one place, once.

    We open the stream, so nothing has to reach us from outside; one that breaks is opened again. An event is
    acked when that place has taken it; otherwise the ISO sends it again. SIGTERM or Ctrl-C finish the one in
    work.
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
    token = to.token(token_file)
    try:
        subscription = subscription_of(
            url,
            endpoint,
            certificate_file=cert,
            key_file=key,
            ca_file=ca,
            token=token,
            prefetch=prefetch,
            max_body=max_body,
        )
    except ConfigurationError as wrong:
        raise WrongUsageError(wrong.field, wrong.reason) from wrong
    failed = asyncio.run(_take(subscription, choice))
    raise typer.Exit(1 if failed else 0)


async def _take(subscription: Subscription, choice: to.SinkChoice) -> bool:
    """Receive until stopped; tell whether it was the sink's fault."""
    async with choice.inbox(subscription.claims) as inbox:
        _log.info("subscriber ready", pid=os.getpid())
        await take_all(subscription, inbox)
    _log.info("subscriber stopped", pid=os.getpid())
    return inbox.failed
