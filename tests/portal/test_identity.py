"""Who somebody is: tokens, client certificates, authorities that roll over, proxies that are believed."""

import base64
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme
from pyreqwest.exceptions import PyreqwestError
from structlog.testing import capture_logs

from claimbus.cli.settings import Settings
from claimbus.database import authorities, certificates, revocations, tokens
from claimbus.database.access import Role
from claimbus.portal import trust
from tests.portal.portals import ACT, Got, Portal, identity, open_portal, subject_of
from tests.waiting import eventually

DAEMON = subject_of("daemon")


async def ask(portal: Portal, **how: object) -> int:
    """The status that PGAE's claim is answered with."""
    place = await portal.claim(audience=frozenset({"PGAE"}))
    got: Got = await portal.get(f"/v1/claims/{place.claim_id}", **how)  # type: ignore[arg-type]
    return got.status


@pytest.fixture
def known(portal: Portal) -> Portal:
    """A portal that knows the daemon of PGAE by its certificate's subject."""
    portal.participant("PGAE")
    portal.known(DAEMON, Role.PARTICIPANT, participant="PGAE")
    return portal


@pytest.fixture
async def behind_a_proxy(settings: Settings, tmp_path: Path) -> AsyncIterator[Portal]:
    """As `known`; all connections come from the proxy."""
    proxied = settings.model_copy(update={"portal_proxies": (ip_network("127.0.0.0/8"),)})
    async with open_portal(proxied, tmp_path) as portal:
        portal.participant("PGAE")
        portal.known(DAEMON, Role.PARTICIPANT, participant="PGAE")
        yield portal


async def refused(portal: Portal, shown: bytes) -> bool:
    """Whether a certificate opens nothing, be it TLS or the application that refuses it."""
    try:
        return await ask(portal, identity=shown, anew=True) == 401
    except PyreqwestError:
        return True


def told(pem: bytes) -> tuple[str, str]:
    """A certificate and what follows it, as ``Client-Cert`` and ``Client-Cert-Chain``."""
    marker = b"-----BEGIN CERTIFICATE-----"
    ders = [ssl.PEM_cert_to_DER_cert((marker + one).decode()) for one in pem.split(marker)[1:]]
    own, *between = [f":{base64.b64encode(der).decode()}:" for der in ders]
    return own, ", ".join(between)


async def test_a_token_opens_until_it_is_revoked(portal: Portal) -> None:
    portal.participant("PGAE")
    token = portal.token_of("PGAE")
    assert await ask(portal, token=token) == 200
    with portal.services.database.transaction() as sql:
        (known,) = tokens.find(sql)
        tokens.revoke(sql, known.id, ACT)

    async def is_refused() -> bool:
        return await ask(portal, token=token) == 401

    await eventually(is_refused)


async def test_a_token_opens_until_it_expires(portal: Portal) -> None:
    portal.participant("PGAE")
    token = portal.token(Role.PARTICIPANT, participant="PGAE", lives=timedelta(seconds=2))
    assert await ask(portal, token=token) == 200

    async def is_refused() -> bool:
        return await ask(portal, token=token) == 401

    await eventually(is_refused)


async def test_what_is_no_token_opens_nothing_and_is_not_logged(portal: Portal) -> None:
    portal.participant("PGAE")
    token = portal.token_of("PGAE")
    shown = [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {token}",
        token,
        f"Bearer {token}x",
        "Bearer é",
    ]
    with capture_logs() as logs:
        for authorization in shown:
            assert await ask(portal, headers={"authorization": authorization}) == 401
        assert await ask(portal, headers={"authorization": f"bearer {token}"}) == 200
    assert token not in str(logs)


async def test_the_use_of_a_token_is_noted(portal: Portal) -> None:
    portal.participant("PGAE")
    await ask(portal, token=portal.token_of("PGAE"))

    def used() -> bool:
        with portal.services.database.snapshot() as sql:
            return tokens.find(sql)[0].used_at is not None

    await eventually(used)


async def test_a_certificate_opens_by_its_subject_if_a_trusted_authority_issued_it(known: Portal) -> None:
    ca, stranger = trustme.CA(), trustme.CA()
    assert await refused(known, identity(ca, "daemon"))  # nobody is trusted yet
    await known.trusted(ca)
    assert await ask(known, identity=identity(ca, "daemon"), anew=True) == 200
    assert await ask(known, identity=identity(ca, "another")) == 401
    assert await ask(known, identity=identity(ca, "daemon", organisation="Another")) == 401
    assert await refused(known, identity(stranger, "daemon"))
    assert await ask(known) == 401


