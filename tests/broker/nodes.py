"""A private RabbitMQ node, for what must not be done to a shared one: alarms, hanging queues, TLS."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the wrapper in /usr/sbin changes user


@dataclass(frozen=True)
class Node:
    name: str
    port: int
    tls_port: int
    cookie: str
    epmd_port: int

    def call(self, expression: str) -> str:
        """Evaluate an Erlang expression on the node."""
        done = subprocess.run(
            ["erl_call", "-n", self.name, "-c", self.cookie, "-e"],
            input=f"{expression}.\n",
            env={**os.environ, "ERL_EPMD_PORT": str(self.epmd_port)},
            text=True,
            capture_output=True,
            check=True,
            timeout=30,
        )
        assert done.stdout.startswith("{ok, "), done.stdout
        return done.stdout

    def add_vhost(self, vhost: str) -> str:
        """Make a vhost and return its AMQP URL."""
        self.call(f'rabbit_vhost:add(<<"{vhost}">>, <<"test">>)')
        rights = '<<".*">>, <<".*">>, <<".*">>'
        self.call(
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{vhost}">>, {rights}, <<"test">>)'
        )
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}"

    def close_connections(self) -> None:
        """Close every client's connection, as an operator would."""
        self.call('rabbit_networking:close_all_connections("test")')

    @asynccontextmanager
    async def hanging(self, url: str, queue: str) -> AsyncIterator[None]:
        """Suspend the leader of a quorum queue: it lives, and answers nothing."""
        leader = f"whereis('{url.rpartition('/')[2]}_{queue}')"
        await asyncio.to_thread(self.call, f"sys:suspend({leader})")
        try:
            yield
        finally:
            await asyncio.to_thread(self.call, f"sys:resume({leader})")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def private_node(directory: Path, settings: str = "") -> Iterator[Node]:
    """Start a node with its own epmd on free ports, and end both. ``settings`` go to ``rabbitmq.conf``."""
    port, tls_port, dist_port, epmd_port = (free_port() for _ in range(4))
    cookie = directory / ".erlang.cookie"
    cookie.write_text("PRIVATENODE")
    cookie.chmod(0o600)
    (directory / "rabbitmq.conf").write_text(settings.format(tls_port=tls_port))
    (directory / "enabled_plugins").write_text("[].")
    node = Node(f"claimbus{port}@localhost", port, tls_port, cookie.read_text(), epmd_port)
    environment = {
        **os.environ,
        "HOME": str(directory),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_NODENAME": node.name,
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(directory / "none"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
    epmd = subprocess.Popen(["epmd", "-address", "127.0.0.1", "-port", str(epmd_port)])
    output = directory / "output"
    with output.open("w") as sink:
        server = subprocess.Popen([SERVER], env=environment, stdout=sink, stderr=subprocess.STDOUT)
    try:
        _wait_until_started(server, output)
        yield node
    finally:
        for process in (server, epmd):
            process.terminate()
            process.wait(timeout=30)


def available() -> bool:
    return SERVER.exists() and shutil.which("erl_call") is not None


def _wait_until_started(server: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + 90
    while "completed with" not in output.read_text():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the private RabbitMQ node did not start:\n{output.read_text()}")
        time.sleep(0.1)
