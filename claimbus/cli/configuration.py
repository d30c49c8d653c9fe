"""``claimbus settings``: what may be set, and what is."""

from claimbus.cli.options import AsJson
from claimbus.cli.output import listing
from claimbus.cli.settings import lines, load


def show_settings(as_json: AsJson = False) -> None:
    """List every setting with its value, default and meaning.

    Each is an environment variable, or a key of claimbus.toml without CLAIMBUS_ and in lower case.
    """
    rows = [line._asdict() for line in lines(load())]
    listing(rows, ("variable", "value", "default", "meaning"), as_json=as_json)
