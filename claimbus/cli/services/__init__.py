"""The services that a run needs: those it is pointed to, else private ones that end with it.

They are looked for in this order: URLs in the environment; a Docker engine; ``rabbitmq-server`` and
``redis-server`` on this machine; Debian's packages, installed. What a run did not start it never touches.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from claimbus.cli.services import debian, docker
from claimbus.cli.services.directory import private_directory
from claimbus.cli.services.postgresql import PostgresServer
from claimbus.cli.services.rabbitmq import RabbitNode, rabbitmq_server
from claimbus.cli.services.redis import RedisServer, redis_server
from claimbus.cli.services.server import ServicesError

__all__ = [
    "PostgresServer",
    "RabbitNode",
    "RedisServer",
    "Services",
    "ServicesError",
    "install_missing_servers",
    "local_services",
    "private_directory",
]

AMQP_URL, REDIS_URL, MANAGEMENT_URL = "CLAIMBUS_AMQP_URL", "CLAIMBUS_REDIS_URL", "CLAIMBUS_MANAGEMENT_URL"
DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}
NOTHING_FOUND = f"""no RabbitMQ and Redis to work with. One of these will do:
  - set {AMQP_URL} and {REDIS_URL} to servers that are for trying things out
  - start a Docker engine
  - have an administrator install them: apt-get install rabbitmq-server redis-server"""


@dataclass(frozen=True, slots=True)
class Services:
    """Where RabbitMQ and Redis answer; ``management_url`` is None if RabbitMQ's HTTP API is not known."""

    amqp_url: str
    redis_url: str
    management_url: str | None
    description: str

    def environment(self) -> dict[str, str]:
        """Give the settings that point a process to them."""
        urls = {AMQP_URL: self.amqp_url, REDIS_URL: self.redis_url, MANAGEMENT_URL: self.management_url}
        return {name: url for name, url in urls.items() if url is not None}


@contextmanager
def local_services(
    directory: Path,
    *,
    report: Callable[[str], None],
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Services]:
    """Find or start RabbitMQ and Redis, say by ``report`` which, and end at the end what was started.

    Private servers keep their data in a directory of their own below ``directory``, for this run only.

    Raises:
        ServicesError: There are none, or they do not start or answer.
    """
    with ExitStack() as running:
        services = _given(environment) or _in_docker(running, report)
        if services is None:
            install_missing_servers(report)
            services = _private(running.enter_context(private_directory(directory)), running, report)
        report(f"using {services.description}")
        yield services


def _given(environment: Mapping[str, str]) -> Services | None:
    """Read the URLs in the environment; None if there are none."""
    amqp_url, redis_url = environment.get(AMQP_URL), environment.get(REDIS_URL)
    if not amqp_url and not redis_url:
        return None
    if not amqp_url or not redis_url:
        raise ServicesError(f"only one of {AMQP_URL} and {REDIS_URL} is set: set both, or neither")
    for name, url in ((AMQP_URL, amqp_url), (REDIS_URL, redis_url)):
        if not any(_listens(host, port) for host, port in _addresses(url)):
            raise ServicesError(f"{name} is set, but nothing listens there")
    described = f"the servers that {AMQP_URL} and {REDIS_URL} name"
    return Services(amqp_url, redis_url, environment.get(MANAGEMENT_URL) or None, described)


def _addresses(url: str) -> Iterator[tuple[str, int]]:
    """Host and port of each server in a URL, which may name several of a cluster."""
    parts = urlsplit(url)
    for place in parts.netloc.rpartition("@")[2].split(","):
        address = urlsplit(f"//{place}")
        yield address.hostname or "localhost", address.port or DEFAULT_PORTS.get(parts.scheme, 0)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def _in_docker(running: ExitStack, report: Callable[[str], None]) -> Services | None:
    """Start containers; None without an engine, or with one that cannot run them."""
    if not docker.engine_answers():
        return None
    report(f"starting {docker.RABBITMQ} and {docker.REDIS} in Docker")
    try:
        urls = running.enter_context(docker.containers())
    except ServicesError as error:
        report(f"{error}; going on without Docker")
        return None
    return Services(*urls, f"containers {docker.RABBITMQ} and {docker.REDIS}")


def install_missing_servers(report: Callable[[str], None]) -> None:
    """Install Debian's RabbitMQ and Redis unless they are there.

    Raises:
        ServicesError: One is missing and we may not install it, or the installation failed.
    """
    missing = []
    if rabbitmq_server() is None:
        missing.append("rabbitmq-server")
    if redis_server() is None:
        missing.append("redis-server")
    if missing and not debian.can_install():
        raise ServicesError(NOTHING_FOUND)
    if missing:
        debian.install(missing, report)


def _private(directory: Path, running: ExitStack, report: Callable[[str], None]) -> Services:
    report("starting a private RabbitMQ node and Redis server")
    redis = RedisServer(directory / "redis")
    rabbitmq = RabbitNode(directory / "rabbitmq")
    for server in (redis, rabbitmq):
        running.callback(server.kill)  # nobody needs the data any more
        server.launch()
    for server in (redis, rabbitmq):
        server.wait()
    described = f"a private RabbitMQ node and Redis server in {directory}"
    return Services(rabbitmq.amqp_url, redis.url, rabbitmq.management_url, described)
