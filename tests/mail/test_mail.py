"""What a mail is made of, whatever is put into it."""

from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimbus.events.errors import ConfigurationError, InvalidInputError
from claimbus.mail.mail import Mail, message, sender_of

SENDER = sender_of("Event bus <bus@iso.example>")
HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]


@given(subject=st.text(max_size=300), text=st.text(max_size=300))
def test_no_subject_and_no_text_can_add_a_header(subject: str, text: str) -> None:
    encodable = text.encode(errors="replace").decode()
    mail = Mail(to="jane@pacific.example", subject=subject.encode(errors="replace").decode(), text=encodable)
    read = message_from_bytes(bytes(message(mail, SENDER)), policy=policy.default)
    known = {*HEADERS, "Content-Type", "Content-Transfer-Encoding", "MIME-Version"}
    assert set(read.keys()) <= known
    assert len(read.keys()) == len(set(read.keys()))


@pytest.mark.parametrize(
    "subject", ["held\r\nBcc: eve@evil.example", "held\nBcc: eve@evil.example", "held\rBcc: eve@evil.example"]
)
def test_a_line_break_in_a_name_stays_in_its_header(subject: str) -> None:
    written = bytes(message(Mail(to="jane@pacific.example", subject=subject, text=""), SENDER))
    read = message_from_bytes(written, policy=policy.default)
    assert read["Bcc"] is None
    assert read["Subject"] == "held Bcc: eve@evil.example"


@pytest.mark.parametrize(
    "to",
    [
        "",
        "jane",
        "a,b@c.example",
        "jane@c.example\r\nBcc: eve@evil.example",
        "jane@c.example>, <eve@e.example",
    ],
)
def test_an_address_that_is_none_is_refused(to: str) -> None:
    with pytest.raises(InvalidInputError):
        message(Mail(to=to, subject="", text=""), SENDER)


@pytest.mark.parametrize(
    "sender", ["", "bus", "a@b.example, c@d.example", "bus@iso.example\nBcc: e@e.example"]
)
def test_a_sender_that_is_none_is_refused_by_its_setting(sender: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        sender_of(sender)
    assert wrong.value.field == "CLAIMBUS_MAIL_FROM"


def test_the_same_mail_has_the_same_id_and_another_has_not() -> None:
    one = Mail(to="jane@pacific.example", subject="a", text="b")
    assert one.id == Mail(to="jane@pacific.example", subject="a", text="b").id
    assert one.id != Mail(to="john@pacific.example", subject="a", text="b").id
    assert message(one, SENDER)["Message-ID"] == f"<{one.id}@iso.example>"