async def test_a_subject_may_be_one_authoritys_only(portal: Portal) -> None:
    """Another one that is trusted too cannot issue it; until it may, because the first one rolls over."""
    own, other = trustme.CA(), trustme.CA()
    own_id, other_id = await portal.trusted(own), await portal.trusted(other)
    portal.participant("PGAE")
    known = portal.known(DAEMON, Role.PARTICIPANT, participant="PGAE", issued_by=[own_id])
    genuine, forged = identity(own, "daemon"), identity(other, "daemon")
    with capture_logs() as logs:
        assert await ask(portal, identity=forged) == 401
    (refusal,) = [one for one in logs if one["event"] == "certificate opens nothing"]
    assert (refusal["subject"], refusal["authorities"]) == (DAEMON, [other_id])
    assert await ask(portal, identity=genuine) == 200
    with portal.services.database.transaction() as sql:
        certificates.set_issuers(sql, known, [own_id, other_id], ACT)

    async def both_open() -> bool:
        assert await ask(portal, identity=genuine) == 200
        return await ask(portal, identity=forged) == 200

    await eventually(both_open)


async def test_a_subject_of_a_root_may_come_from_an_authority_between_that_is_trusted_too(
    portal: Portal,
) -> None:
    root = trustme.CA()
    between = root.create_child_ca()
    root_id, _ = await portal.trusted(root), await portal.trusted(between)
    portal.participant("PGAE")
    portal.known(DAEMON, Role.PARTICIPANT, participant="PGAE", issued_by=[root_id])
    assert await ask(portal, identity=identity(between, "daemon")) == 200


async def test_a_single_certificate_is_revoked_and_restored(known: Portal) -> None:
    """On the connection that it has; another of the same subject goes on."""
    ca = trustme.CA()
    await known.trusted(ca)
    lost, renewed = identity(ca, "daemon"), identity(ca, "daemon")
    assert await ask(known, identity=lost) == 200
    fingerprint, subject = revocations.read(lost)
    with known.services.database.transaction() as sql:
        revocations.revoke(sql, fingerprint, ACT, subject=subject)

    async def is_refused() -> bool:
        return await ask(known, identity=lost) == 401

    await eventually(is_refused)
    assert await refused(known, lost)
    assert await ask(known, identity=renewed) == 200
    with known.services.database.transaction() as sql:
        revocations.restore(sql, fingerprint, ACT)

    async def is_open() -> bool:
        return await ask(known, identity=lost) == 200

    await eventually(is_open)


async def test_what_an_authority_between_issued_is_revoked_with_it(known: Portal) -> None:
    root = trustme.CA()
    between = root.create_child_ca()
    await known.trusted(root)
    with known.services.database.transaction() as sql:
        revocations.revoke(sql, revocations.read(between.cert_pem.bytes())[0], ACT)
    assert await refused(known, identity(between, "daemon"))
    assert await ask(known, identity=identity(root, "daemon")) == 200


async def test_an_authority_may_have_others_between_it_and_the_client(known: Portal) -> None:
    root = trustme.CA()
    between = root.create_child_ca()
    await known.trusted(root)
    assert await ask(known, identity=identity(between, "daemon")) == 200


async def test_an_authority_that_another_issued_is_trusted_without_that_one(known: Portal) -> None:
    root = trustme.CA()
    between = root.create_child_ca()
    await known.trusted(between)
    assert await ask(known, identity=identity(between, "daemon")) == 200
    assert await refused(known, identity(root, "daemon"))


async def test_a_token_is_judged_alone_whatever_certificate_comes_with_it(known: Portal) -> None:
    ca = trustme.CA()
    await known.trusted(ca)
    daemon = identity(ca, "daemon")
    assert await ask(known, identity=daemon) == 200
    assert await ask(known, identity=daemon, token="cbt_" + "A" * 43) == 401


async def test_an_authority_rolls_over_without_a_gap(known: Portal) -> None:
    """While the portal runs: the new one counts from its date on, the old one until its end."""
    old, new = trustme.CA(), trustme.CA()
    before, renewed = identity(old, "daemon"), identity(new, "daemon")
    old_id = await known.trusted(old)
    assert await ask(known, identity=before) == 200

    await known.trusted(new, since=timedelta(seconds=-2))  # known already, counting in two seconds
    assert await refused(known, renewed)

    async def counts() -> bool:
        assert await ask(known, identity=before) == 200  # on the connection that it has
        return not await refused(known, renewed)

    await eventually(counts)
    assert await ask(known, identity=before, anew=True) == 200

    ends = datetime.now(UTC) + timedelta(seconds=1)
    with known.services.database.transaction() as sql:
        authorities.end(sql, old_id, ACT, at=ends)
    await known.services.trust.refresh()
    assert await ask(known, identity=before) == 200

    async def is_over() -> bool:
        assert await ask(known, identity=renewed) == 200
        return await ask(known, identity=before) == 401  # the connection stands, and opens nothing any more

    await eventually(is_over)
    assert await refused(known, before)
    assert await ask(known, identity=renewed, anew=True) == 200


