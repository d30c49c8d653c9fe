"""How fast, how far: every benchmark one after another, or those that are named, each with its options.

``python -m benchmarks [--write DIR] [--json] [publish | deliver | … [OPTIONS]]…``
"""

import signal
import sys

from benchmarks.commands import COMMANDS, app
from benchmarks.run import Run
from benchmarks.servers import BenchmarkError


def main() -> None:
    """Run benchmarks; exit 1 with one message when one cannot be run, or its figures would be void."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that sides end and rooms are cleared away
    run = Run()
    try:
        for words in _commands(sys.argv[1:]):
            _one(words, run)
    except BenchmarkError as reason:
        sys.exit(f"benchmarks: {reason}")
    run.end()


def _commands(words: list[str]) -> list[list[str]]:
    """Split the command line before each benchmark's name; what stands before the first goes for all."""
    names = {command.__name__ for command in COMMANDS}
    starts = [number for number, word in enumerate(words) if word in names]
    if not starts:
        return [words]
    return [
        words[: starts[0]] + words[start:stop]
        for start, stop in zip(starts, [*starts[1:], None], strict=True)
    ]


def _one(words: list[str], run: Run) -> None:
    try:
        app(words, obj=run)
    except SystemExit as ended:
        if ended.code:
            raise


if __name__ == "__main__":
    main()
