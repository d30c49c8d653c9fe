"""A page as a browser reads it: its elements, their attributes, and its text."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlsplit

Attributes = dict[str, str]

ADDRESSES: Final = frozenset({"action", "formaction", "href", "poster", "src", "srcset"})
"""Attributes that hold an address."""


@dataclass
class Markup:
    """``elements`` are each one's name and attributes, in their order; ``text`` is what lies between them."""

    elements: list[tuple[str, Attributes]] = field(default_factory=list)
    text: str = ""

    @classmethod
    def of(cls, page: str) -> "Markup":
        """Read a page."""
        reader = _Reader()
        reader.feed(page)
        reader.close()
        return cls(reader.elements, "".join(reader.texts))

    def named(self, name: str) -> list[Attributes]:
        """The attributes of each element of a name."""
        return [attributes for found, attributes in self.elements if found == name]

    def unsafe(self) -> list[str]:
        """What a strict policy would have to allow: scripts and styles of its own, what is from elsewhere."""
        return [
            f"<{name} {attributes}>" for name, attributes in self.elements if _is_unsafe(name, attributes)
        ]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, Attributes]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _is_unsafe(name: str, attributes: Attributes) -> bool:
    if name in {"style", "iframe", "object", "embed", "base"} or (
        name == "script" and "src" not in attributes
    ):
        return True
    return any(
        attribute == "style"
        or attribute.startswith(("on", "hx-on"))
        or (attribute in ADDRESSES and not _is_own(value))
        for attribute, value in attributes.items()
    )


def _is_own(address: str) -> bool:
    """Tell whether an address is of this site, or somebody's mailbox. Browsers take ``\\`` for a slash."""
    parts = urlsplit(address.replace("\\", "/"))
    return parts.scheme in {"", "mailto"} and not parts.netloc and not parts.path.startswith("//")
