"""Who somebody is, what that opens, and that every change of it is in the audit, without a token."""

from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from claimbus.database import (
    Act,
    Database,
    DuplicateError,
    NotFoundError,
    access,
    audit,
    authorities,
    certificates,
    participants,
    redemptions,
    tokens,
)
from claimbus.database.access import Grant, Principal, Role
from claimbus.database.participants import Participant
from claimbus.database.redemptions import Redemption
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import ALL, Audience

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ACT = Act("jane", reason="a test", at=NOW)
PGAE = Grant(frozenset({Role.PARTICIPANT}), "PGAE")
PACIFIC = Grant(frozenset({Role.UAA}), None, "Pacific")
OPERATOR = Grant(frozenset({Role.OPERATOR}))


@pytest.fixture
def filled(database: Database) -> Database:
    """Two participants of Pacific and one of Edison."""
    with database.transaction() as sql:
        participants.add(sql, "PGAE", "Pacific", ACT)
        participants.add(sql, "PGA2", "Pacific", ACT)
        participants.add(sql, "SCE1", "Edison", ACT)
    return database


def test_a_token_is_somebodys_until_it_expires_or_is_revoked(filled: Database) -> None:
    with filled.transaction() as sql:
        known, token = tokens.add(sql, "PGAE's daemon", PGAE, ACT, expires_at=NOW + DAY)
        found = access.by_token(sql, token, NOW)
        assert found is not None
        assert (found.name, found.organisation_id) == ("PGAE's daemon", "Pacific")
        assert found.participant_ids == {"PGAE"}
        assert found.roles == {Role.PARTICIPANT}
        assert access.by_token(sql, token, NOW + DAY - timedelta(seconds=1)) is not None
        assert access.by_token(sql, token, NOW + DAY) is None
        assert access.by_token(sql, token + "x", NOW) is None
        assert access.by_token(sql, known.id, NOW) is None
        assert tokens.revoke(sql, known.id, ACT).revoked_at == NOW
        assert access.by_token(sql, token, NOW) is None
        tokens.revoke(sql, known.id, ACT)
        entries = audit.find(sql, kind="token").rows
    assert [(one.action, one.object_id, one.organisation_id) for one in entries] == [
        ("revoked", known.id, "Pacific"),
        ("added", known.id, "Pacific"),
    ]


def test_a_token_is_kept_nowhere(filled: Database) -> None:
    with filled.transaction() as sql:
        _, token = tokens.add(sql, "a", OPERATOR, ACT, expires_at=NOW + DAY)
        _, other = tokens.add(sql, "a", OPERATOR, ACT, expires_at=NOW + DAY)
        kept = sql.exec_driver_sql("SELECT * FROM tokens").all()
        written = sql.exec_driver_sql("SELECT * FROM audit_entries").all()
    assert token != other
    assert len(token) == len("cbt_") + 43  # 256 bits
    assert token.removeprefix("cbt_") not in f"{kept}{written}{[bytes(row.sha256) for row in kept]!r}"


def test_the_use_of_a_token_is_noted_once_a_minute(filled: Database) -> None:
    with filled.transaction() as sql:
        known, token = tokens.add(sql, "a", OPERATOR, ACT, expires_at=NOW + DAY)
        for seconds, noted in ((0, 0), (59, 0), (60, 60), (61, 60)):
            tokens.note_use(sql, token, NOW + timedelta(seconds=seconds))
            assert tokens.get(sql, known.id).used_at == NOW + timedelta(seconds=noted)


@pytest.mark.parametrize("lives", [timedelta(0), -DAY, tokens.LONGEST + timedelta(seconds=1)])
def test_a_token_lives_a_while_and_not_for_ever(filled: Database, lives: timedelta) -> None:
    with filled.transaction() as sql, pytest.raises(InvalidInputError, match="expires"):
        tokens.add(sql, "a", OPERATOR, ACT, expires_at=NOW + lives)


def test_a_certificate_is_somebodys_by_its_subject(filled: Database) -> None:
    with filled.transaction() as sql:
        known = certificates.add(sql, "CN=uaa,O=Pacific", PACIFIC, ACT)
        found = access.by_certificate(sql, known.subject, NOW)
        assert found is not None
        assert found.name == known.subject
        assert found.participant_ids == {"PGAE", "PGA2"}
        assert access.by_certificate(sql, "CN=uaa", NOW) is None
        assert access.by_certificate(sql, "", NOW) is None
        with pytest.raises(DuplicateError, match="revoke"):
            certificates.add(sql, known.subject, OPERATOR, ACT)
        certificates.revoke(sql, known.id, ACT)
        assert access.by_certificate(sql, known.subject, NOW) is None
        certificates.add(sql, known.subject, OPERATOR, ACT)
        again = access.by_certificate(sql, known.subject, NOW)
        assert again is not None
        assert again.roles == {Role.OPERATOR}


@pytest.mark.parametrize("subject", ["", "daemon", "CN", "CN=a,,O=b", "=x"])
def test_a_subject_is_a_name(filled: Database, subject: str) -> None:
    with filled.transaction() as sql, pytest.raises(InvalidInputError, match="subject"):
        certificates.add(sql, subject, OPERATOR, ACT)


