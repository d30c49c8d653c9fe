"""Is everything reaching everybody? The overview in one sentence.

What is away, or stands still, is ``bad``; so are deliveries that were given up within the hour and are not on
their way again: they reach nobody by themselves. Older ones are ``warn``, and so is an endpoint that is held:
it gets what its queue keeps as soon as it answers.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from claimbus.portal.desk.figures import Overview, Part

Kind = Literal["good", "warn", "bad"]


class Summary(NamedTuple):
    """The sentence, and how it is meant."""

    kind: Kind
    text: str


def summary(overview: Overview) -> Summary:
    """Return the sentence: what is worst comes first, and what is not known is not called fine."""
    workers, rabbitmq = overview.workers.found, overview.rabbitmq.found
    servers: dict[str, Part[Any]] = {
        "the database": overview.database,
        "RabbitMQ": overview.rabbitmq,
        "Redis": overview.redis,
    }
    if away := [name for name, part in servers.items() if part.found is None]:
        return _summary("bad", f"{_listed(away)} {'is' if len(away) == 1 else 'are'} away")
    if rabbitmq is not None and rabbitmq.blocked:
        return _summary("bad", "RabbitMQ takes no messages: publishing waits")
    if workers is not None and 0 < workers.active == len(workers.unattended):
        return _summary("bad", "; ".join(("no worker is running", *_waiting(overview))))
    if troubles := list(_troubles(overview)):
        return _summary("bad" if _given_up_lately(overview) else "warn", "; ".join(troubles))
    parts: dict[str, Part[Any]] = {
        "which endpoints are held": overview.held,
        "how many dead letters there are": overview.dead,
        "what waits": overview.backlog,
        "whether workers run": overview.workers,
    }
    if unknown := [name for name, part in parts.items() if part.found is None]:
        return _summary("warn", f"it is not known {_listed(unknown)}")
    return _summary("good", "everything is reaching everybody")


def _troubles(overview: Overview) -> Iterator[str]:
    alone = 0 if overview.workers.found is None else len(overview.workers.found.unattended)
    held, dead = len(overview.held.found or ()), sum(one.count for one in overview.dead.found or ())
    new = _given_up_lately(overview)
    if new:
        yield _letters(dead, new)
    if alone:
        yield f"no worker takes from {alone:,} {'endpoint' if alone == 1 else 'endpoints'}"
    if held:
        yield f"{held:,} {'endpoint is' if held == 1 else 'endpoints are'} held"
    if alone or held:
        yield from _waiting(overview)
    if dead and not new:
        yield _letters(dead, new)


def _given_up_lately(overview: Overview) -> int:
    return sum(one.last_hour for one in overview.dead.found or ())


def _letters(count: int, new: int) -> str:
    text = f"{'letter waits' if count == 1 else 'letters wait'} for somebody"
    if new == count:
        return f"{count:,} new dead {text}"
    return f"{count:,} dead {text}" + (f", {new:,} of them new" if new else "")


def _waiting(overview: Overview) -> Iterator[str]:
    count = 0 if overview.backlog.found is None else overview.backlog.found.total
    if count:
        yield f"{count:,} {'delivery waits' if count == 1 else 'deliveries wait'}"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _summary(kind: Kind, text: str) -> Summary:
    return Summary(kind, f"{text[0].upper()}{text[1:]}.")
