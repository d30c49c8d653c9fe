"""``/v1/credentials``."""

from typing import Literal

from fastapi import APIRouter

from claimbus.database.access import Role
from claimbus.portal.api.fields import Cursor, Document, Id, Items, Limit, Moment, page
from claimbus.portal.desk import credentials as desk
from claimbus.portal.services import Caller, Provided

router = APIRouter(prefix="/v1/credentials", tags=["credentials"])


class ShownDocument(Document):
    """A client certificate that was shown, by its SHA-256 fingerprint; it counts until `ends_at`."""

    fingerprint: str
    ends_at: Moment
    shown_at: Moment


class CredentialDocument(Document):
    """A token, or a subject whose client certificates count; `ends_at` is null until one was shown.

    Or the certificate that an endpoint's receiver shows: `id` and `name` are the endpoint's then, and it was
    seen at `used_at`.
    """

    kind: Literal["token", "certificate", "receiver"]
    id: Id
    name: str
    subject: str | None
    roles: list[Role]
    participant_id: str | None
    organisation_id: str | None
    created_at: Moment
    ends_at: Moment | None
    used_at: Moment | None
    shown: list[ShownDocument]


@router.get("")
async def find_credentials(
    services: Provided, who: Caller, cursor: Cursor = None, limit: Limit = 50
) -> Items[CredentialDocument]:
    """List by what your people and daemons log in, and what your receivers show: what ends first first."""
    return page(await desk.find(services, who, cursor=cursor, limit=limit), CredentialDocument)
