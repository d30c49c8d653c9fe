"""How often somebody may let this system read very much."""

import pytest

from claimbus.database.access import Principal, Role
from claimbus.portal.desk import deliveries, letters, rates
from claimbus.portal.desk.deliveries import Wanted
from claimbus.portal.desk.letters import Chosen
from claimbus.portal.desk.rates import Pace, TooOftenError
from tests.portal.portals import Portal

ONE, OTHER = (Principal(name=name, roles=frozenset({Role.OPERATOR})) for name in ("one", "other"))


async def test_exports_have_a_rate_which_counts_before_the_first_line(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "EXPORTING", Pace("exports", each=1))
    for who in (ONE, OTHER):
        lines = [line async for line in deliveries.rows_as_csv(portal.services, who, Wanted())]
        assert lines[0].startswith("started_at")
        with pytest.raises(TooOftenError, match="you may have 1 exports a minute"):
            deliveries.rows_as_csv(portal.services, who, Wanted())


async def test_preflights_of_very_many_letters_have_a_rate(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "LOOKING_AHEAD", Pace("preflights of very many letters", each=1))
    monkeypatch.setattr(letters, "MANY", 2)
    few, many = (Chosen(tuple(f"dl_{number}" for number in range(count)), {}) for count in (2, 3))
    for _ in range(3):
        await letters.preflight(portal.services, ONE, few)
    await letters.preflight(portal.services, ONE, many)
    with pytest.raises(TooOftenError, match="preflights of very many letters"):
        await letters.preflight(portal.services, ONE, many)
    await letters.preflight(portal.services, OTHER, many)
