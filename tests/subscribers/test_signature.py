"""Trust: what the ISO signed is believed, everything else is not."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from claimbus.events.errors import ClaimbusError, ConfigurationError
from claimbus.subscribers import MalformedEventError, SignatureError, verify
from consumers.signature import new_secret
from tests.subscribers.sender import SECRET, an_event, signed

OTHER = new_secret()
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(body=st.binary(max_size=2000))
def test_any_body_is_verified_whatever_its_bytes(body: bytes) -> None:
    event = verify(*signed(an_event(body=body)), [SECRET])
    assert event.body == body


def test_what_the_standard_library_of_webhooks_signed_is_verified() -> None:
    event, now = an_event(), datetime.now(UTC)
    headers, body = signed(event)
    headers["webhook-signature"] = Webhook(SECRET).sign(event.identity, now, body.decode())
    headers["webhook-timestamp"] = str(int(now.timestamp()))
    assert verify(headers, body, [SECRET]).id == event.id


@given(data=st.data())
def test_whatever_is_tampered_with_is_refused(data: st.DataObject) -> None:
    headers, body = signed(an_event(), at=NOW.timestamp())
    part = data.draw(st.sampled_from(["body", "webhook-id", "webhook-timestamp", "webhook-signature"]))
    before = body if part == "body" else headers[part].encode()
    place = data.draw(st.integers(0, len(before) - 1))
    letter = data.draw(st.sampled_from([one for one in b"012345678QZz+/= " if one != before[place]]))
    after = before[:place] + bytes([letter]) + before[place + 1 :]
    if part == "body":
        body = after
    else:
        headers[part] = after.decode()
    with pytest.raises(SignatureError):
        verify(headers, body, [SECRET], now=NOW)


@given(st.text(max_size=200), st.text(max_size=20), st.text(max_size=200))
def test_junk_in_the_headers_is_refused(signature: str, timestamp: str, message_id: str) -> None:
    headers, body = signed(an_event())
    headers |= {"webhook-signature": signature, "webhook-timestamp": timestamp, "webhook-id": message_id}
    with pytest.raises(SignatureError):
        verify(headers, body, [SECRET])


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_without_a_header_of_the_signature_it_is_refused(name: str) -> None:
    headers, body = signed(an_event())
    del headers[name]
    with pytest.raises(SignatureError) as refused:
        verify(headers, body, [SECRET])
    assert refused.value.fault == "missing"


def test_another_secret_is_no_proof() -> None:
    with pytest.raises(SignatureError) as refused:
        verify(*signed(an_event(), OTHER), [SECRET])
    assert refused.value.fault == "mismatch"


def test_during_a_rotation_either_side_may_have_two_secrets() -> None:
    verify(*signed(an_event(), OTHER, SECRET), [SECRET])
    verify(*signed(an_event(), SECRET), [OTHER, SECRET])
    verify(*signed(an_event(), SECRET, OTHER), [new_secret(), OTHER])


def test_signatures_of_other_schemes_are_passed_over() -> None:
    headers, body = signed(an_event())
    headers["webhook-signature"] = f"v1a,abc v2,def {headers['webhook-signature']}"
    verify(headers, body, [SECRET])
    headers["webhook-signature"] = headers["webhook-signature"].replace(" v1,", " v2,")
    with pytest.raises(SignatureError):
        verify(headers, body, [SECRET])


@pytest.mark.parametrize(("off", "fits"), [(-301, False), (-299, True), (299, True), (301, False)])
def test_a_timestamp_far_from_our_clock_is_refused(off: int, fits: bool) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    headers, body = signed(an_event(), at=now.timestamp() + off)
    if fits:
        verify(headers, body, [SECRET], now=now)
        return
    with pytest.raises(SignatureError) as refused:
        verify(headers, body, [SECRET], now=now)
    assert refused.value.fault == "timestamp"


def test_the_tolerance_is_the_callers() -> None:
    headers, body = signed(an_event(), at=time.time() - 1000)
    verify(headers, body, [SECRET], tolerance=timedelta(hours=1))


def test_header_names_may_have_any_case() -> None:
    headers, body = signed(an_event())
    assert verify({name.title(): value for name, value in headers.items()}, body, [SECRET]).attempt == 1


@pytest.mark.parametrize(
    "secrets",
    [
        [],
        pytest.param(SECRET, id="no list"),
        ["whsec_"],
        ["whsec_not base64!"],
        ["whsec_\u00e9"],
        ["whsec_abcd"],
    ],
)
def test_unusable_secrets_are_told_without_showing_them(secrets: list[str]) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        verify(*signed(an_event()), secrets)
    assert "not base64" not in str(wrong.value)


def test_a_refusal_tells_neither_secret_nor_signature() -> None:
    headers, body = signed(an_event(), OTHER)
    with pytest.raises(ClaimbusError) as refused:
        verify(headers, body, [SECRET])
    assert SECRET.removeprefix("whsec_") not in repr(refused.value)
    assert headers["webhook-signature"] not in repr(refused.value)


def test_an_id_that_is_not_of_this_source_and_event_is_refused() -> None:
    """The ``ce-`` headers are not signed themselves, but the signed ID derives from two of them."""
    headers, body = signed(an_event())
    for name in ("ce-id", "ce-source"):
        with pytest.raises(MalformedEventError) as refused:
            verify(headers | {name: "another"}, body, [SECRET])
        assert refused.value.field == "id"
