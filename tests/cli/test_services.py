"""Private services: what is taken, what is refused, and that nothing outlives a run."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from redis import Redis

from claimbus.cli import services
from claimbus.cli.services import (
    PostgresServer,
    RabbitNode,
    RedisServer,
    ServicesError,
    debian,
    docker,
    local_services,
    private_directory,
)
from claimbus.cli.services.guard import descendants, guarded
from claimbus.cli.services.server import free_ports
from tests.services import required
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "deploy" / "rabbitmq.conf"


def ignore(step: str) -> None:
    """Take a report that the test is not about."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A node with the settings of ``compose.yaml``: one that RabbitMQ does not know would stop its start."""
    lines = (
        line.split(" = ") for line in DEPLOYED.read_text().splitlines() if " = " in line and line[0] != "#"
    )
    with RabbitNode(tmp_path_factory.mktemp("rabbitmq"), settings=dict(lines)) as started:
        yield started


def test_urls_in_the_environment_are_taken_as_they_are(tmp_path: Path) -> None:
    urls = {name: required(name) for name in ("CLAIMBUS_AMQP_URL", "CLAIMBUS_REDIS_URL")}
    with local_services(tmp_path, report=ignore, environment=urls) as found:
        assert found.environment() == urls
        assert found.management_url is None
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["CLAIMBUS_AMQP_URL", "CLAIMBUS_REDIS_URL"])
def test_one_url_without_the_other_is_refused(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(ServicesError, match="set both, or neither"),
        local_services(tmp_path, report=ignore, environment={name: required(name)}),
    ):
        pass


def test_a_url_where_nothing_listens_is_named_without_its_password(tmp_path: Path) -> None:
    one, two = free_ports(2)
    urls = {
        "CLAIMBUS_AMQP_URL": f"amqp://someone:secret@127.0.0.1:{one},127.0.0.1:{two}/",
        "CLAIMBUS_REDIS_URL": required("CLAIMBUS_REDIS_URL"),
    }
    with (
        pytest.raises(ServicesError, match="CLAIMBUS_AMQP_URL") as refused,
        local_services(tmp_path, report=ignore, environment=urls),
    ):
        pass
    assert "secret" not in str(refused.value)


def test_without_anything_to_work_with_one_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "engine_answers", lambda: False)
    monkeypatch.setattr(services, "rabbitmq_server", lambda: None)
    monkeypatch.setattr(debian, "can_install", lambda: False)
    with (
        pytest.raises(ServicesError, match="apt-get install rabbitmq-server redis-server"),
        local_services(tmp_path, report=ignore, environment={}),
    ):
        pass


def test_a_docker_client_without_an_engine_does_not_count() -> None:
    ask = "from claimbus.cli.services import docker; print(docker.engine_answers())"
    nowhere = {**os.environ, "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    done = subprocess.run(
        [sys.executable, "-c", ask], env=nowhere, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_private_node_keeps_its_data_and_address_over_a_kill(node: RabbitNode) -> None:
    node.ctl("add_vhost", "kept")
    url = node.amqp_url
    node.kill()
    assert not node.running
    node.restart()
    assert node.amqp_url == url
    assert "kept" in node.ctl("list_vhosts").split()


def test_everything_of_a_private_node_listens_on_the_loopback_interface_only(node: RabbitNode) -> None:
    guard = psutil.Process(node.pid).parent()
    assert guard is not None
    processes = guard.children(recursive=True)
    assert {"beam.smp", "epmd"} <= {process.name() for process in processes}
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1"}


def test_a_failing_ctl_command_raises_what_it_printed(node: RabbitNode) -> None:
    with pytest.raises(ServicesError, match="no_such_command"):
        node.ctl("no_such_command")


def test_a_node_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServicesError, match=r"no\.such\.setting"):
        RabbitNode(tmp_path, settings={"no.such.setting": "1"}).start()


def test_redis_keeps_what_it_has_acknowledged_over_a_kill(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, Redis.from_url(server.url) as client:
        client.set("claim", "kept")
        server.kill()
        server.restart()
        assert client.get("claim") == b"kept"


def test_postgresql_serves_and_never_runs_as_root() -> None:
    with private_directory(Path("/tmp")) as directory, PostgresServer(directory) as server:
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert psutil.Process(server.pid).uids().real != 0
        server.restart()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_command_under_guard_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    for command, code in {"exit 7": 7, "kill -9 $$": 137, "true": 0, "/no/such/program": 127}.items():
        under_guard = guarded(["sh", "-c", command], tmp_path / "pid")
        assert subprocess.run(under_guard, check=False, stderr=subprocess.DEVNULL).returncode == code


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    under_guard = guarded(["/no/such/program"], tmp_path / "pid")
    done = subprocess.run(under_guard, check=False, capture_output=True, text=True)
    assert done.returncode == 127
    assert "/no/such/program" in done.stderr


def test_a_daemon_ends_with_the_command_that_left_it_behind(tmp_path: Path) -> None:
    daemon = tmp_path / "daemon"
    leave = f"setsid sh -c 'echo $$ > {daemon}; exec sleep 600' > /dev/null 2>&1 &"
    shell = f"{leave} until [ -s {daemon} ]; do :; done"
    subprocess.run(guarded(["sh", "-c", shell], tmp_path / "pid"), check=True)
    assert not psutil.pid_exists(int(daemon.read_text()))


RUN = """
import signal, sys, time
from pathlib import Path
from claimbus.cli.services import RedisServer, private_directory
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
with private_directory(Path(sys.argv[1])) as directory, RedisServer(directory):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("told", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_nothing_outlives_a_run_however_it_ends(tmp_path: Path, told: signal.Signals) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", RUN, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        started = list(descendants(process.pid))
        assert "redis-server" in {psutil.Process(pid).name() for pid in started}
        process.send_signal(told)
    await eventually(lambda: not any(psutil.pid_exists(pid) for pid in started))


async def test_a_server_ends_even_when_its_guard_is_killed(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        pid = server.pid
        guard = psutil.Process(pid).parent()
        assert guard is not None
        guard.kill()
        await eventually(lambda: not psutil.pid_exists(pid))


def test_what_a_killed_run_left_behind_goes_with_the_next_run(tmp_path: Path) -> None:
    foreign = tmp_path / "claimbus-without-a-lock"
    foreign.mkdir()
    make = (
        "import os, sys; from pathlib import Path; from claimbus.cli.services import private_directory\n"
        "with private_directory(Path(sys.argv[1])): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", make, tmp_path], check=False, cwd=ROOT)
    assert len(list(tmp_path.iterdir())) == 2
    with private_directory(tmp_path) as one, private_directory(tmp_path) as two:
        assert set(tmp_path.iterdir()) == {foreign, one, two}
    assert set(tmp_path.iterdir()) == {foreign}


def test_a_private_directory_is_closed_to_others(tmp_path: Path) -> None:
    with private_directory(tmp_path) as directory:
        assert directory.stat().st_mode & 0o077 == 0


def test_dev_helps_without_setting_anything_up(tmp_path: Path) -> None:
    helped = subprocess.run([ROOT / "dev"], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert helped.returncode == 0
    assert "./dev COMMAND" in helped.stdout
    puzzled = subprocess.run([ROOT / "dev", "nonsense"], check=False, capture_output=True, text=True)
    assert puzzled.returncode == 2
    assert "./dev COMMAND" in puzzled.stderr
