"""Everybody who may come to the portal: each with what is theirs, and with what counts no more."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import update

from claimbus.database import schema, tokens
from claimbus.database.access import Grant, Role
from claimbus.database.audit import Act
from tests.portal.portals import ACT, Portal
from tests.portal.scene import ORGANISATION, OTHER, OTHERS, OWNER
from tests.portal.visitors import Visitor
from tests.waiting import eventually

GRANTS: Final = {
    "daemon": Grant(frozenset({Role.PARTICIPANT}), OWNER),
    "uaa": Grant(frozenset({Role.UAA}), OWNER),
    "uaa of all": Grant(frozenset({Role.UAA}), None, ORGANISATION),
    "other daemon": Grant(frozenset({Role.PARTICIPANT}), OTHER),
    "other uaa": Grant(frozenset({Role.UAA}), None, OTHERS),
    "operator": Grant(frozenset({Role.OPERATOR})),
    "publisher": Grant(frozenset({Role.PUBLISHER}), publishes=frozenset({"oms", "market", "system"})),
    "admin": Grant(frozenset({Role.ADMIN})),
    "revoked": Grant(frozenset({Role.OPERATOR})),
    "expired": Grant(frozenset({Role.OPERATOR})),
}
"""What everybody's credential gives, or gave."""

NOBODY: Final = "nobody"
UNKNOWN: Final = frozenset({NOBODY, "revoked", "expired"})
"""Those whom the portal does not know, or not any more."""

KNOWN: Final = frozenset(GRANTS) - UNKNOWN
EVERYBODY: Final = (NOBODY, *GRANTS)

OPERATORS: Final = frozenset({"operator"})
ALL_OF: Final = OPERATORS | {"uaa of all"}
KEEPERS: Final = ALL_OF | {"uaa"}
LOOKERS: Final = KEEPERS | {"daemon"}
OTHERS_TOO: Final = LOOKERS | {"other uaa", "other daemon"}
"""Who may look at something that there is for everybody: at their own there, or at what is no secret."""

STRANGERS: Final = ("other uaa", "other daemon")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody by a name of `EVERYBODY`; ``token`` is None for who has none."""

    name: str
    token: str | None

    @classmethod
    def of(cls, portal: Portal, name: str) -> "Person":
        """Give somebody a token. All have one name, which opens nothing."""
        if name == NOBODY:
            return cls(name, None)
        lived = timedelta(days=2 if name == "expired" else 0)
        act = Act("tests", at=datetime.now(UTC) - lived)
        with portal.services.database.transaction() as sql:
            known, token = tokens.add(sql, "kay", GRANTS[name], act, expires_at=act.at + timedelta(days=1))
            if name == "revoked":
                tokens.revoke(sql, known.id, ACT)
        return cls(name, token)

    async def come_in(self, visitor: Visitor) -> None:
        """Log in at the pages; what counts no more did when they logged in."""
        portal = visitor.portal
        if self.name == NOBODY:
            return
        if self.name not in UNKNOWN:
            await visitor.log_in(self.token or "")
            return
        token = portal.token(Role.OPERATOR, name=self.name)
        await visitor.log_in(token)
        with portal.services.database.transaction() as sql:
            if self.name == "expired":
                sql.execute(update(schema.sessions).values(expires_at=datetime.now(UTC)))
            else:
                [known] = (one for one in tokens.find(sql) if one.name == self.name)
                tokens.revoke(sql, known.id, ACT)

        async def is_out() -> bool:
            return (await visitor.get("/")).headers["location"].startswith("/login")

        await eventually(is_out)
