"""Fuzz one target in this process: ``python -m tests.fuzz.child TARGET FOLDER [options of libFuzzer]``.

``FOLDER`` holds the seeds, and gets what libFuzzer finds worth keeping. The process ends with another code
than 0 at the first finding, and leaves its bytes beside the folder, as ``crash-…``.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["claimbus", "claimstore", "producers"]):
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS


def _dictionary(seeds: Iterable[bytes]) -> str:
    """Return the words of the seeds as libFuzzer's dictionary: what it may put in, move and repeat whole."""
    found = {word for seed in seeds for word in re.findall(rb"[\w.-]{2,}|[^\w\s]", seed)}
    return "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in sorted(found))


def main() -> None:
    name, folder, *options = sys.argv[1:]
    corpus = Path(folder)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = corpus.with_name("words")
    words.write_text(_dictionary(SEEDS[name]))
    given = [str(corpus), f"-dict={words}", f"-artifact_prefix={corpus}/../", *options]
    atheris.Setup([sys.argv[0], *given], TARGETS[name].take)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
