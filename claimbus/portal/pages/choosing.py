"""The event types of the catalogue, as one picks from them: by domain, and by what they are about."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from claimbus.portal.desk.catalogue import Shown
from claimbus.portal.pages.typed import Typed

SUMMARY: Final[Mapping[str, str]] = {
    "oms": "Outages of resources and of transmission, from the Outage Management System",
    "market": "What markets do: they open and close, and their results come out",
    "system": "Notices from the ISO, and what becomes of your own endpoints",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """Types about one thing; ``pattern`` stands for all of them."""

    name: str
    pattern: str
    types: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """The types of a domain; ``pattern`` stands for all of them."""

    name: str
    pattern: str
    summary: str
    subjects: tuple[Subject, ...]


def domains(types: Iterable[Shown]) -> tuple[Domain, ...]:
    """Return types by domain and subject, in the order in which they come."""
    found: dict[str, dict[str, list[Shown]]] = {}
    for kind in types:
        domain, subject, _ = kind.name.split(".")
        found.setdefault(domain, {}).setdefault(subject, []).append(kind)
    return tuple(
        Domain(
            domain,
            f"{domain}.#",
            SUMMARY.get(domain, ""),
            tuple(Subject(name, f"{domain}.{name}.*", tuple(some)) for name, some in subjects.items()),
        )
        for domain, subjects in found.items()
    )


def offered(choice: Collection[Domain]) -> frozenset[str]:
    """Return every pattern that has a box of its own."""
    found = {"#"}
    for domain in choice:
        found.add(domain.pattern)
        for subject in domain.subjects:
            found.update((subject.pattern, *(kind.name for kind in subject.types)))
    return frozenset(found)


def examples(choice: Iterable[Domain]) -> dict[str, str]:
    """Return an example of each type's body by its name, as text."""
    return {
        kind.name: json.dumps(kind.example, indent=2, ensure_ascii=False)
        for domain in choice
        for subject in domain.subjects
        for kind in subject.types
    }


def patterns(typed: Typed) -> tuple[str, ...]:
    """Return what was picked, and the further patterns that were typed."""
    return tuple(dict.fromkeys((*typed.all("subscription"), *typed.text("patterns").split())))
