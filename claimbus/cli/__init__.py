"""The command line, its settings and its wiring: the top floor, which nothing imports."""

import atexit
import os
import sys
from contextlib import suppress


def main() -> None:
    """Run the command that was typed. Exit codes: 0 done, 1 it failed, 2 wrong usage, 130 Ctrl-C."""
    from claimbus.cli.commands import app  # noqa: PLC0415 - the rooms' tests import this package too

    try:
        app()
    except SystemExit as ended:
        if isinstance(ended.code, int):
            _leave(ended.code)
        raise


def _leave(code: int) -> None:
    """End this process without taking the interpreter apart.

    pyreqwest's thread may still let go of something then, at which Python 3.11 aborts: of the verifications
    that nobody answered one in eight ended with 134 in place of 1.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - what sys.exit would have done, but for the rest
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
