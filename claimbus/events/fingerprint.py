"""What alike failures have in common: cause, HTTP status, and the error without what differs each time.

Numbers, IDs, hosts, addresses, URLs, times and quoted strings become placeholders, so that a thousand letters
of one fault are one group, while texts that differ in their words stay apart.
"""

import base64
import hashlib
import json
import re
from functools import lru_cache
from typing import Final, NamedTuple

MAX_DETAIL: Final = 2000
"""Characters of a detail that are looked at."""

MAX_ERROR: Final = 300
"""Characters of an error that are kept and compared."""

# In this order at each place; what is not quoted or a number begins where a word does. A stranger may have
# chosen the text, so nothing here backtracks far. No group is possessive: Python 3.11.2 gets those wrong.
_varying = re.compile(
    r"""
    (?P<text> "[^"]*+" | `[^`]*+` | (?<![\w>])'[^']++'(?![\w<]) )
    | (?<!\w)(?:
        (?P<url> [a-z][a-z0-9+.-]*+://[^\s"'`<>]+(?<![.,;:)\]]) )
        | (?P<mail> (?<![.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+ )
        | (?P<time>
            \d{4}-\d\d-\d\d(?:[T\ ]\d\d:\d\d(?::\d\d(?:\.\d++)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b
            | \d\d:\d\d:\d\d(?:\.\d++)?\b(?!:)
        )
        | (?P<address>
            \d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b(?!\.\d)
            | (?<!:)\[?(?=[0-9a-f:]*\d)(?:
                HEX(?::HEX){7} | (?:HEX(?::HEX){0,7})?::(?:HEX(?:[:.]HEX){0,8})?
            )(?:%\w++)?(?:\]:\d++|\])?(?!\w)
        )
        | (?P<host>
            (?<![.-])(?:[a-z0-9-]++\.)+[a-z][a-z-]++(?::\d++)?(?![\w-])
            | localhost(?::\d++)?\b
            | (?<!\S)[^\s<>]++(?=\ has\ no\ address)
        )
        | (?P<id>
            [0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b
            | (?:dl|ep|evt|rc|rp)_[\w-]++
            | (?<=\bclaim\ )[\w-]{22,64}(?![\w-])
            | (?=\w{8})(?:[^\W\d]++\d++[^\W\d]++\d|\d++[^\W\d]++\d++[^\W\d])\w*+
        )
    )
    | (?P<number>
        \b(?:0x[0-9a-f]++ | (?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{6,}+)\b
        | (?:(?<![\w>-])-)?\d++(?:[.,]\d++)*
    )
    """.replace("HEX", "[0-9a-f]{1,4}"),
    re.VERBOSE,
)


class Fingerprint(NamedTuple):
    """What a group of letters has in common; ``id`` is derived from the rest."""

    id: str
    cause: str
    status: int | None
    error: str


@lru_cache(maxsize=4096)
def fingerprint(cause: str, status: int | None, detail: str) -> Fingerprint:
    """Return the fingerprint of a letter. That of a fingerprint's own ``error`` is the same."""
    error = _normal(" ".join(detail[:MAX_DETAIL].split()))
    digest = hashlib.sha256(json.dumps([cause, status, error]).encode()).digest()
    return Fingerprint(base64.b32encode(digest)[:10].decode().lower(), cause, status, error)


def _normal(text: str) -> str:
    """Replace what varies until nothing is left of it: a replacement, or the cut, may lay bare another."""
    while True:
        replaced = _varying.sub(lambda found: f"<{found.lastgroup}>", text)[:MAX_ERROR].rstrip()
        if replaced == text:
            return text
        text = replaced
