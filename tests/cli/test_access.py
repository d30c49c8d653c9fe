"""``claimbus access``: who may use the portal."""

from datetime import datetime

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.cli.terminal import Terminal


@pytest.fixture
def with_participant(terminal: Terminal) -> Terminal:
    terminal("participants", "add", "PGAE", "--organisation", "Pacific")
    return terminal


def test_a_token_is_shown_once_listed_and_revoked(with_participant: Terminal) -> None:
    terminal = with_participant
    add = ("access", "tokens", "add", "PGAE's daemon", "--role", "participant", "--participant", "PGAE")
    added = terminal(*add, "--lives", "30d", "--actor", "jane", "--reason", "asked for", "--json").json
    assert added["token"].startswith("cbt_")
    lives = datetime.fromisoformat(added["expires_at"]) - datetime.fromisoformat(added["created_at"])
    assert (added["roles"], added["participant"], lives.days) == (["participant"], "PGAE", 30)
    listed = terminal("access", "tokens", "list")
    assert "PGAE's daemon" in listed.out
    assert added["token"] not in listed.out
    revoked = terminal("access", "tokens", "revoke", added["id"], "--json").json
    assert revoked["revoked_at"]
    entries = terminal("audit", "list", "--kind", "token", "--json").json
    assert [(one["action"], one["object_id"]) for one in entries] == [
        ("revoked", added["id"]),
        ("added", added["id"]),
    ]
    assert added["token"] not in str(entries)
    assert "cannot be shown again" in terminal(*add).err


def test_a_certificate_is_known_by_its_subject_or_by_its_file(with_participant: Terminal) -> None:
    terminal = with_participant
    issued = trustme.CA().issue_cert("a@b.example", common_name="uaa", organization_name="Pacific")
    file = terminal.directory / "uaa.pem"
    issued.cert_chain_pems[0].write_to_path(file)
    add = ("access", "certificates", "add")
    by_file = terminal(*add, file, "--role", "uaa", "--organisation", "Pacific", "--json").json
    assert by_file["subject"].startswith("CN=uaa,")
    named = terminal(*add, "CN=ops,O=ISO", "--role", "operator", "--role", "admin", "--json").json
    assert (named["subject"], named["roles"]) == ("CN=ops,O=ISO", ["admin", "operator"])
    assert len(terminal("access", "certificates", "list", "--json").json) == 2
    assert terminal("access", "certificates", "revoke", named["id"], "--json").json["revoked_at"]


def test_a_publisher_is_for_the_domains_that_were_written_down(terminal: Terminal) -> None:
    add = ("--role", "publisher", "--publishes", "oms", "--publishes", "market", "--json")
    assert terminal("access", "tokens", "add", "ems", *add).json["publishes"] == ["market", "oms"]
    assert terminal("access", "certificates", "add", "CN=ems", *add).json["publishes"] == ["market", "oms"]
    assert terminal("access", "tokens", "list", "--json").json[0]["publishes"] == ["market", "oms"]


def test_a_subject_is_bound_to_the_authorities_that_may_issue_it(terminal: Terminal) -> None:
    ids = []
    for number in range(2):
        file = terminal.directory / f"ca{number}.pem"
        trustme.CA().cert_pem.write_to_path(file)
        ids.append(terminal("access", "authorities", "add", file, "--json").json["id"])
    add = ("access", "certificates", "add", "CN=ops", "--role", "operator", "--authority", ids[0], "--json")
    added = terminal(*add).json
    assert added["authorities"] == ids[:1]
    both = ("--authority", ids[0], "--authority", ids[1], "--json")
    changed = terminal("access", "certificates", "issuers", added["id"], *both).json
    assert changed["authorities"] == sorted(ids)
    assert terminal("access", "certificates", "issuers", added["id"], "--json").json["authorities"] is None


