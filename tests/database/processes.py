"""Real processes that begin their work at the same moment."""

import subprocess
import sys
from collections.abc import Sequence

_READY = "import sys; print('ready', flush=True); sys.stdin.readline()\n"


def together(preparation: str, work: str, arguments: Sequence[Sequence[str]]) -> list[str]:
    """Run ``work`` in a process for each list of arguments, all at once, after ``preparation`` (imports).

    Returns what each printed; raises AssertionError with the errors of one that failed.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", preparation + _READY + work, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for given in arguments
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        ended = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            told, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            ended.append(told)
        return ended
    finally:
        for process in processes:
            process.kill()
            process.communicate()
