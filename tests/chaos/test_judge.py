"""The judge finds what is planted, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.judge import Books, Place, Receipt, judge, recovery
from tests.chaos.ledger import Entry, Ledger, Tail, read

NORTH = Place(participant="NORTH", patterns=("oms.#", "market.dam.closed"))
SOUTH = Place(participant="SOUTH", patterns=("oms.#",), ordered=True)
EAST = Place(participant="EAST", patterns=("oms.#",), latest_only=True)


def entry(sequence: int, *audience: str, at: float = 100.0) -> Entry:
    return Entry(
        "urn:load",
        f"1-{sequence}",
        "oms.resource-outage.changed",
        audience or "all",
        "outage",
        sequence,
        f"digest {sequence}",
        at,
    )


def receipt(place: Place, of: Entry, at: float = 101.0) -> Receipt:
    return Receipt(place.participant, of.name, of.key, of.sequence, of.sha256 or "", True, False, False, at)


@pytest.fixture
def books() -> Books:
    """Three changes of one outage, and all has come."""
    entries = [entry(1), entry(2), entry(3)]
    receipts = [receipt(place, one) for one in entries for place in (NORTH, SOUTH, EAST)]
    return Books(places=(NORTH, SOUTH, EAST), intended=entries, ledger=list(entries), receipts=receipts)


def without(books: Books, place: Place, sequence: int) -> None:
    books.receipts = [
        one for one in books.receipts if (one.participant, one.sequence) != (place.participant, sequence)
    ]


def test_nothing_is_found_when_all_has_come(books: Books) -> None:
    outcome = judge(books)
    assert (outcome.events, outcome.expected) == (3, 9)
    assert (outcome.lost, outcome.leaked, outcome.disordered, outcome.bodiless) == ((), (), (), ())
    assert (outcome.duplicates, outcome.forgotten, outcome.letters) == (0, 0, 0)


def test_what_did_not_come_is_lost(books: Books) -> None:
    without(books, NORTH, 2)
    assert judge(books).lost == (("NORTH", ("urn:load", "1-2")),)


def test_what_its_receiver_refused_is_lost_unless_it_came_again(books: Books) -> None:
    refused = [one._replace(taken=False) for one in books.receipts if one.participant == "NORTH"]
    books.receipts = [one for one in books.receipts if one.participant != "NORTH"] + refused
    assert len(judge(books).lost) == 3


def test_what_was_never_acknowledged_is_not_lost(books: Books) -> None:
    books.intended.append(entry(4))
    assert judge(books).lost == ()


def test_what_was_never_acknowledged_leaks_all_the_same(books: Books) -> None:
    books.intended.append(entry(4, "SOUTH"))
    books.receipts.append(receipt(NORTH, entry(4)))
    assert judge(books).leaked == ("1-4 to NORTH: not in its audience",)


def test_what_is_for_others_leaks(books: Books) -> None:
    books.ledger[1] = entry(2, "SOUTH", "EAST")
    assert judge(books).leaked == ("1-2 to NORTH: not in its audience",)


def test_what_nobody_subscribed_to_leaks(books: Books) -> None:
    market = entry(4)._replace(type="market.dam.closed")
    books.ledger.append(market)
    books.receipts += [receipt(NORTH, market), receipt(SOUTH, market)]
    assert judge(books).leaked == ("1-4 to SOUTH: not subscribed to market.dam.closed",)


def test_what_nobody_published_leaks(books: Books) -> None:
    books.receipts.append(receipt(NORTH, entry(9)))
    assert judge(books).leaked == ("1-9 to NORTH: nobody published it",)


def test_another_body_leaks(books: Books) -> None:
    books.receipts[0] = books.receipts[0]._replace(sha256="digest 7")
    assert judge(books).leaked == ("1-1 to NORTH: with another body",)


def test_a_body_that_the_product_wrote_must_be_the_same_everywhere(books: Books) -> None:
    books.ledger[0] = books.intended[0] = entry(1)._replace(sha256=None)
    assert judge(books).leaked == ()
    books.receipts[1] = books.receipts[1]._replace(sha256="digest 7")
    assert judge(books).leaked == ("1-1 to SOUTH: with another body",)


def test_duplicates_are_counted(books: Books) -> None:
    books.receipts += [books.receipts[0], books.receipts[0], books.receipts[4]]
    assert judge(books).duplicates == 3


def test_an_older_change_after_a_newer_one_is_disorder_where_order_is_promised(books: Books) -> None:
    books.receipts.reverse()
    assert judge(books).disordered == ("outage to SOUTH: 2 after 3", "outage to SOUTH: 1 after 3")


def test_a_repetition_and_a_replay_are_no_disorder(books: Books) -> None:
    without(books, SOUTH, 2)
    books.receipts.append(receipt(SOUTH, entry(1)))
    books.receipts.append(receipt(SOUTH, entry(2))._replace(replayed=True))
    assert judge(books).disordered == ()


def test_what_is_superseded_must_have_something_newer(books: Books) -> None:
    for sequence in (2, 3):
        without(books, EAST, sequence)
    books.superseded = {("EAST", entry(1).name), ("EAST", entry(2).name), ("NORTH", entry(1).name)}
    assert judge(books).lost == (("EAST", entry(2).name), ("EAST", entry(3).name))
    books.receipts.append(receipt(EAST, entry(3)))
    assert judge(books).lost == ()
    without(books, NORTH, 1)
    assert judge(books).lost == (("NORTH", entry(1).name),), "only who wants the latest only may miss one"


def test_a_dead_letter_with_its_body_is_not_lost(books: Books) -> None:
    without(books, NORTH, 2)
    books.letters = {("NORTH", entry(2).name): "digest 2"}
    outcome = judge(books)
    assert (outcome.lost, outcome.bodiless, outcome.letters) == ((), (), 1)


@pytest.mark.parametrize("body", [None, "digest 7"])
def test_a_dead_letter_without_its_body_is_found(books: Books, body: str | None) -> None:
    without(books, NORTH, 2)
    books.letters = {("NORTH", entry(2).name): body}
    assert judge(books).bodiless == (("NORTH", entry(2).name),)


def test_what_a_receiver_took_and_forgot_is_counted_apart(books: Books) -> None:
    books.receipts[0] = books.receipts[0]._replace(taken=False, forgotten=True)
    outcome = judge(books)
    assert (outcome.lost, outcome.forgotten) == ((), 1)


def test_recovery_ends_when_all_that_was_published_before_has_come(books: Books) -> None:
    books.ledger = [entry(1, at=100), entry(2, at=100), entry(3, at=200)]
    books.receipts = [receipt(NORTH, one, at) for one, at in zip(books.ledger, (101, 107, 230), strict=True)]
    books.places = (NORTH,)
    assert recovery(books, 105.0) == 2.0
    assert recovery(books, 110.0) == 0.0


def test_a_ledger_cut_within_a_line_has_the_lines_before_and_after(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    with Ledger(file) as ledger:
        ledger.write(entry(1))
        ledger.write(entry(2))
    file.write_bytes(file.read_bytes()[:-20])
    tail = Tail(file)
    assert [read(line) for line in tail.lines()] == [entry(1)]
    with Ledger(file) as ledger:
        ledger.write(entry(3, "NORTH"))
    assert [read(line) for line in tail.lines()] == [None, entry(3, "NORTH")]
    assert list(tail.lines()) == []


def test_the_books_of_another_run_do_not_count(books: Books) -> None:
    assert judge(replace(books, ledger=[], intended=[], receipts=[])).events == 0
