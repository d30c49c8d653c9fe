"""``claimbus access certificates``: client certificates, by their subject or one by one."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from claimbus.cli.access import grants
from claimbus.cli.access.files import read
from claimbus.cli.database import open_database
from claimbus.cli.options import Actor, AsJson, Reason, group
from claimbus.cli.output import details, listing
from claimbus.cli.settings import load
from claimbus.database import certificates, revocations
from claimbus.database.audit import Act
from claimbus.database.certificates import KnownSubject

IssuedBy = Annotated[
    list[str] | None,
    typer.Option(
        "--authority",
        metavar="ID",
        help="One that must have issued it; repeat it. Default: any that counts.",
    ),
]
Certificate = Annotated[
    str, typer.Argument(metavar="FINGERPRINT|FILE", help="SHA-256 of a certificate, or a file with it.")
]

app = group("Client certificates, known by their subject, so that a renewed one goes on.")


@app.command("add")
def add(
    subject: Annotated[
        str, typer.Argument(help="As in RFC 4514: 'CN=daemon,O=Pacific'; or a file with such a certificate.")
    ],
    *,
    role: grants.Roles,
    participant: grants.Participant = None,
    organisation: grants.Organisation = None,
    publishes: grants.Publishes = None,
    authority: IssuedBy = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let client certificates of this subject count, if an authority that counts issued them.

    Name the authority if you trust several: each can issue a certificate of any subject.
    """
    file = Path(subject)
    named = certificates.subject_in(read(file)) if "=" not in subject and file.exists() else subject
    with open_database(load()) as database, database.transaction() as sql:
        grant = grants.granted(role, participant, organisation, publishes)
        added = certificates.add(sql, named, grant, Act(actor, reason), issued_by=authority)
    details(_facts(added), as_json=as_json)


@app.command("issuers")
def set_issuers(
    id_: grants.Id, *, authority: IssuedBy = None, actor: Actor, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Say anew which authorities may issue certificates of a subject; while one rolls over, both."""
    with open_database(load()) as database, database.transaction() as sql:
        changed = certificates.set_issuers(sql, id_, authority, Act(actor, reason))
    details(_facts(changed), as_json=as_json)


@app.command("list")
def list_(
    *,
    revoked: Annotated[
        bool, typer.Option("--revoked", help="Single certificates that were revoked instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List subjects, those that count no more too."""
    with open_database(load()) as database, database.snapshot() as sql:
        if revoked:
            rows = [asdict(one) for one in revocations.find(sql)]
        else:
            rows = [_facts(one) for one in certificates.find(sql)]
    if revoked:
        columns: tuple[str, ...] = ("fingerprint", "subject", "reason", "revoked_at")
        listing(rows, columns, as_json=as_json, empty="no single certificate is revoked")
        return
    columns = ("id", "subject", "roles", "participant", "organisation", "publishes", "authorities")
    empty = "no client certificates are known"
    listing(rows, (*columns, "revoked_at"), as_json=as_json, empty=empty)


@app.command("revoke")
def revoke(
    which: Annotated[
        str,
        typer.Argument(metavar="ID|FINGERPRINT|FILE", help="A subject's ID; or a single certificate."),
    ],
    *,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let a single certificate count no more, or, by its ID, all of a subject.

    A single one is named by its SHA-256 or a file with it: its subject goes on with another certificate.
    """
    act = Act(actor, reason)
    with open_database(load()) as database, database.transaction() as sql:
        if which.startswith(certificates.ID):
            told = _facts(certificates.revoke(sql, which, act))
        else:
            fingerprint, subject = _named(which)
            told = asdict(revocations.revoke(sql, fingerprint, act, subject=subject))
    details(told, as_json=as_json)


@app.command("restore")
def restore(which: Certificate, *, actor: Actor, reason: Reason = "", as_json: AsJson = False) -> None:
    """Let a single certificate that was revoked count again."""
    with open_database(load()) as database, database.transaction() as sql:
        restored = revocations.restore(sql, _named(which)[0], Act(actor, reason))
    details(asdict(restored), as_json=as_json)


def _named(certificate: str) -> tuple[str, str]:
    """Return fingerprint and subject of a certificate that is named by the one or by its file."""
    file = Path(certificate)
    return revocations.read(read(file)) if file.exists() else (certificate, "")


def _facts(one: KnownSubject) -> dict[str, Any]:
    return {
        "id": one.id,
        "subject": one.subject,
        **grants.facts(one.grant),
        "authorities": one.authorities,
        "created_at": one.created_at,
        "revoked_at": one.revoked_at,
    }
