"""Whom to try the bus with, for ``./dev up``: a participant, its endpoints, its certificate, people."""

import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from claimbus.cli.database import open_database
from claimbus.cli.demo.authority import Authority
from claimbus.cli.provisioning import provision
from claimbus.cli.services.server import free_ports
from claimbus.cli.settings import load
from claimbus.cli.trial import verified
from claimbus.database import authorities, certificates, endpoints, participants, tokens
from claimbus.database.access import Grant, Role
from claimbus.database.audit import Act
from claimbus.events.errors import ClaimbusError

ACT: Final = Act("./dev up", "to try it out")
PARTICIPANT: Final = "PGAE"
ORGANISATION: Final = "Pacific Example"
CONTACT: Final = "ana@pacific.example"
SCRIPT: Final = "docs/examples/on_event.py"
HOST: Final = "127.0.0.1"

LIFE: Final = timedelta(days=366)
"""Of the certificates: nobody is to be warned of their end."""


@dataclass(frozen=True, slots=True)
class Tryout:
    """The commands that receive as the participant does, and the endpoint that one of them is to verify.

    ``uaa`` and ``operator`` are the tokens with which these two log in to the pages.
    """

    subscribe: str
    receive: str
    webhook: str
    uaa: str = field(repr=False)
    operator: str = field(repr=False)

    def try_to_verify(self) -> bool:
        """Ask the webhook's receiver whether it wants events; tell whether nobody needs to ask again."""
        with suppress(ClaimbusError):
            with open_database(load()) as database, database.snapshot() as sql:
                endpoint = endpoints.get(sql, self.webhook)
            if endpoint.state == "pending" and endpoint.removed_at is None:
                endpoint, _ = verified(endpoint, ACT)
            return endpoint.state != "pending" or endpoint.removed_at is not None
        return False


def authority(directory: Path) -> Authority:
    """Return a new private authority, for everybody's certificates in this run."""
    return Authority(directory, name="claimbus ./dev up", life=LIFE)


def open_tryout(issuer: Authority, portal: str, shown: Callable[[Path], str]) -> Tryout:
    """Put the participant and its endpoints into the database that the settings name.

    ``portal`` is HOST:PORT; ``shown`` writes a path as it is to be typed. Raises ClaimbusError.
    """
    listen = f"{HOST}:{free_ports(1)[0]}"
    client, server = issuer.client("pgae"), issuer.server("receiver", HOST, "localhost")
    with open_database(load()) as database, database.transaction() as sql:
        participants.add(sql, PARTICIPANT, ORGANISATION, ACT)
        participants.add_contact(sql, ORGANISATION, CONTACT, ACT)
        authorities.put(sql, issuer.ca_pem, ACT)
        grant = Grant(frozenset({Role.PARTICIPANT}), PARTICIPANT)
        certificates.add(sql, certificates.subject_in(client.read_bytes()), grant, ACT)
        of_uaa, of_operator = (
            Grant(frozenset({Role.UAA}), None, ORGANISATION),
            Grant(frozenset({Role.OPERATOR})),
        )
        _, uaa = tokens.add(sql, "Ana, a UAA", of_uaa, ACT, expires_at=ACT.at + LIFE)
        _, operator = tokens.add(sql, "Olivia, an operator", of_operator, ACT, expires_at=ACT.at + LIFE)
        stream = endpoints.add(
            sql, PARTICIPANT, ACT, kind="stream", name="stream", subscriptions=("market.#", "oms.#")
        )
        webhook = endpoints.add(
            sql,
            PARTICIPANT,
            ACT,
            name="webhook",
            url=f"https://{listen}/",
            ca_pem=issuer.ca_pem.decode(),
            subscriptions=("market.#", "oms.#"),
        )
    secret = client.with_name("secret")
    secret.touch(mode=0o600)
    secret.write_text(f"{webhook.secrets[0].value}\n")
    provision([stream.id, webhook.id])

    def command(name: str, **options: str | Path) -> str:
        state = client.with_name(f"{name}.db")
        typed = options | {"state": state, "exec": f"python {SCRIPT}"}
        words = [
            word
            for option, value in typed.items()
            for word in (f"--{option.replace('_', '-')}", shown(value) if isinstance(value, Path) else value)
        ]
        return shlex.join(["./dev", "claimbus", name, *words])

    return Tryout(
        command("subscribe", url=f"wss://{portal}", endpoint=stream.id, cert=client, ca=issuer.ca),
        command("receive", listen=listen, cert=server, secret_file=secret),
        webhook.id,
        uaa,
        operator,
    )