async def test_the_portal_hears_of_a_new_authority_by_itself(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "FRESH_EVERY", 0.05)
    async with open_portal(settings, tmp_path) as portal:
        portal.participant("PGAE")
        portal.known(DAEMON, Role.PARTICIPANT, participant="PGAE")
        ca = trustme.CA()
        with portal.services.database.transaction() as sql:
            authorities.put(sql, ca.cert_pem.bytes(), ACT)

        async def counts() -> bool:
            return not await refused(portal, identity(ca, "daemon"))

        await eventually(counts)


async def test_a_proxys_word_counts_for_its_client(behind_a_proxy: Portal) -> None:
    root = trustme.CA()
    between = root.create_child_ca()
    await behind_a_proxy.trusted(root)
    own, chain = told(identity(between, "daemon"))
    headers = {"client-cert": own, "client-cert-chain": chain}
    assert await ask(behind_a_proxy, headers=headers) == 200
    assert await ask(behind_a_proxy, headers={"client-cert": own}) == 401  # nothing leads to the root
    other, chain = told(identity(between, "another"))
    assert await ask(behind_a_proxy, headers={"client-cert": other, "client-cert-chain": chain}) == 401


async def test_a_proxys_word_is_verified(behind_a_proxy: Portal) -> None:
    ca = trustme.CA()
    await behind_a_proxy.trusted(ca)
    good, _ = told(identity(ca, "daemon"))
    forged, _ = told(identity(trustme.CA(), "daemon"))
    for wrong in (
        forged,
        "",
        "::",
        ":AAAA:",
        good.strip(":"),
        good + ";a=1",
        f":{'A' * 20_000}:",
        "%2B",
        ":é:",
    ):
        assert await ask(behind_a_proxy, headers={"client-cert": wrong}) == 401
    assert await ask(behind_a_proxy, headers={"client-cert": good}) == 200


async def test_a_proxys_word_is_held_to_the_authority_and_to_what_was_revoked(
    behind_a_proxy: Portal,
) -> None:
    portal, own, other = behind_a_proxy, trustme.CA(), trustme.CA()
    own_id, _ = await portal.trusted(own), await portal.trusted(other)
    portal.known(subject_of("ops"), Role.OPERATOR, issued_by=[own_id])
    good, lost = identity(own, "ops"), identity(own, "ops")
    with portal.services.database.transaction() as sql:
        revocations.revoke(sql, revocations.read(lost)[0], ACT)
    answers = [
        await ask(portal, headers={"client-cert": told(shown)[0]})
        for shown in (good, lost, identity(other, "ops"))
    ]
    assert answers == [200, 401, 401]


async def test_two_certificates_from_a_proxy_are_none(behind_a_proxy: Portal) -> None:
    """A proxy that adds its own and lets its client's through must not be led astray."""
    ca = trustme.CA()
    await behind_a_proxy.trusted(ca)
    good, _ = told(identity(ca, "daemon"))
    twice: object = [("client-cert", good), ("client-cert", told(identity(trustme.CA(), "x"))[0])]
    assert await ask(behind_a_proxy, headers=twice) == 401


async def test_a_proxys_own_certificate_is_nobodys(behind_a_proxy: Portal) -> None:
    ca = trustme.CA()
    await behind_a_proxy.trusted(ca)
    assert await ask(behind_a_proxy, identity=identity(ca, "daemon")) == 401


async def test_anybody_elses_word_is_ignored_and_logged(known: Portal) -> None:
    ca = trustme.CA()
    await known.trusted(ca)
    own, chain = told(identity(ca, "daemon"))
    with capture_logs() as logs:
        assert await ask(known, headers={"client-cert": own, "client-cert-chain": chain}) == 401
        known.known(subject_of("other"), Role.OPERATOR)
        assert await ask(known, identity=identity(ca, "daemon"), headers={"client-cert": own}) == 200
    assert [one["event"] for one in logs].count("Client-Cert ignored") == 2
    assert own not in str(logs)
