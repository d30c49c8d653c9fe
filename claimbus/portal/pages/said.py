"""What a page says about what was just done: a word of its address, from this list and no other."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from starlette.responses import RedirectResponse

NAME: Final = "said"
LATE: Final = "late"

SAID: Final[Mapping[str, str]] = {
    "added": "The endpoint was added.",
    "saved": "Saved.",
    "participant": "The participant was added. Put in what it owns, and whom to tell.",
    LATE: "Saved, but not in effect everywhere yet: the workers will see to that by themselves.",
    "subscribed": "The subscriptions were changed.",
    "paused": "Paused. Its queue keeps everything that comes.",
    "paused-replay": "Paused. Nothing more is sent until somebody resumes it.",
    "resumed": "It goes on.",
    "enabled": "Enabled.",
    "disabled": "Disabled. Its queue keeps everything that comes.",
    "removed": "The endpoint was removed. What was left in its queue becomes dead letters.",
    "recovering": "Recovery has begun. How far it is stands below; what was missed is on its way.",
    "stopped": "Stopped. Within some seconds nothing more of it is sent; the rest may be recovered again.",
    "resent": "Sent once more. The new attempt appears here when it has been made.",
    "replaying": "The replay has begun.",
    "cancelled": "Cancelled. Letters that were not sent are dead letters as before.",
    "discarded": "The letters were set aside. They can be restored until they are forgotten.",
    "restored": "The letters wait as dead letters again.",
}


def back(to: str, word: str, *, fragment: str = "", **parameters: str) -> RedirectResponse:
    """Send a browser to a page after a form, with what that page is to say, and to a part of the page."""
    rest = "".join(f"&{name}={quote(value, safe='')}" for name, value in parameters.items())
    place = f"#{fragment}" if fragment else ""
    return RedirectResponse(f"{to}?{NAME}={word}{rest}{place}", status_code=303)
