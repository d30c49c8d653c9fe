"""What ``./dev`` does once everything is installed: finds the services, then runs one command with them."""

# ruff: noqa: S603 - fixed programs with their arguments, never a shell's line

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

from claimbus.cli.services import (
    MANAGEMENT_URL,
    PostgresServer,
    Services,
    ServicesError,
    debian,
    install_missing_servers,
    local_services,
    private_directory,
)
from claimbus.cli.services.guard import guarded

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".claimbus"
PROGRAMS = Path(sys.executable).parent
UP = STATE / "up.env"  # the settings of the ./dev up that is running
TEST_POSTGRESQL_URL = "CLAIMBUS_TEST_POSTGRESQL_URL"
LAST_WORDS_WITHIN = 10.0  # seconds that a command has for ending after it was told to
DEV_LOCK, ISO_LOCK, BENCH_LOCK = (f"requirements-{name}.lock" for name in ("dev", "iso", "bench"))
LOCKED = {  # what a lock file is made of; the first one decides the versions
    DEV_LOCK: ("--extra=iso", "--extra=dev"),
    ISO_LOCK: ("--extra=iso", f"--constraint={DEV_LOCK}"),
    BENCH_LOCK: ("--extra=bench", f"--constraint={DEV_LOCK}"),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
C_HEADERS = {"librabbitmq-dev": "amqp.h", "libhiredis-dev": "hiredis/hiredis.h"}


def report(step: str) -> None:
    """Say what happens now, with the seconds since ``./dev`` was typed (its shell became this process)."""
    start_time = int(
        Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    )  # in ticks, see proc(5)
    elapsed = time.clock_gettime(time.CLOCK_BOOTTIME) - start_time / os.sysconf("SC_CLK_TCK")
    print(f"[{elapsed:3.0f} s] {step}", file=sys.stderr, flush=True)


def run(command: Sequence[str | Path], settings: Mapping[str, str], *, cwd: Path | None = None) -> int:
    """Run a command in the foreground with these settings; nothing that it started outlives it.

    Returns its exit code.
    """
    process = subprocess.Popen(
        guarded([str(word) for word in command], Path(os.devnull)),
        env={**settings, "PATH": os.pathsep.join([str(PROGRAMS), os.environ["PATH"]])},
        cwd=cwd,
    )
    try:
        return process.wait()
    except BaseException as stopped:
        if not isinstance(stopped, KeyboardInterrupt):  # which the terminal has sent to the command too
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WORDS_WITHIN)
        raise
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            process.wait()


def install(*words: str | Path) -> None:
    """Have pip install something."""
    if run([sys.executable, "-m", "pip", "install", "-qq", *words], os.environ):
        raise ServicesError("pip could not install it; is there a network?")


def found_services() -> AbstractContextManager[Services]:
    """RabbitMQ and Redis for one run."""
    return local_services(STATE / "services", report=report)


def without_settings() -> dict[str, str]:
    """Copy the environment without any setting of claimbus, lest a test or demo reach what is in earnest."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CLAIMBUS_")}


def browser_program() -> str | None:
    """Find the system's Chromium, which the tests of the pages drive."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def install_browser() -> None:
    """Install Debian's Chromium if it is missing and we may; say so when the tests must do without."""
    if browser_program() is None and debian.can_install():
        try:
            debian.install(["chromium"], report)
        except ServicesError as failed:
            report(str(failed))
    if browser_program() is None:
        report("no Chromium, and none can be installed: the tests in tests/browser are left out")


def demo(arguments: list[str]) -> int:
    """Run the main job on a sample and verify it."""
    with found_services() as services:
        return run(
            [sys.executable, "-P", "-m", "claimbus.cli.demo", *arguments],
            without_settings() | services.environment(),
        )


def test(arguments: list[str]) -> int:
    """Run pytest with all servers that the tests need."""
    with ExitStack() as running:
        with suppress(ServicesError):  # some tests kill servers of their own, whatever the others use
            install_missing_servers(report)
        install_browser()
        services = running.enter_context(found_services())
        if services.management_url is None:
            raise ServicesError(f"the tests make vhosts: set {MANAGEMENT_URL} too")
        postgresql_url = os.environ.get(TEST_POSTGRESQL_URL)
        if not postgresql_url:
            # In the system's own place, as root cannot share a checkout in /root with PostgreSQL's user.
            directory = running.enter_context(private_directory(Path(tempfile.gettempdir())))
            postgresql_url = running.enter_context(PostgresServer(directory)).url
        settings = without_settings() | services.environment() | {TEST_POSTGRESQL_URL: postgresql_url}
        report("running the tests")
        return run([sys.executable, "-m", "pytest", *at_once(arguments), *arguments], settings, cwd=ROOT)