def test_a_subject_is_read_from_a_certificate_as_it_will_be_seen() -> None:
    issued = trustme.CA().issue_cert(
        "a@b.example", common_name='dæmon, "the" first', organization_name="P+G=E"
    )
    pem = issued.cert_chain_pems[0].bytes()
    subject = certificates.subject_in(pem)
    assert subject == x509.load_pem_x509_certificate(pem).subject.rfc4514_string()
    assert certificates.normal_subject(subject) == subject


def test_what_changes_for_a_participant_counts_at_once(filled: Database) -> None:
    with filled.transaction() as sql:
        _, token = tokens.add(sql, "a", PACIFIC, ACT, expires_at=NOW + DAY)
        participants.move(sql, "PGA2", "Edison", ACT)
        participants.open_event_types(sql, "PGAE", ("oms.#",), ACT)
        found = access.by_token(sql, token, NOW)
    assert found is not None
    assert found.participant_ids == {"PGAE"}
    assert found.may_see("oms.resource-outage.created", ALL)
    assert not found.may_see("market.dam.closed", ALL)


@pytest.mark.parametrize(
    "grant", [Grant(frozenset({Role.UAA}), "NONE"), Grant(frozenset({Role.UAA}), None, "No")]
)
def test_nothing_is_given_to_whom_nobody_knows(filled: Database, grant: Grant) -> None:
    with filled.transaction() as sql, pytest.raises(NotFoundError):
        tokens.add(sql, "a", grant, ACT, expires_at=NOW + DAY)
    with filled.transaction() as sql, pytest.raises(NotFoundError):
        certificates.add(sql, "CN=a", grant, ACT)


@pytest.mark.parametrize(
    ("roles", "participant", "organisation"),
    [
        ([], "PGAE", None),
        ([Role.PARTICIPANT], None, None),
        ([Role.UAA], "PGAE", "Pacific"),
        ([Role.OPERATOR], "PGAE", None),
        ([Role.PUBLISHER], None, "Pacific"),
        ([Role.ADMIN, Role.UAA], None, None),
        ([Role.ADMIN, Role.UAA], None, "Pacific"),
    ],
)
def test_roles_must_fit_whom_they_are_for(
    roles: list[Role], participant: str | None, organisation: str | None
) -> None:
    with pytest.raises(InvalidInputError):
        Grant(frozenset(roles), participant, organisation)


NAMES = st.sampled_from(["PGAE", "SCE1", "SDGE"])
PATTERNS = st.sampled_from(["#", "market.#", "oms.#"])
PARTICIPANTS = st.dictionaries(NAMES, PATTERNS)
AUDIENCES: st.SearchStrategy[Audience] = st.just(ALL) | st.frozensets(NAMES, min_size=1)


@given(st.frozensets(st.sampled_from(Role)), PARTICIPANTS, AUDIENCES)
def test_an_event_is_seen_by_its_audience_and_by_operators(
    roles: frozenset[Role], own: dict[str, str], audience: Audience
) -> None:
    principal = Principal(
        name="somebody",
        roles=roles,
        organisation_id="Pacific",
        participants=tuple(
            Participant(id=name, organisation_id="Pacific", event_types=(pattern,), created_at=NOW)
            for name, pattern in own.items()
        ),
    )
    for_it = {name for name, pattern in own.items() if pattern in {"#", "market.#"}}
    addressed = for_it if audience == ALL else for_it & audience
    wanted = Role.OPERATOR in roles or bool(addressed and roles & {Role.PARTICIPANT, Role.UAA})
    assert principal.may_see("market.dam.closed", audience) == wanted


def test_authorities_count_each_for_its_period(database: Database) -> None:
    old, new = trustme.CA().cert_pem.bytes(), trustme.CA().cert_pem.bytes()
    with database.transaction() as sql:
        first = authorities.put(sql, old, ACT)
        second = authorities.put(sql, new, ACT, counts_from=NOW + DAY, counts_to=NOW + 3 * DAY)
        assert authorities.find(sql) == (first, second)
        authorities.end(sql, first.id, ACT, at=NOW + 2 * DAY)
        found = authorities.find(sql)
        counting = [[one.counts(NOW + days * DAY) for one in found] for days in range(4)]
        assert counting == [[True, False], [True, True], [False, True], [False, False]]
        assert authorities.put(sql, new, ACT).counts(NOW)  # known, and counting from now on after all
        actions = [one.action for one in audit.find(sql, kind="authority").rows]
        with pytest.raises(InvalidInputError, match="counts_to"):
            authorities.put(sql, new, ACT, counts_from=NOW, counts_to=NOW)
        with pytest.raises(NotFoundError):
            authorities.end(sql, "none", ACT)
    assert actions == ["changed", "ended", "added", "added"]


def test_redemptions_are_rows_of_the_audit(database: Database) -> None:
    rows = [Redemption(NOW, "daemon", "Pacific", f"claim-{number}", number) for number in range(3)]
    with database.transaction() as sql:
        redemptions.record(sql, rows)
        redemptions.record(sql, [])
        found = audit.find(sql, kind="claim", organisation_id="Pacific").rows
    assert [(one.actor, one.action, one.object_id, one.after) for one in reversed(found)] == [
        ("daemon", "redeemed", f"claim-{number}", {"bytes": number}) for number in range(3)
    ]
