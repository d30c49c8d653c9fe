"""A mail, and how it travels."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from hashlib import sha256
from typing import Final, NamedTuple

from claimbus.events.errors import ConfigurationError, InvalidInputError

_POLICY: Final = policy.SMTP.clone(cte_type="7bit")
"""Whatever is not ASCII is encoded: not every server takes eight bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A plain text for one address. Its ``id`` is the same for the same mail, so readers drop a duplicate."""

    to: str
    subject: str
    text: str

    @property
    def id(self) -> str:
        """The part of its Message-ID before the ``@``."""
        return sha256(f"{self.to}\n{self.subject}\n{self.text}".encode()).hexdigest()[:32]


class Refusal(NamedTuple):
    """Why a mail was not taken; ``for_good``: trying it again is of no use."""

    reason: str
    for_good: bool


def sender_of(text: str) -> Address:
    """Read whom mails are from: ``bus@iso.example``, or ``Event bus <bus@iso.example>``.

    Raises ConfigurationError.
    """
    try:
        header = _POLICY.header_factory("From", text)
        (sender,) = header.addresses
        if header.defects or not sender.username or not sender.domain:
            raise ValueError(text)  # noqa: TRY301 - one way out
        return Address(sender.display_name, addr_spec=sender.addr_spec)
    except (ValueError, IndexError, MessageError) as wrong:
        reason = f"{text!r:.100} is no mail address; write Event bus <bus@iso.example>"
        raise ConfigurationError("CLAIMBUS_MAIL_FROM", reason) from wrong


def message(mail: Mail, sender: Address) -> EmailMessage:
    """Return the message. Raises InvalidInputError for an address that can be no header."""
    made = EmailMessage(_POLICY)
    try:
        made["From"] = sender
        made["To"] = Address(addr_spec=mail.to)
    except (ValueError, IndexError, MessageError) as wrong:
        raise InvalidInputError("contact", f"{mail.to!r:.120} is no mail address") from wrong
    made["Subject"] = " ".join(mail.subject.split())  # a header is one line
    made["Date"] = datetime.now(UTC)
    made["Message-ID"] = f"<{mail.id}@{sender.domain}>"
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices in answer
    made.set_content(mail.text)
    return made