@pytest.mark.parametrize("by_file", [True, False])
def test_a_single_certificate_is_revoked_listed_and_restored(terminal: Terminal, by_file: bool) -> None:
    issued = trustme.CA().issue_cert("a@b.example", common_name="daemon")
    file = terminal.directory / "daemon.pem"
    issued.cert_chain_pems[0].write_to_path(file)
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    fingerprint = certificate.fingerprint(SHA256()).hex()
    which = file if by_file else fingerprint.upper()
    revoked = terminal("access", "certificates", "revoke", which, "--reason", "lost", "--json").json
    assert (revoked["fingerprint"], revoked["reason"]) == (fingerprint, "lost")
    assert revoked["subject"] == (certificate.subject.rfc4514_string() if by_file else "")
    assert terminal("access", "certificates", "list", "--revoked", "--json").json == [revoked]
    assert terminal("access", "certificates", "list", "--json").json == []
    terminal("access", "certificates", "restore", which, "--reason", "found again")
    assert "no single certificate is revoked" in terminal("access", "certificates", "list", "--revoked").err
    entries = terminal("audit", "list", "--kind", "fingerprint", "--json").json
    assert [(one["action"], one["object_id"], one["reason"]) for one in entries] == [
        ("restored", fingerprint, "found again"),
        ("revoked", fingerprint, "lost"),
    ]


def test_an_authority_counts_for_a_period(terminal: Terminal) -> None:
    file = terminal.directory / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    assert "client certificates do not count" in terminal("access", "authorities", "list").err
    period = ("--from", "2026-01-01T00:00Z", "--to", "2036-01-01T00:00Z")
    added = terminal("access", "authorities", "add", file, *period, "--json").json
    assert (added["counts_from"], added["counts_to"]) == ("2026-01-01T00:00:00Z", "2036-01-01T00:00:00Z")
    assert added["expires_at"]
    ended = terminal(
        "access", "authorities", "revoke", added["id"], "--at", "2030-01-01T00:00Z", "--json"
    ).json
    assert ended["counts_to"] == "2030-01-01T00:00:00Z"
    (listed,) = terminal("access", "authorities", "list", "--json").json
    assert listed == ended


@pytest.mark.parametrize(
    ("typed", "code", "reason"),
    [
        (["tokens", "add", "a", "--role", "participant"], 1, "role: participant goes with"),
        (["tokens", "add", "a", "--role", "uaa", "--participant", "NONE"], 1, "there is no participant"),
        (
            ["tokens", "add", "a", "--role", "operator", "--participant", "PGAE"],
            1,
            "role: operator is the ISO's",
        ),
        (["tokens", "add", "a", "--role", "operator", "--lives", "900d"], 1, "expires: must be within"),
        (["tokens", "add", "a", "--role", "emperor"], 2, "emperor"),
        (["tokens", "add", "a"], 2, "--role"),
        (["tokens", "revoke", "tok_none"], 1, "there is no token"),
        (["tokens", "add", "ems", "--role", "publisher"], 1, "publishes: goes with the role publisher"),
        (["tokens", "add", "a", "--role", "operator", "--publishes", "oms"], 1, "publishes: goes with"),
        (["tokens", "add", "a", "--role", "publisher", "--publishes", "x"], 1, "publishes: 'x' is no domain"),
        (["tokens", "add", "bus", "--role", "publisher", "--publishes", "oms"], 1, "the bus's own source"),
        (["certificates", "add", "CN=a", "--role", "admin", "--authority", "x"], 1, "there is no authority"),
        (["certificates", "revoke", "none.pem"], 1, "fingerprint: 'none.pem' is no SHA-256"),
        (["certificates", "revoke", "crt_none"], 1, "there is no certificate"),
        (["certificates", "restore", "0" * 64], 1, "is revoked"),
        (["certificates", "add", "daemon", "--role", "operator"], 1, "subject: 'daemon' is no name"),
        (["authorities", "add", "none.pem"], 1, "none.pem: No such file"),
    ],
)
def test_what_is_wrong_is_told(with_participant: Terminal, typed: list[str], code: int, reason: str) -> None:
    assert reason in with_participant("access", *typed, code=code).err
