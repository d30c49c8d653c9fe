"""What ends one day: tokens and client certificates, by which one logs in, and receivers' certificates.

No secrets.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from claimbus.database import certificates, receiver_certificates, shown_certificates, tokens
from claimbus.database.access import Grant, Principal, Role, common_name
from claimbus.database.certificates import KnownSubject
from claimbus.database.page import Page, opaque, texts
from claimbus.database.receiver_certificates import Seen
from claimbus.database.shown_certificates import Shown
from claimbus.database.tokens import Token
from claimbus.events.event import format_time
from claimbus.portal.desk import scope
from claimbus.portal.services import Services

if TYPE_CHECKING:
    from sqlalchemy import Connection

ENDED: Final = timedelta(days=30)
"""For how long a token that has ended is still told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A token, or a subject whose client certificates count, and whom it stands for.

    ``name`` is the token's, or the subject's common name; only certificates have a ``subject``. A certificate
    is known once it was shown: ``shown`` are those of late, and ``ends_at`` is the end of the one that ends
    last; None as long as there was none. ``used_at`` is right to the minute.

    Or the certificate that an endpoint's receiver shows: ``id`` and ``name`` are the endpoint's then, and it
    was seen at ``used_at``.
    """

    kind: Literal["token", "certificate", "receiver"]
    id: str
    name: str
    subject: str | None
    roles: tuple[Role, ...]
    participant_id: str | None
    organisation_id: str | None
    created_at: datetime
    ends_at: datetime | None
    used_at: datetime | None
    shown: tuple[Shown, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands in a list: what ends first comes first, what nobody has shown yet last."""
        return ("~" if self.ends_at is None else format_time(self.ends_at)), self.id


async def find(
    services: Services, who: Principal, *, cursor: str | None = None, limit: int = 50
) -> Page[Credential]:
    """Return those that count, or have ended of late: what ends first comes first.

    Operators see all, UAAs those of their participants and of their receivers, and those of their whole
    organisation if all of its participants are theirs.
    """
    scope.must_be(who, *scope.KEEPING)
    after = None if cursor is None else texts(cursor, 2)
    found = sorted(await services.database.read(lambda sql: _found(sql, who)), key=lambda one: one.place)
    rest = [one for one in found if after is None or one.place > after]
    return Page.cut(rest, limit, lambda last: opaque(*last.place))


def _found(sql: "Connection", who: Principal) -> list[Credential]:
    now = datetime.now(UTC)
    seen = scope.seen_by(who)
    whole = who.organisation_id
    if seen is not None and whole is not None and not scope.is_for_all_of(sql, who, whole):
        whole = None

    def is_open(grant: Grant) -> bool:
        if seen is None or grant.participant_id in seen:
            return True
        return grant.organisation_id is not None and grant.organisation_id == whole

    known = [one for one in certificates.find(sql) if one.revoked_at is None and is_open(one.grant)]
    shown = shown_certificates.find(sql, [one.id for one in known])
    there = [
        one
        for one in tokens.find(sql)
        if one.revoked_at is None and now < one.expires_at + ENDED and is_open(one.grant)
    ]
    return [
        *map(_of_token, there),
        *(_of_subject(one, tuple(shown.get(one.id, ()))) for one in known),
        *map(_of_receiver, receiver_certificates.find(sql, participant_ids=seen)),
    ]


def _of_token(token: Token) -> Credential:
    return Credential(
        kind="token",
        id=token.id,
        name=token.name,
        subject=None,
        roles=tuple(sorted(token.grant.roles)),
        participant_id=token.grant.participant_id,
        organisation_id=token.grant.organisation_id,
        created_at=token.created_at,
        ends_at=token.expires_at,
        used_at=token.used_at,
    )


def _of_subject(known: KnownSubject, shown: tuple[Shown, ...]) -> Credential:
    return Credential(
        kind="certificate",
        id=known.id,
        name=common_name(known.subject) or known.subject,
        subject=known.subject,
        roles=tuple(sorted(known.grant.roles)),
        participant_id=known.grant.participant_id,
        organisation_id=known.grant.organisation_id,
        created_at=known.created_at,
        ends_at=max((one.ends_at for one in shown), default=None),
        used_at=max((one.shown_at for one in shown), default=None),
        shown=shown,
    )


def _of_receiver(seen: Seen) -> Credential:
    return Credential(
        kind="receiver",
        id=seen.endpoint_id,
        name=seen.endpoint_name,
        subject=seen.subject,
        roles=(),
        participant_id=seen.participant_id,
        organisation_id=None,
        created_at=seen.begins_at,
        ends_at=seen.ends_at,
        used_at=seen.seen_at,
    )
