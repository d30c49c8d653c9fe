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
    revocations,
    tokens,
)
from claimbus.database.access import Certificate, Grant, Principal, Role, digest_of
from claimbus.database.participants import Participant
from claimbus.database.redemptions import Redemption
from claimbus.events.errors import InvalidInputError
from claimbus.events.event import ALL, Audience
from claimbus.events.routing import DOMAINS

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
            tokens.note_use(sql, digest_of(token), NOW + timedelta(seconds=seconds))
            assert tokens.get(sql, known.id).used_at == NOW + timedelta(seconds=noted)


@pytest.mark.parametrize("lives", [timedelta(0), -DAY, tokens.LONGEST + timedelta(seconds=1)])
def test_a_token_lives_a_while_and_not_for_ever(filled: Database, lives: timedelta) -> None:
    with filled.transaction() as sql, pytest.raises(InvalidInputError, match="expires"):
        tokens.add(sql, "a", OPERATOR, ACT, expires_at=NOW + lives)


def test_a_certificate_is_somebodys_by_its_subject(filled: Database) -> None:
    with filled.transaction() as sql:
        known = certificates.add(sql, "CN=uaa,O=Pacific", PACIFIC, ACT)
        shown = Certificate(known.subject, frozenset({"an authority"}), frozenset({"0" * 64}))
        found = access.by_certificate(sql, shown, NOW)
        assert found is not None
        assert found.name == known.subject
        assert found.participant_ids == {"PGAE", "PGA2"}
        assert access.by_certificate(sql, shown._replace(subject="CN=uaa"), NOW) is None
        assert access.by_certificate(sql, shown._replace(subject=""), NOW) is None
        with pytest.raises(DuplicateError, match="revoke"):
            certificates.add(sql, known.subject, OPERATOR, ACT)
        certificates.revoke(sql, known.id, ACT)
        assert access.by_certificate(sql, shown, NOW) is None
        certificates.add(sql, known.subject, OPERATOR, ACT)
        again = access.by_certificate(sql, shown, NOW)
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


@pytest.mark.parametrize(
    ("roles", "publishes"),
    [([Role.PUBLISHER], []), ([Role.OPERATOR], ["oms"]), ([Role.PUBLISHER], ["oms", "settlement"])],
)
def test_a_publisher_and_nobody_else_has_domains_that_exist(roles: list[Role], publishes: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="publishes"):
        Grant(frozenset(roles), publishes=frozenset(publishes))


@given(
    st.frozensets(st.sampled_from(Role)),
    st.frozensets(st.sampled_from(DOMAINS)),
    st.sampled_from(["oms", "market", "system", "omsx"]),
    st.sampled_from(["notice.published", "endpoint.held", "dam.closed"]),
)
def test_a_type_is_published_by_publishers_of_its_domain(
    roles: frozenset[Role], publishes: frozenset[str], domain: str, rest: str
) -> None:
    principal = Principal(name="somebody", roles=roles, publishes=publishes)
    wanted = Role.PUBLISHER in roles and domain in publishes and (domain, rest) != ("system", "endpoint.held")
    assert principal.may_publish(f"{domain}.{rest}") == wanted


@pytest.mark.parametrize("name", ["bus", " Bus!".strip(), "SYSTEM", "CN=system,O=ISO", "市場"])
def test_no_publisher_passes_for_the_bus_itself(database: Database, name: str) -> None:
    grant = Grant(frozenset({Role.PUBLISHER, Role.OPERATOR}), publishes=frozenset({"oms"}))
    subject = name if "=" in name else f"CN={name}"
    with database.transaction() as sql:
        with pytest.raises(InvalidInputError, match="name"):
            tokens.add(sql, name, grant, ACT, expires_at=NOW + DAY)
        with pytest.raises(InvalidInputError, match="name"):
            certificates.add(sql, subject, grant, ACT)
        tokens.add(sql, name, OPERATOR, ACT, expires_at=NOW + DAY)
        certificates.add(sql, subject, OPERATOR, ACT)


