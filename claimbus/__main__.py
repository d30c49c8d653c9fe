"""``python -m claimbus``."""

from claimbus.cli import main

main()
