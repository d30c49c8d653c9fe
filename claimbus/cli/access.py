"""``claimbus access``: who may use the portal: tokens, client certificates, and whose certificates count."""

from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from claimbus.cli.database import open_database
from claimbus.cli.options import Actor, AsJson, Reason, duration, group, moment
from claimbus.cli.output import details, listing, say
from claimbus.cli.settings import load
from claimbus.database import authorities, certificates, revocations, tokens
from claimbus.database.access import Grant, Role
from claimbus.database.audit import Act
from claimbus.database.authorities import Authority
from claimbus.database.certificates import KnownSubject
from claimbus.database.engine import Database
from claimbus.database.tokens import Token
from claimbus.events.errors import InvalidInputError

app = group("Who may use the portal: tokens, client certificates, authorities.")
of_tokens = group("Bearer tokens, for whoever has no client certificate.")
of_certificates = group("Client certificates, known by their subject, so that a renewed one goes on.")
of_authorities = group("Authorities whose client certificates count, several at once, each for a period.")
app.add_typer(of_tokens, name="tokens")
app.add_typer(of_certificates, name="certificates")
app.add_typer(of_authorities, name="authorities")

Roles = Annotated[list[Role], typer.Option("--role", help="What it opens; repeat it.", show_default=False)]
Participant = Annotated[str | None, typer.Option(metavar="ID", help="For this participant only.")]
Organisation = Annotated[str | None, typer.Option(help="For all participants of this organisation.")]
Publishes = Annotated[
    list[str] | None,
    typer.Option(metavar="DOMAIN", help="For a publisher: oms, market or system; repeat it."),
]
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
Id = Annotated[str, typer.Argument(metavar="ID", help="As 'list' shows it.")]


@of_tokens.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="Who or what will use it, for the audit.")],
    *,
    role: Roles,
    participant: Participant = None,
    organisation: Organisation = None,
    publishes: Publishes = None,
    lives: Annotated[
        timedelta,
        typer.Option(
            parser=duration, metavar="DURATION", help="How long it counts: 90d.", show_default="90d"
        ),
    ] = timedelta(days=90),
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Add a token and show it, this once: it is kept nowhere."""
    act = Act(actor, reason)
    with _database() as database, database.transaction() as sql:
        grant = Grant(frozenset(role), participant, organisation, frozenset(publishes or ()))
        added, token = tokens.add(sql, name, grant, act, expires_at=act.at + lives)
    details({**_token(added), "token": token}, as_json=as_json)
    if not as_json:
        say("Keep the token now: it cannot be shown again.")


@of_tokens.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """List tokens, those that count no more too."""
    with _database() as database, database.snapshot() as sql:
        rows = [_token(one) for one in tokens.find(sql)]
    columns = ("id", "name", "roles", "participant", "organisation", "publishes", "expires_at", "revoked_at")
    listing(rows, (*columns, "used_at"), as_json=as_json, empty="there are no tokens")


@of_tokens.command("revoke")
def revoke_token(id_: Id, *, actor: Actor, reason: Reason = "", as_json: AsJson = False) -> None:
    """Let a token count no more."""
    with _database() as database, database.transaction() as sql:
        revoked = tokens.revoke(sql, id_, Act(actor, reason))
    details(_token(revoked), as_json=as_json)


@of_certificates.command("add")
def add_certificate(
    subject: Annotated[
        str, typer.Argument(help="As in RFC 4514: 'CN=daemon,O=Pacific'; or a file with such a certificate.")
    ],
    *,
    role: Roles,
    participant: Participant = None,
    organisation: Organisation = None,
    publishes: Publishes = None,
    authority: IssuedBy = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let client certificates of this subject count, if an authority that counts issued them.

    Name the authority if you trust several: each can issue a certificate of any subject.
    """
    file = Path(subject)
    named = certificates.subject_in(_read(file)) if "=" not in subject and file.exists() else subject
    with _database() as database, database.transaction() as sql:
        grant = Grant(frozenset(role), participant, organisation, frozenset(publishes or ()))
        added = certificates.add(sql, named, grant, Act(actor, reason), issued_by=authority)
    details(_certificate(added), as_json=as_json)


