"""Letters of one fault are one group, however their numbers, hosts and IDs differ."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.event import identity
from claimbus.events.fingerprint import MAX_ERROR, Fingerprint, fingerprint

ALNUM = string.ascii_lowercase + string.digits
numbers = st.integers().map(str) | st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str)
labels = st.text(ALNUM, min_size=1, max_size=12)
hosts = st.builds("{}.{}.{}".format, labels, labels, st.sampled_from(["com", "example", "org"]))
ids = (
    st.uuids().map(str)
    | st.builds(identity, st.text(), st.text())
    | st.text(ALNUM, min_size=20, max_size=20).map("ep_{}".format)
)
addresses = st.ip_addresses().map(str).filter(lambda one: any(map(str.isdigit, one)))  # a::b may be a name
quoted = st.text(string.ascii_letters + " .0123456789", min_size=1).map(repr)
urls = st.builds("https://{}/{}?q={}".format, hosts, labels, labels)
times = st.datetimes().map(lambda moment: moment.isoformat() + "Z")
words = st.lists(st.text(string.ascii_letters, min_size=1, max_size=8), min_size=1, max_size=12)


def error(detail: str) -> str:
    return fingerprint("exhausted", None, detail).error


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("", ""),
        ("HTTP 422", "HTTP <number>"),
        ("over the endpoint's age limit", "over the endpoint's age limit"),
        ("timeout: operation timed out", "timeout: operation timed out"),
        ("connect: Connection refused (os error 111)", "connect: Connection refused (os error <number>)"),
        (
            "dns: hooks has no address: [Errno -2] Name not known",
            "dns: <host> has no address: [Errno <number>] Name not known",
        ),
        (
            "refused-address: leads to no permitted address: 10.0.0.1 is private, fe80::1 is link-local",
            "refused-address: leads to no permitted address: <address> is private, <address> is link-local",
        ),
        ("tls: received fatal alert: CertificateRequired", "tls: received fatal alert: CertificateRequired"),
        (
            'tls: certificate not valid for name "pgae.example"; it is for DnsName("localhost")',
            "tls: certificate not valid for name <text>; it is for DnsName(<text>)",
        ),
        ("claim 9sV-xk_AbQwErTyUiOpAsDfG has expired", "claim <id> has expired"),
        (
            "claim QwErTyUiOpAsDfGhJkLzXcVb has lost chunk 3 of 7",
            "claim <id> has lost chunk <number> of <number>",
        ),
        (
            "RabbitMQ took it out of endpoint.ep_abcdefghij0123456789.1",
            "RabbitMQ took it out of endpoint.<id>.<number>",
        ),
        (
            "no ticket: timestamp: is no whole number from 0 to under 9223372036854775808",
            "no ticket: timestamp: is no whole number from <number> to under <number>",
        ),
        ("reset by 192.0.2.7:443, then [2001:db8::1]:8443", "reset by <address>, then <address>"),
        ("no route to b2b.pgae.example:8443.", "no route to <host>."),
        ("see https://pgae.example/hooks?token=1.", "see <url>."),
        ("expired at 2026-03-01T12:00:00.123Z, now 12:05:00", "expired at <time>, now <time>"),
        ("request a1b2c3d4e5 of deadbeef01, 0xff", "request <id> of <number>, <number>"),
        ("TLSv1.2 sha256 x509", "TLSv<number> sha<number> x<number>"),
        ("  two\nlines\tand  blanks ", "two lines and blanks"),
    ],
)
def test_what_varies_is_replaced(detail: str, expected: str) -> None:
    assert error(detail) == expected


@given(a=numbers, b=numbers)
def test_numbers_do_not_matter(a: str, b: str) -> None:
    assert error(f"gave up after {a} of 5") == error(f"gave up after {b} of 6")


@given(
    kind=st.sampled_from([hosts, ids, addresses, quoted, urls, times]),
    data=st.data(),
    frame=st.sampled_from(["{}", "no answer from {} in time", "({})", "peer={}, closed", "tls: {}: refused"]),
)
def test_hosts_ids_addresses_and_quoted_texts_do_not_matter(
    kind: st.SearchStrategy[str], data: st.DataObject, frame: str
) -> None:
    assert error(frame.format(data.draw(kind))) == error(frame.format(data.draw(kind)))


@given(a=words, b=words)
def test_texts_that_differ_in_words_stay_apart(a: list[str], b: list[str]) -> None:
    assert (error(" ".join(a)) == error(" ".join(b))) == (a == b)


@given(
    cause=st.text(),
    status=st.none() | st.integers(100, 599),
    detail=st.text()
    | st.text("""ab1.:-/'"`<>@ _[]x%é,""", max_size=400)
    | st.lists(st.one_of(numbers, hosts, ids, addresses, quoted, urls, times, words.map(" ".join))).map(
        "".join
    ),
)
def test_the_fingerprint_of_a_fingerprint_is_the_same(cause: str, status: int | None, detail: str) -> None:
    found = fingerprint(cause, status, detail)
    assert fingerprint(cause, status, found.error) == found
    assert len(found.error) <= MAX_ERROR


def test_cause_status_and_error_tell_groups_apart() -> None:
    alike = fingerprint("exhausted", 503, "HTTP 503")
    assert alike == fingerprint("exhausted", 503, "HTTP 504")
    others = [
        fingerprint("rejected", 503, "HTTP 503"),
        fingerprint("exhausted", 500, "HTTP 503"),
        fingerprint("exhausted", None, "HTTP 503"),
        fingerprint("exhausted", 503, "HTTP"),
    ]
    assert len({one.id for one in [alike, *others]}) == 5


def test_an_id_is_short_and_stays_what_it_is() -> None:
    found = fingerprint("exhausted", 503, "HTTP 503")
    assert found == Fingerprint(found.id, "exhausted", 503, "HTTP <number>")
    assert len(found.id) == 10
    assert set(found.id) <= set(string.ascii_lowercase + "234567")


@pytest.mark.parametrize(
    "piece", ["a.", "1.", "'", '"', "::", "0:", "a1", "a-", "-1", "a://", "a@", "1a", "[1::", "ep_", "claim "]
)
def test_no_text_is_slow(piece: str) -> None:
    """Were a pattern to backtrack without bound, this would never end."""
    assert len(error(piece * 100_000)) <= MAX_ERROR
