"""The tables in the code: all of them in one place to import from, and what their rules are called."""

from claimbus.database import schema


def test_every_table_is_there_by_its_name() -> None:
    for name, table in schema.metadata.tables.items():
        assert getattr(schema, name) is table
        assert name in schema.__all__


def test_rules_are_called_as_in_the_databases_that_there_are() -> None:
    """The migrations name by the same convention, so comparing with them would not tell."""
    rules = {
        str(name)
        for table in schema.metadata.tables.values()
        for name in (*(one.name for one in table.constraints), *(one.name for one in table.indexes))
    }
    assert rules >= {
        "pk_endpoints",
        "fk_endpoints_participant_id",
        "ck_endpoints_kind",
        "ix_participants_organisation_id",
    }
