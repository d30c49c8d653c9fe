"""What the doctor finds."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One line of the doctor's; a message that is no "ok" says what to do."""

    severity: Literal["ok", "warning", "error"]
    subject: str
    message: str
