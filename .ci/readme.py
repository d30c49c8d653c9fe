"""Runs the commands that the README tells a newcomer to type. Usage: readme.py README.md.

Only fenced blocks right below a marker run, in their order, from the repository's root:

``<!-- ci: run -->``                        must end with exit code 0
``<!-- ci: background until "TEXT" -->``    one command, left running; the next block waits for TEXT
``<!-- ci: background until "TEXT", at last "MORE" -->``    and MORE must be there when all blocks have run

A background command with an ``…`` is one to be pasted: the line that begins as it does and that an earlier
background command has printed.
"""

# ruff: noqa: S603 - running the README's commands is the purpose

import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

BLOCK = re.compile(
    r'<!-- ci: (?:run|background until "(?P<text>[^"]+)"(?:, at last "(?P<more>[^"]+)")?) -->'
    r"\n+```\w*\n(?P<commands>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHELL = ("bash", "-euo", "pipefail", "-c")
WITHIN = 300.0  # seconds for one block


class Background:
    """A command that is left running, and what it prints."""

    def __init__(self, command: str, directory: Path) -> None:
        self._output = directory / "output"
        with self._output.open("wb") as written:
            self._process = subprocess.Popen([*SHELL, f"exec {command}"], stdout=written, stderr=written)

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed the text."""
        deadline = time.monotonic() + WITHIN
        while text not in self.printed:
            if self._process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{self.printed}\nnot seen in the output above: {text}")
            time.sleep(0.2)

    def end(self) -> None:
        """Ask it to end, and wait for it."""
        self._process.terminate()
        self._process.wait(60)


def pasted(command: str, earlier: list[Background]) -> str:
    """Return a command as an earlier one has printed it, if it leaves something open."""
    begin, dots, _ = command.partition("…")
    if not dots:
        return command
    lines = (line.strip() for one in earlier for line in one.printed.splitlines())
    found = next((line for line in lines if line.startswith(begin)), None)
    return found or sys.exit(f"nothing printed begins with: {begin}")


def main(readme: Path) -> None:
    """Run every marked block."""
    blocks = list(BLOCK.finditer(readme.read_text()))
    running: list[Background] = []
    with ExitStack() as at_end:
        for block in blocks:
            commands, text = block["commands"].strip(), block["text"]
            print(f"$ {commands}", flush=True)
            if text:
                directory = Path(at_end.enter_context(tempfile.TemporaryDirectory()))
                running.append(Background(pasted(commands, running), directory))
                at_end.callback(running[-1].end)
                running[-1].wait_for(text)
            elif subprocess.run([*SHELL, commands], check=False, timeout=WITHIN).returncode:
                sys.exit("this block of the README failed")
        backgrounds = [block for block in blocks if block["text"]]
        for block, background in zip(backgrounds, running, strict=True):
            if block["more"]:
                background.wait_for(block["more"])
    print(f"{len(blocks)} blocks of the README ran")


main(Path(sys.argv[1]))
