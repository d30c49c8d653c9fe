"""``claimbus participants``: added, imported, shown, and what is open to them."""

from tests.cli.terminal import Terminal


def test_a_participant_is_added_listed_and_shown(terminal: Terminal) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific", "--actor", "jane", "--reason", "new")
    terminal("participants", "add", "SCE1", "--organisation", "Edison", "--open-types", "market.#")
    listed = terminal("participants", "list", "--json").json
    assert [(one["id"], one["event_types"]) for one in listed] == [("PGAE", ["#"]), ("SCE1", ["market.#"])]
    assert [
        one["id"] for one in terminal("participants", "list", "--organisation", "Edison", "--json").json
    ] == ["SCE1"]
    assert "Edison" in terminal("participants", "list").out
    shown = terminal("participants", "show", "PGAE", "--json").json
    assert (shown["organisation"], shown["endpoints"], shown["resources"]) == ("Pacific", [], [])
    (entry,) = terminal("audit", "list", "--kind", "participant", "--object", "PGAE", "--json").json
    assert (entry["actor"], entry["action"], entry["reason"]) == ("jane", "added", "new")


def test_an_organisation_that_is_new_is_said_to_be(terminal: Terminal) -> None:
    said = [
        "is a new organisation" in terminal("participants", "add", id_, "--organisation", whose).err
        for id_, whose in (("PGAE", "Pacific"), ("PCG2", "Pacific"), ("SCE1", "Pacfic"))
    ]
    assert said == [True, False, True]


def test_what_is_wrong_is_told_with_its_field(terminal: Terminal) -> None:
    add = ("participants", "add", "PGAE", "--organisation", "Pacific")
    terminal(*add)
    assert "participant: PGAE is there already" in terminal(*add, code=1).err
    assert "participant: 'pge'" in terminal("participants", "add", "pge", "--organisation", "P", code=1).err
    assert "participant: there is no" in terminal("participants", "show", "NOBODY", code=1).err
    wrong = ("participants", "add", "SCE1", "--organisation", "E", "--open-types", "oms.everything")
    assert "subscription: 'oms.everything'" in terminal(*wrong, code=1).err


def test_an_export_is_imported_as_the_whole_truth(terminal: Terminal) -> None:
    header = "organisation,participant,resource_id,valid_from,valid_to,contact\n"
    export = terminal.directory / "export.csv"
    rows = [f"Pacific,PGAE,UNIT_{number},2020-01-01,,jane@pacific.example\n" for number in range(4)]
    export.write_text(header + "".join(rows))
    imported = terminal("participants", "import", export, "--json").json
    assert (imported["added"], imported["problems"]) == (4, [])
    assert terminal("participants", "import", export, "--json").json["unchanged"] == 4
    shown = terminal("participants", "show", "PGAE", "--json").json
    assert shown["resources"] == ["UNIT_0", "UNIT_1", "UNIT_2", "UNIT_3"]
    assert shown["contacts"] == ["jane@pacific.example"]

    export.write_text(header + rows[0])
    assert "truncated?" in terminal("participants", "import", export, code=1).err
    assert terminal("participants", "import", export, "--force", "--json").json["closed"] == 3

    export.write_text(header + rows[0] + "Pacific,pge,UNIT_9,2020-01-01,,\n")
    answer = terminal("participants", "import", export, "--json", code=1)
    assert "export.csv:3: participant:" in answer.err
    assert answer.json["problems"][0]["line"] == 3


def test_closing_event_types_to_a_participant_unbinds_its_endpoints_at_once(terminal: Terminal) -> None:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")
    added = terminal(
        "endpoints",
        "add",
        "PGAE",
        "--name",
        "one",
        "--url",
        "https://a.example/",
        "--subscribe",
        "#",
        "--json",
    ).json

    def keys() -> set[str]:
        return {key for exchange, key in terminal.bindings(added["id"]) if exchange == "market"}

    assert keys() == {"#.PGAE", "#.all"}
    terminal("participants", "open-types", "PGAE", "market.dam.closed")
    assert keys() == {"market.dam.closed.PGAE", "market.dam.closed.all"}
    terminal("participants", "open-types", "PGAE", "--none")
    assert keys() == set()
    terminal("participants", "open-types", "PGAE", code=2)