def test_a_publisher_publishes_what_was_written_down(database: Database) -> None:
    grant = Grant(frozenset({Role.PUBLISHER}), publishes=frozenset({"oms", "market"}))
    with database.transaction() as sql:
        _, token = tokens.add(sql, "EMS", grant, ACT, expires_at=NOW + DAY)
        known = certificates.add(sql, "CN=ems", grant, ACT)
        found = access.by_token(sql, token, NOW)
        shown = access.by_certificate(sql, Certificate("CN=ems", frozenset(), frozenset()), NOW)
        assert known.grant == tokens.find(sql)[0].grant == grant
        entries = audit.find(sql).rows
    assert found is not None
    assert shown is not None
    assert found.publishes == shown.publishes == {"oms", "market"}
    assert [(one.after or {})["publishes"] for one in entries] == [["market", "oms"]] * 2


def test_a_subject_may_be_one_authoritys_only(database: Database) -> None:
    with database.transaction() as sql:
        one, other = (authorities.put(sql, trustme.CA().cert_pem.bytes(), ACT).id for _ in range(2))
        known = certificates.add(sql, "CN=ops", OPERATOR, ACT, issued_by=[one])

        def opens(*vouching: str) -> bool:
            shown = Certificate("CN=ops", frozenset(vouching), frozenset())
            return access.by_certificate(sql, shown, NOW) is not None

        assert [opens(one), opens(other), opens(one, other), opens()] == [True, False, True, False]
        changed = certificates.set_issuers(sql, known.id, [other, one], ACT)
        assert changed.authorities == tuple(sorted([one, other]))
        assert [opens(one), opens(other), opens()] == [True, True, False]
        assert certificates.set_issuers(sql, known.id, None, ACT).authorities is None
        assert opens(other)
        with pytest.raises(NotFoundError, match="authority"):
            certificates.set_issuers(sql, known.id, ["none"], ACT)
        with pytest.raises(NotFoundError, match="authority"):
            certificates.add(sql, "CN=b", OPERATOR, ACT, issued_by=[one, "none"])
        with pytest.raises(InvalidInputError, match="authority"):
            certificates.set_issuers(sql, known.id, [], ACT)
        changes = [row.after for row in audit.find(sql, kind="certificate").rows if row.action == "changed"]
    assert changes == [{"authorities": None}, {"authorities": sorted([one, other])}]


def test_a_single_certificate_is_revoked_and_restored(database: Database) -> None:
    pem = trustme.CA().issue_cert("a@b.example", common_name="ops").cert_chain_pems[0].bytes()
    fingerprint, subject = revocations.read(pem)
    spelled = ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()
    with database.transaction() as sql:
        certificates.add(sql, subject, OPERATOR, ACT)

        def opens(*shown: str) -> bool:
            return (
                access.by_certificate(sql, Certificate(subject, frozenset(), frozenset(shown)), NOW)
                is not None
            )

        assert opens(fingerprint, "0" * 64)
        revoked = revocations.revoke(sql, spelled, ACT, subject=subject)
        assert (revoked.fingerprint, revoked.subject, revoked.reason) == (fingerprint, subject, "a test")
        assert revocations.find(sql) == (revoked,)
        assert not opens(fingerprint, "0" * 64)
        assert not opens("0" * 64, fingerprint)
        assert opens("0" * 64)
        with pytest.raises(DuplicateError, match="revoked already"):
            revocations.revoke(sql, fingerprint, ACT)
        assert revocations.restore(sql, spelled, ACT) == revoked
        assert opens(fingerprint)
        with pytest.raises(NotFoundError, match="fingerprint"):
            revocations.restore(sql, fingerprint, ACT)
        entries = audit.find(sql, kind="fingerprint").rows
    assert [(one.action, one.object_id, one.reason) for one in entries] == [
        ("restored", fingerprint, "a test"),
        ("revoked", fingerprint, "a test"),
    ]


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "0" * 65, "SHA256 Fingerprint=" + "0" * 64])
def test_a_fingerprint_is_a_sha_256(database: Database, text: str) -> None:
    with database.transaction() as sql, pytest.raises(InvalidInputError, match="fingerprint"):
        revocations.revoke(sql, text, ACT)


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
