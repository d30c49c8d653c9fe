"""What somebody who uses the portal may do: the options for it, and how it is shown."""

from typing import Annotated, Any

import typer

from claimbus.database.access import Grant, Role

Roles = Annotated[list[Role], typer.Option("--role", help="What it opens; repeat it.", show_default=False)]
Participant = Annotated[str | None, typer.Option(metavar="ID", help="For this participant only.")]
Organisation = Annotated[str | None, typer.Option(help="For all participants of this organisation.")]
Publishes = Annotated[
    list[str] | None,
    typer.Option(metavar="DOMAIN", help="For a publisher: oms, market or system; repeat it."),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="As 'list' shows it.")]


def granted(
    roles: list[Role], participant: str | None, organisation: str | None, publishes: list[str] | None
) -> Grant:
    """Return what was chosen. Raises InvalidInputError."""
    return Grant(frozenset(roles), participant, organisation, frozenset(publishes or ()))


def facts(grant: Grant) -> dict[str, Any]:
    """Return what is shown of it, by name."""
    return {
        "roles": sorted(grant.roles),
        "participant": grant.participant_id,
        "organisation": grant.organisation_id,
        "publishes": sorted(grant.publishes),
    }
