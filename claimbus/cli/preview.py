"""What a replay would meet, as a table."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from claimbus.cli.durations import show_duration
from claimbus.cli.output import details, listing
from claimbus.deadletters.preflight import Report


def show(report: Report) -> None:
    """Print a preflight: by endpoint, why letters would not be sent, and the sums."""
    rows = [asdict(one) | {"time": _time(one.seconds)} for one in report.by_endpoint]
    columns = ("endpoint_id", "participant_id", "name", "standing", "letters", "ready", "duplicates", "time")
    listing(rows, columns, as_json=False)
    if report.not_ready:
        listing(_reasons(report), ("letters", "not_ready", "sample"), as_json=False)
    bodies = [f"{count:,} {where}" for where, count in report.bodies.items() if count]
    sums = {
        "letters": report.letters,
        "ready": report.ready,
        "bodies": ", ".join(bodies),
        "not_entitled": report.not_entitled or None,
        "delivered_already": report.duplicates or None,
        "rate": "no limit" if report.rate is None else f"{report.rate:g}/s to each endpoint",
        "takes_about": _time(report.seconds),
    }
    details(sums, as_json=False)


def _reasons(report: Report) -> list[dict[str, Any]]:
    samples = {reason: letter_id for letter_id, reason in report.not_ready.items()}
    counts = Counter(report.not_ready.values()).most_common()
    return [{"letters": count, "not_ready": reason, "sample": samples[reason]} for reason, count in counts]


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else show_duration(max(seconds, 1))
