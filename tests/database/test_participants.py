import pytest

from claimbus.database import Act, Database, DuplicateError, NotFoundError, audit, participants
from claimbus.events.errors import InvalidInputError


def test_a_participant_brings_its_organisation(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        added = participants.add(connection, "PGAE", "Pacific Gas", act)
    with database.snapshot() as connection:
        assert participants.get(connection, "PGAE") == added
        assert participants.find_organisations(connection) == ("Pacific Gas",)
    assert (added.organisation_id, added.event_types) == ("Pacific Gas", ("#",))


def test_an_organisation_may_own_several_participants(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        for name, organisation in [("PGAE", "Pacific Gas"), ("PGSB", "Pacific Gas"), ("SCE1", "Edison")]:
            participants.add(connection, name, organisation, act)
        found = participants.find(connection, organisation_id="Pacific Gas")
        assert [one.id for one in found] == ["PGAE", "PGSB"]
        assert [one.id for one in participants.find(connection)] == ["PGAE", "PGSB", "SCE1"]


def test_a_participant_is_added_once(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        participants.add(connection, "PGAE", "Pacific Gas", act)
    there_already = pytest.raises(DuplicateError, match="participant: PGAE is there already")
    with there_already, database.transaction() as connection:
        participants.add(connection, "PGAE", "Edison", act)
    with database.snapshot() as connection:
        assert participants.find_organisations(connection) == ("Pacific Gas",)


@pytest.mark.parametrize("name", ["", "P", "pgae", "1PGAE", "PG-AE", "P" * 33, "PGAE\n"])
def test_a_malformed_id_is_refused(database: Database, act: Act, name: str) -> None:
    with pytest.raises(InvalidInputError) as caught, database.transaction() as connection:
        participants.add(connection, name, "Pacific Gas", act)
    assert caught.value.field == "participant"


def test_an_unknown_participant_is_not_found(database: Database, act: Act) -> None:
    with database.snapshot() as connection, pytest.raises(NotFoundError, match="no participant 'PGAE'"):
        participants.get(connection, "PGAE")


def test_only_event_types_that_are_open_are_seen(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        everything = participants.add(connection, "PGAE", "Pacific Gas", act)
        markets = participants.open_event_types(connection, "PGAE", ("market.#",), act)
        nothing = participants.open_event_types(connection, "PGAE", (), act)
    seen = [one.is_entitled("market.dam.closed") for one in (everything, markets, nothing)]
    assert seen == [True, True, False]
    assert not markets.is_entitled("oms.resource-outage.created")


def test_a_pattern_that_matches_nothing_is_refused(database: Database, act: Act) -> None:
    with pytest.raises(InvalidInputError), database.transaction() as connection:
        participants.add(connection, "PGAE", "Pacific Gas", act, event_types=("outages",))


def test_moving_to_another_organisation_is_audited(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        participants.add(connection, "PGAE", "Pacific Gas", act)
        moved = participants.move(connection, "PGAE", "Edison", act)
        participants.move(connection, "PGAE", "Edison", act)  # changes nothing, so nothing to audit
        latest, *_ = audit.find(connection, kind="participant").rows
    assert moved.organisation_id == "Edison"
    assert (latest.action, latest.organisation_id, latest.actor) == ("moved", "Edison", "jane")
    assert latest.before == {"organisation_id": "Pacific Gas", "event_types": ["#"]}
    assert latest.after == {"organisation_id": "Edison", "event_types": ["#"]}


def test_contacts_are_kept_once(database: Database, act: Act) -> None:
    with database.transaction() as connection:
        participants.add_organisation(connection, "Edison", act)
        assert participants.add_contact(connection, "Edison", "ops@edison.example", act)
        assert not participants.add_contact(connection, "Edison", "ops@edison.example", act)
        assert participants.contacts_of(connection, "Edison") == ("ops@edison.example",)


@pytest.mark.parametrize("address", ["", "nobody", "two@a.example,b@c.example ", "a@b", "a\n@b.example"])
def test_what_is_no_address_is_refused(database: Database, act: Act, address: str) -> None:
    with pytest.raises(InvalidInputError) as caught, database.transaction() as connection:
        participants.add_contact(connection, "Edison", address, act)
    assert caught.value.field == "contact"


def test_a_contact_of_nobody_is_refused(database: Database, act: Act) -> None:
    with pytest.raises(NotFoundError), database.transaction() as connection:
        participants.add_contact(connection, "Nobody", "ops@edison.example", act)
