"""What the names that people give must look like."""

import re

from claimbus.events.errors import InvalidInputError
from claimbus.events.event import is_participant_id

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def check_name(field: str, name: str) -> None:
    """Raise InvalidInputError unless this has 1 to 100 printable characters, and no blanks around them."""
    if not 0 < len(name) <= 100 or not name.isprintable() or name != name.strip():
        raise InvalidInputError(
            field, f"{name!r:.120} is no name of 1 to 100 printable characters, without blanks around"
        )


def check_participant_id(participant_id: str) -> None:
    """Raise InvalidInputError unless this is a well-formed participant ID."""
    if not is_participant_id(participant_id):
        raise InvalidInputError(
            "participant", f"{participant_id!r:.60} is no participant ID ([A-Z][A-Z0-9_]{{1,31}})"
        )


def check_email(email: str) -> None:
    """Raise InvalidInputError unless this looks like one e-mail address."""
    if len(email) > 254 or not email.isprintable() or _EMAIL.fullmatch(email) is None:
        raise InvalidInputError("contact", f"{email!r:.120} is no e-mail address")