def at_once(arguments: Sequence[str]) -> list[str]:
    """Have the tests run several files at a time, unless some were chosen: starting that takes 20 s.

    They mostly wait for servers, deadlines and processes: 22 minutes one by one, 11 with three at a time.
    """
    if any((ROOT / argument.partition("::")[0]).exists() for argument in arguments):
        return []
    return [f"--numprocesses={min((os.cpu_count() or 1) + 1, 4)}", "--dist=loadfile"]


def up(arguments: list[str]) -> int:
    """Run the whole system in the foreground; ``./dev claimbus`` finds it by its settings."""
    with found_services() as services, private_directory(STATE / "up") as directory:
        database = {"CLAIMBUS_DATABASE_URL": f"sqlite:///{directory / 'claimbus.db'}"}
        settings = services.environment() | database
        UP.unlink(missing_ok=True)  # of a run that was killed
        UP.touch(mode=0o600)  # a URL may hold a password
        keep(settings)
        try:
            return run(
                [sys.executable, "-P", "-m", "claimbus.cli.up", *arguments], {**os.environ, **settings}
            )
        finally:
            UP.unlink(missing_ok=True)


def keep(settings: Mapping[str, str]) -> None:
    """Add settings to those of the running ``./dev up``, as a shell reads them."""
    with UP.open("a") as file:
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())


def claimbus(arguments: list[str]) -> int:
    """Run the command line, against the running ``./dev up`` if there is one."""
    words = shlex.split(UP.read_text()) if UP.exists() else []
    settings = dict(word.split("=", 1) for word in words)
    return run([PROGRAMS / "claimbus", *arguments], {**os.environ, **settings})


def bench(arguments: list[str]) -> int:
    """Install what only the benchmarks need, then run them."""
    install_benchmarks()
    missing = [package for package, header in C_HEADERS.items() if not Path("/usr/include", header).exists()]
    if (missing or not Path("/usr/bin/gcc").exists()) and debian.can_install():
        debian.install(["gcc", "libc6-dev", *missing], report)
    with found_services() as services:
        settings = without_settings() | services.environment()
        return run([sys.executable, "-m", "benchmarks", *arguments], settings, cwd=ROOT)


def fuzz(arguments: list[str]) -> int:
    """Give the decoders of what comes from outside bytes that nobody meant."""
    install_benchmarks()
    return run([sys.executable, "-m", "tests.fuzz", *arguments], without_settings(), cwd=ROOT)


def install_benchmarks() -> None:
    """Install the locked packages that only the benchmarks and the fuzzers need."""
    lock, stamp = ROOT / BENCH_LOCK, STATE / "venv" / "stamp.bench"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        report("installing the benchmarks' locked packages")
        install("--require-hashes", "--no-deps", "-r", lock)
        stamp.write_text(digest)


def chaos(arguments: list[str]) -> int:
    """Do harm to a running bus and see whether anything is lost; it has servers of its own to do it to."""
    return run([sys.executable, "-m", "tests.chaos", *arguments], without_settings(), cwd=ROOT)


def lint(arguments: list[str]) -> int:
    """Check format, lint, types and imports; every check runs, whatever the others said."""
    codes = []
    for check in ("ruff format --check .", "ruff check .", "mypy", "lint-imports --no-logo"):
        report(check)
        program, *words = check.split()
        codes.append(run([PROGRAMS / program, *words], os.environ, cwd=ROOT))
    return max(codes)


def lock(arguments: list[str]) -> int:
    """Write the lock files anew; ``--upgrade`` takes the newest versions instead of those locked now."""
    resolver = STATE / "resolver"
    if not (resolver / "bin" / "uv").exists():
        report("installing uv")
        install("--target", resolver, "uv")
    # Not pip-compile, which sees only its own Python: 3.11.2 needs a package that 3.11.3 does not.
    words = ["--universal", "--python-version=3.11", "--generate-hashes", "--no-annotate", "--quiet"]
    resolve = [f"{resolver}/bin/uv", "pip", "compile", *words, "--custom-compile-command=./dev lock"]
    for name, options in LOCKED.items():
        report(f"writing {name}")
        command = [*resolve, *options, *arguments, "pyproject.toml", f"--output-file={name}"]
        if code := run(command, os.environ, cwd=ROOT):
            return code
    return 0


COMMANDS = {
    command.__name__: command for command in (demo, test, up, claimbus, bench, chaos, fuzz, lint, lock)
}


def main() -> int:
    """Run the command that was typed; returns its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also when a script runs it in the background
    for told in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(told, lambda number, _: sys.exit(128 + number))
    try:
        return COMMANDS[sys.argv[1]](sys.argv[2:])
    except ServicesError as error:
        print(f"./dev: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
