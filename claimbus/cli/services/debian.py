"""Debian's packages, installed on a machine whose administrator we are."""

# ruff: noqa: S603 - fixed programs with their arguments, never a shell's line

import os
import shutil
import subprocess
from collections.abc import Callable

from claimbus.cli.services.server import ServicesError, search_path

# Debian starts a service as soon as its package is installed, unless policy-rc.d answers 101. A policy that
# is there already comes back afterwards, also when the run before this one was killed in the middle.
INSTALL = r"""
set -eu
policy=/usr/sbin/policy-rc.d
restore() { rm -f "$policy"; [ ! -e "$policy.kept" ] || mv "$policy.kept" "$policy"; }
trap restore EXIT
trap 'exit 1' HUP INT TERM
if [ -e "$policy" ] && ! grep -q "by claimbus" "$policy"; then mv "$policy" "$policy.kept"; fi
printf '#!/bin/sh\n# for a moment, by claimbus: starts no service on installation\nexit 101\n' > "$policy"
chmod 755 "$policy"
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@"; }
apt update
apt install --no-install-recommends "$@"
"""
OUTPUT_TAIL = 15  # lines


def administrator() -> list[str] | None:
    """Find the words that make a command run as root: none as root, ``sudo`` if it asks for no password."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo", path=search_path())
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    return None


def can_install() -> bool:
    """Whether this is a Debian on which we may install packages."""
    return shutil.which("apt-get", path=search_path()) is not None and administrator() is not None


def install(packages: list[str], report: Callable[[str], None]) -> None:
    """Install Debian's packages without starting their services.

    Raises:
        ServicesError: apt-get failed; with the end of its output.
    """
    report(f"installing Debian's {', '.join(packages)}")
    done = subprocess.run(
        [*(administrator() or []), "sh", "-c", INSTALL, "install", *packages],
        env={**os.environ, "PATH": search_path()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = done.stdout.splitlines()[-OUTPUT_TAIL:]
        raise ServicesError("\n  ".join([f"apt-get could not install {', '.join(packages)}:", *tail]))
