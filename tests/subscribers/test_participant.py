"""A participant's machine: the wheel and its base dependencies, and nothing else of this project's."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.subscribers.sender import SECRET, an_event, signed

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a clean environment with the built wheel and what the wheel's base asks for."""
    folder = tmp_path_factory.mktemp("participant")
    _run("-m", "hatchling", "build", "--target=wheel", f"--directory={folder}", cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    _run("-m", "pip", "--python", folder / "venv", "install", "--no-index", "--no-deps", wheel, cwd=folder)
    for needed in _closure("claimbus", packages):
        _link(needed, packages)
    return folder / "venv" / "bin" / "python"


def _run(*words: object, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _closure(name: str, packages: Path) -> list[Distribution]:
    """What a distribution in these packages needs, directly or not, without extras; from this environment."""
    (own,) = Distribution.discover(name=name, path=[str(packages)])
    found: dict[str, Distribution] = {}
    asked = [(own, "")]
    for needing, extra in asked:
        for need in map(Requirement, needing.requires or ()):
            key = canonicalize_name(need.name)
            if key not in found and (need.marker is None or need.marker.evaluate({"extra": extra})):
                found[key] = distribution(need.name)
                asked += [(found[key], one) for one in ("", *need.extras)]
    return list(found.values())


def _link(needed: Distribution, packages: Path) -> None:
    for name in {file.parts[0] for file in needed.files or () if file.parts[0] not in ("..", "__pycache__")}:
        if not (packages / name).exists():
            (packages / name).symlink_to(Path(str(needed.locate_file(name))))


def test_the_library_is_there_and_the_isos_side_is_not(python: Path) -> None:
    use = (
        "import claimbus.subscribers as s, importlib.util as u\n"
        "assert {'verify', 'WebhookMiddleware', 'Received', 'SignatureError'} <= set(s.__all__)\n"
        "there = [n for n in ('pika', 'redis', 'sqlalchemy', 'psycopg', 'alembic') if u.find_spec(n)]\n"
        "assert not there, there\n"
    )
    subprocess.run([python, "-W", "error", "-I", "-c", use], check=True)


@pytest.mark.parametrize("command", ["receive", "subscribe"])
def test_the_daemons_help_is_shown(python: Path, command: str) -> None:
    done = subprocess.run(
        [python, "-m", "claimbus", command, "--help"], capture_output=True, text=True, check=True
    )
    assert "--exec" in done.stdout


@pytest.fixture
def url(python: Path, tmp_path: Path) -> Iterator[str]:
    with subprocess.Popen(
        [
            python,
            "-W",
            "error",
            "-m",
            "claimbus",
            "receive",
            "--plain-http",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--dir",
            "out",
        ],
        cwd=tmp_path,
        env=os.environ | {"CLAIMBUS_RECEIVE_SECRETS": SECRET},
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        yield json.loads(process.stderr.readline())["url"]
        process.terminate()
        process.stderr.read()
        assert process.wait(timeout=20) == 0


def test_an_event_is_received(url: str, tmp_path: Path) -> None:
    headers, body = signed(an_event())
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 204
    assert (tmp_path / "out" / f"{an_event().identity}.json").read_bytes() == body
