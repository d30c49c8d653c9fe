"""Runs the commands that the README tells a newcomer to type. Usage: readme.py README.md.

Only fenced blocks right below a marker run, in their order, from the repository's root:

``<!-- ci: run -->``                        must end with exit code 0
``<!-- ci: background until "TEXT" -->``    one command, left running; the next block waits for TEXT
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
    r'<!-- ci: (?:run|background until "(?P<text>[^"]+)") -->\n+```\w*\n(?P<commands>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
SHELL = ("bash", "-euo", "pipefail", "-c")
WITHIN = 300.0  # seconds for one block


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a background command to end, and wait for it."""
    process.terminate()
    process.wait(60)


def start(command: str, text: str, running: ExitStack) -> None:
    """Start a command and wait until it has printed the text."""
    output = Path(running.enter_context(tempfile.TemporaryDirectory()), "output")
    with output.open("wb") as written:
        process = subprocess.Popen([*SHELL, f"exec {command}"], stdout=written, stderr=written)
    running.callback(end, process)
    deadline = time.monotonic() + WITHIN
    while text not in (printed := output.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{printed}\nnot seen in the output above: {text}")
        time.sleep(0.2)


def main(readme: Path) -> None:
    """Run every marked block."""
    blocks = list(BLOCK.finditer(readme.read_text()))
    with ExitStack() as running:
        for block in blocks:
            commands, text = block["commands"].strip(), block["text"]
            print(f"$ {commands}", flush=True)
            if text:
                start(commands, text, running)
            elif subprocess.run([*SHELL, commands], check=False, timeout=WITHIN).returncode:
                sys.exit("this block of the README failed")
    print(f"{len(blocks)} blocks of the README ran")


main(Path(sys.argv[1]))
