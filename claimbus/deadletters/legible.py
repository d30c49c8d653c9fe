"""Bytes made legible for people: indented JSON, text, or a hex dump; harmless on a terminal."""

import codecs
import json
from email.message import Message
from typing import Final, Literal, NamedTuple

from claimbus.events.bodies import is_json

TEXT_BYTES: Final = 64 << 10
HEX_BYTES: Final = 4 << 10
"""So many bytes are shown at most."""

Form = Literal["json", "text", "hex"]


class Legible(NamedTuple):
    """Text that shows bytes in a form; ``remark`` says what is missing, or why the form is another."""

    form: Form
    text: str
    remark: str


def legible(start: bytes, size: int, content_type: str) -> Legible:
    """Show a body of ``size`` bytes from its first `TEXT_BYTES`, as its content type asks for."""
    message = Message()
    message["content-type"] = content_type
    kind, charset = message.get_content_type(), message.get_content_charset("utf-8")
    remarks = [] if len(start) == size else [f"the first {len(start):,} of {size:,} bytes"]
    if is_json(content_type):
        if not remarks and (indented := _indented(start)) is not None:
            return Legible("json", indented, "")
        remarks += [] if remarks else ["it is not JSON"]
    elif not (message.get_content_maintype() == "text" or kind == "application/xml" or kind.endswith("+xml")):
        return _hex_dump(start, size)
    try:
        decoder = codecs.getincrementaldecoder(charset)(errors="replace")
    except LookupError:
        remarks.append(f"its character set {charset!r:.40} is unknown; shown as UTF-8")
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return Legible("text", harmless(decoder.decode(start, final=len(start) == size)), "; ".join(remarks))


def harmless(text: str) -> str:
    """Escape what would move a terminal's cursor, or turn the direction of what follows."""
    return "".join(one if one.isprintable() or one in "\n\t" else _escaped(one) for one in text)


def _indented(body: bytes) -> str | None:
    try:
        return harmless(json.dumps(json.loads(body), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return None


def _hex_dump(start: bytes, size: int) -> Legible:
    shown = start[:HEX_BYTES]
    lines = []
    for offset in range(0, len(shown), 16):
        row = shown[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{offset:08x}  {row.hex(' '):<47}  {text}")
    remark = "" if len(shown) == size else f"the first {len(shown):,} of {size:,} bytes"
    return Legible("hex", "\n".join(lines), remark)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
