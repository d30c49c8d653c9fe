"""The built wheel: what an ISO or a participant installs, without the checkout."""

import re
import subprocess
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = ("claimbus", "claimstore", "consumers", "producers")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={built}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_four_packages_whole_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == kept
    assert {f"{package}/py.typed" for package in PACKAGES} <= shipped


def test_the_base_needs_no_server_client(metadata: Message) -> None:
    base = [need for need in metadata.get_all("Requires-Dist", ()) if "extra ==" not in need]
    assert base
    assert not any(need.startswith(("pika", "redis", "sqlalchemy", "psycopg")) for need in base)


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    use = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import claimbus, claimstore, consumers, producers\n"
        "from claimbus.database.migration import known_revisions\n"
        "assert known_revisions(), 'no migrations'\n"
        "print(*(module.__file__ for module in (claimbus, claimstore, consumers, producers)), sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", use, tmp_path], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert all(Path(line).is_relative_to(tmp_path) for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("dev", ["iso", "dev"]), ("iso", ["iso"]), ("bench", ["bench"])],
)
def test_every_declared_dependency_is_locked(lock: str, extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(need for extra in extras for need in project["optional-dependencies"][extra]),
    ]
    lines = re.findall(r"^(\S+)==(\S+)", (ROOT / f"requirements-{lock}.lock").read_text(), re.MULTILINE)
    locked = {canonicalize_name(name): version for name, version in lines}
    for need in map(Requirement, declared):
        name = canonicalize_name(need.name)
        assert name in locked, f"{name} is not in the lock file: run ./dev lock"
        assert need.specifier.contains(locked[name]), f"{need} is locked as {locked[name]}: run ./dev lock"


def test_lock_files_name_no_hosts_and_hash_everything() -> None:
    for lock in ROOT.glob("requirements-*.lock"):
        text = lock.read_text()
        assert "://" not in text
        assert "--index" not in text
        assert all(
            "--hash=sha256:" in entry for entry in re.split(r"\n(?=\w)", text) if not entry.startswith("#")
        )