@of_certificates.command("issuers")
def set_issuers(
    id_: Id, *, authority: IssuedBy = None, actor: Actor, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Say anew which authorities may issue certificates of a subject; while one rolls over, both."""
    with _database() as database, database.transaction() as sql:
        changed = certificates.set_issuers(sql, id_, authority, Act(actor, reason))
    details(_certificate(changed), as_json=as_json)


@of_certificates.command("list")
def list_certificates(
    *,
    revoked: Annotated[
        bool, typer.Option("--revoked", help="Single certificates that were revoked instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List subjects, those that count no more too."""
    with _database() as database, database.snapshot() as sql:
        if revoked:
            rows = [asdict(one) for one in revocations.find(sql)]
        else:
            rows = [_certificate(one) for one in certificates.find(sql)]
    if revoked:
        columns: tuple[str, ...] = ("fingerprint", "subject", "reason", "revoked_at")
        listing(rows, columns, as_json=as_json, empty="no single certificate is revoked")
        return
    columns = ("id", "subject", "roles", "participant", "organisation", "publishes", "authorities")
    empty = "no client certificates are known"
    listing(rows, (*columns, "revoked_at"), as_json=as_json, empty=empty)


@of_certificates.command("revoke")
def revoke_certificate(
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
    with _database() as database, database.transaction() as sql:
        if which.startswith(certificates.ID):
            told = _certificate(certificates.revoke(sql, which, act))
        else:
            fingerprint, subject = _named(which)
            told = asdict(revocations.revoke(sql, fingerprint, act, subject=subject))
    details(told, as_json=as_json)


@of_certificates.command("restore")
def restore_certificate(
    which: Certificate, *, actor: Actor, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Let a single certificate that was revoked count again."""
    with _database() as database, database.transaction() as sql:
        restored = revocations.restore(sql, _named(which)[0], Act(actor, reason))
    details(asdict(restored), as_json=as_json)


From = Annotated[
    datetime | None,
    typer.Option("--from", parser=moment, metavar="TIME", help="Counts from then on. Default: now."),
]
To = Annotated[
    datetime | None,
    typer.Option("--to", parser=moment, metavar="TIME", help="Counts until then. Default: no end."),
]


@of_authorities.command("add")
def add_authority(
    file: Annotated[Path, typer.Argument(help="Its certificate (PEM).")],
    *,
    from_: From = None,
    to: To = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let an authority's client certificates count; one that is known gets this period in place of its own.

    It can issue a certificate of any subject, but for those that 'certificates add' binds to another.
    """
    pem = _read(file)
    with _database() as database, database.transaction() as sql:
        added = authorities.put(sql, pem, Act(actor, reason), counts_from=from_, counts_to=to)
    details(_authority(added), as_json=as_json)


@of_authorities.command("list")
def list_authorities(as_json: AsJson = False) -> None:
    """List authorities, past and future ones too."""
    with _database() as database, database.snapshot() as sql:
        rows = [_authority(one) for one in authorities.find(sql)]
    columns = ("id", "subject", "counts_from", "counts_to", "expires_at")
    listing(
        rows, columns, as_json=as_json, empty="no authorities are known: client certificates do not count"
    )


@of_authorities.command("revoke")
def end_authority(
    id_: Id,
    *,
    at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="From then on. Default: now.")
    ] = None,
    actor: Actor,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let an authority's client certificates count no more."""
    with _database() as database, database.transaction() as sql:
        ended = authorities.end(sql, id_, Act(actor, reason), at=at)
    details(_authority(ended), as_json=as_json)


def _database() -> Database:
    return open_database(load())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as unreadable:
        raise InvalidInputError("file", f"{file}: {unreadable.strerror}") from unreadable


def _named(certificate: str) -> tuple[str, str]:
    """Return fingerprint and subject of a certificate that is named by the one or by its file."""
    file = Path(certificate)
    return revocations.read(_read(file)) if file.exists() else (certificate, "")


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        "roles": sorted(grant.roles),
        "participant": grant.participant_id,
        "organisation": grant.organisation_id,
        "publishes": sorted(grant.publishes),
    }


def _token(one: Token) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        **_grant(one.grant),
        "created_at": one.created_at,
        "expires_at": one.expires_at,
        "revoked_at": one.revoked_at,
        "used_at": one.used_at,
    }


def _certificate(one: KnownSubject) -> dict[str, Any]:
    return {
        "id": one.id,
        "subject": one.subject,
        **_grant(one.grant),
        "authorities": one.authorities,
        "created_at": one.created_at,
        "revoked_at": one.revoked_at,
    }


def _authority(one: Authority) -> dict[str, Any]:
    return {
        "id": one.id,
        "subject": one.subject,
        "counts_from": one.counts_from,
        "counts_to": one.counts_to,
        "expires_at": one.expires_at,
    }
