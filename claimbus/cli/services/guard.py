"""Runs one command and sees to it that nothing of it outlives whoever asked for it.

``python guard.py PARENT_PID PID_FILE COMMAND...`` runs the command as its child and ends with the child's
exit code. It becomes the reaper of whatever the command leaves behind (RabbitMQ's epmd makes itself a daemon,
so no process group holds it) and kills all of it when the command has ended, when it is told to by SIGQUIT,
or when its parent is gone, however the parent died. SIGTERM and SIGINT are passed on.

It imports nothing but the standard library's small modules, since each server of a run has a guard of its
own. Linux only, by ``prctl`` and ``/proc``.
"""

import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
PASSED_ON = (signal.SIGTERM, signal.SIGINT)
SIGNALS = (*PASSED_ON, signal.SIGCHLD, signal.SIGHUP, signal.SIGQUIT)
LOOK_EVERY = 0.25  # seconds between two looks whether the parent is still there
GRACE = 5.0  # seconds that an orphaned command has for ending by itself

_libc = ctypes.CDLL(None, use_errno=True)


def guarded(command: list[str], pid_file: Path) -> list[str]:
    """Give the command line that runs ``command`` under a guard whose parent is this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(pid_file), *command]


def descendants(ancestor: int) -> Iterator[int]:
    """Every process below ``ancestor``."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # "pid (name) state ppid ...", where the name may hold blanks and brackets.
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it ended while we looked
            children.setdefault(parent, []).append(int(entry.name))
    below = list(children.get(ancestor, ()))
    for pid in below:
        below.extend(children.get(pid, ()))
    return iter(below)


def spawn(command: list[str]) -> int:
    """Start the command, with signals as a new program expects them; returns its PID."""
    pid = os.fork()
    if pid:
        return pid
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # should the guard itself be killed
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command line is the caller's, no shell is involved
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)


def reap() -> Iterator[tuple[int, int]]:
    """Collect the children that have ended: the PID and wait status of each."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def watch(parent: int, child: int) -> int | None:
    """Wait until the child has ended (returns its wait status) or has to be ended (None)."""
    deadline = math.inf
    while time.monotonic() < deadline:
        told = signal.sigtimedwait(SIGNALS, LOOK_EVERY)
        if told is not None and told.si_signo == signal.SIGQUIT:
            return None
        if told is not None and told.si_signo in PASSED_ON:
            os.kill(child, told.si_signo)
        for pid, status in reap():
            if pid == child:
                return status
        if deadline == math.inf and os.getppid() != parent:
            deadline = time.monotonic() + GRACE
            os.kill(child, signal.SIGTERM)
    return None


def end_descendants() -> None:
    """Kill everything below this process and reap it."""
    while True:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def main(parent: int, pid_file: Path, command: list[str]) -> int:
    """Run the command to its end; returns its exit code, or 128 plus the signal that ended it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = spawn(command)
    if os.getsid(0) != os.getpid():
        os.setpgid(0, 0)  # a Ctrl-C or a kill of the whole group is for the command alone
    pid_file.write_text(f"{child}\n")
    status = watch(parent, child)
    end_descendants()
    if status is None:
        return 128 + signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
