"""``./dev up``: what it says and starts."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.cli.test_demo_run import environment

UP = [sys.executable, "-m", "claimbus.cli.up"]


def test_it_works_until_it_is_stopped(amqp_url: str, key_prefix: str, tmp_path: Path) -> None:
    settings = {
        "CLAIMBUS_AMQP_URL": amqp_url,
        "CLAIMBUS_KEY_PREFIX": key_prefix,
        "CLAIMBUS_DATABASE_URL": f"sqlite:///{tmp_path / 'claimbus.db'}",
    }
    with psutil.Popen(
        UP, env=environment(**settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        said = ""
        while "worker ready" not in said:
            said += process.stdout.readline()
        children = process.children(recursive=True)
        for child in children:
            if "claimbus" in child.cmdline() and "guard" not in " ".join(child.cmdline()):
                child.send_signal(signal.SIGINT)  # as the terminal does
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert "RabbitMQ" in said
    assert "guest:guest@" not in said
    assert f"sqlite:///{tmp_path / 'claimbus.db'}" in said
    assert "/metrics" in said
    assert "./dev claimbus endpoints add PGAE" in said
    assert "worker stopped" in rest
    assert process.returncode == 0
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_a_wrong_setting_stops_it_and_names_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        UP,
        env=environment(CLAIMBUS_HOLD_PAUSE="soon"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "CLAIMBUS_HOLD_PAUSE" in done.stderr
    assert "Traceback" not in done.stderr
