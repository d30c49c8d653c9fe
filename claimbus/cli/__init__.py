"""The command line, its settings and its wiring: the top floor, which nothing imports."""


def main() -> None:
    """Run the command that was typed. Exit codes: 0 done, 1 it failed, 2 wrong usage, 130 Ctrl-C."""
    from claimbus.cli.commands import app  # noqa: PLC0415 - the rooms' tests import this package too

    app()
