"""Debian 13's servers (RabbitMQ 4.0, Redis 8.0) on another Debian: unpacked into a folder, run by chroot.

The folder is kept for the next run. What its programs need mounted is mounted in a namespace of their own: it
is gone when they have ended, however they ended, and nobody else ever sees it.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from claimbus.cli.services import ServicesError, debian
from claimbus.cli.services.server import search_path

SUITE: Final = "trixie"
PACKAGES: Final = ("rabbitmq-server", "redis-server")
MIRROR: Final = "http://deb.debian.org/debian"
DEBOOTSTRAP: Final = ("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}")

# Debian's scripts in /usr/sbin change to another user; these do not.
RABBITMQ: Final = (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), Path("/usr/lib/rabbitmq/bin/rabbitmqctl"))
REDIS: Final = (Path("/usr/bin/redis-server"),)

OWN_MOUNTS: Final = ("unshare", "--mount", "--propagation", "private", "--")
ENTER: Final = r"""
set -e
root=$1 data=$2
shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir -p "$root$data"
mount --bind "$data" "$root$data"
exec chroot "$root" "$@"
"""
OUTPUT_TAIL: Final = 10  # lines


def obstacle() -> str:
    """Say why this machine cannot do it; nothing if it can."""
    if os.geteuid() != 0:
        return "needs root, for chroot"
    if not (_found("debootstrap") or debian.can_install()):
        return "needs debootstrap"
    return ""


def unpack(folder: Path, report: Callable[[str], None]) -> None:
    """Have Debian 13 with its servers in ``folder``, unless it is there: half a minute, 400 MB, a network.

    Raises:
        ServicesError: debootstrap failed; with the end of its output.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return
        if not _found("debootstrap"):
            debian.install(["debootstrap"], report)
        report(f"unpacking Debian's {SUITE} with {' and '.join(PACKAGES)} into {folder}")
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        done = subprocess.run(
            [*OWN_MOUNTS, *DEBOOTSTRAP, SUITE, str(unfinished), _mirror()],  # it mounts things too
            env={**os.environ, "PATH": search_path()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            tail = done.stdout.splitlines()[-OUTPUT_TAIL:]
            raise ServicesError("\n  ".join([f"debootstrap could not unpack {SUITE}:", *tail]))
        unfinished.rename(folder)


def entrances(root: Path, data: Path, programs: Iterable[Path]) -> Path:
    """Write a script for each program that runs it in the Debian at ``root``; return the first one's path.

    The scripts lie in ``data``, which the programs find at the same path.
    """
    data.mkdir(parents=True, exist_ok=True)
    scripts = []
    for program in programs:
        script = data / program.name
        words = shlex.join([*OWN_MOUNTS, "sh", "-c", ENTER, "enter", str(root), str(data), str(program)])
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        script.chmod(0o755)
        scripts.append(script)
    return scripts[0]


def _mirror() -> str:
    """Find the mirror that this machine takes its own Debian from."""
    if not _found("apt-get"):
        return MIRROR
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"],
        env={**os.environ, "PATH": search_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    return next(iter(asked.stdout.splitlines()), MIRROR)


def _found(program: str) -> bool:
    return shutil.which(program, path=search_path()) is not None
