"""The servers under test: their addresses, and on each a room of one's own that is cleared away.

RabbitMQ gives a vhost, Redis a key prefix. Nothing else on the servers is touched.
"""

import base64
import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import pika
import redis

from benchmarks.memory import resident

QUORUM: Final[Mapping[str, str]] = {"x-queue-type": "quorum"}


CLAIM_READS: Final = ("get", "mget", "getrange")
"""Redis's commands that read claims. A worker reads each endpoint's hold too, once at its start, by HMGET."""


class BenchmarkError(Exception):
    """What stops a benchmark, in one line that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A vhost and a key prefix. ``amqp_url`` names the vhost."""

    amqp_url: str
    redis_url: str
    management_url: str
    key_prefix: str

    def environment(self) -> dict[str, str]:
        """Return this process's environment with the room's addresses in it."""
        return {**os.environ, "CLAIMBUS_AMQP_URL": self.amqp_url, "CLAIMBUS_REDIS_URL": self.redis_url}

    def declare(self, exchange: str, queues: Iterable[str], binding: str) -> None:
        """Declare a durable topic exchange and durable quorum queues bound to it by one key."""
        with self._channel() as channel:
            channel.exchange_declare(exchange, "topic", durable=True)
            for queue in queues:
                channel.queue_declare(queue, durable=True, arguments=dict(QUORUM))
                channel.queue_bind(queue, exchange, binding)

    def purge(self, queues: Iterable[str]) -> int:
        """Empty queues; return how many messages were ready in them, exactly."""
        with self._channel() as channel:
            counts = (channel.queue_purge(queue).method.message_count for queue in queues)
            return int(sum(counts))

    def queues(self, prefix: str) -> list[str]:
        """Return the names of the vhost's queues that begin so."""
        found = _manage(self.management_url, "GET", f"/queues{urlsplit(self.amqp_url).path}?columns=name")
        return [queue["name"] for queue in found if queue["name"].startswith(prefix)]

    def clear_claims(self) -> int:
        """Delete all keys under the prefix; return how many of them were claims."""
        claims, cursor = 0, 0
        with redis.Redis.from_url(self.redis_url) as client:
            while True:
                cursor, keys = client.scan(cursor, match=f"{self.key_prefix}*", count=1000)
                claims += len([key for key in keys if key.startswith(f"{self.key_prefix}claim:".encode())])
                if keys:
                    client.unlink(*keys)
                if not cursor:
                    return claims

    def claim_reads(self) -> int:
        """Return how many reads of strings, which claims are, Redis has served so far, to anybody."""
        with redis.Redis.from_url(self.redis_url) as client:
            found = client.info("commandstats")
        return sum(found.get(f"cmdstat_{name}", {}).get("calls", 0) for name in CLAIM_READS)

    def process_ids(self) -> dict[str, int]:
        """Return the process IDs of the servers, as far as they are processes of this machine.

        The first node is ``RabbitMQ``, further ones of a cluster are ``RabbitMQ 2`` and so on.
        """
        with redis.Redis.from_url(self.redis_url) as client:
            found = {"Redis": ("redis-server", int(client.info("server")["process_id"]))}
        for number, node in enumerate(_manage(self.management_url, "GET", "/nodes?columns=os_pid"), 1):
            name = "RabbitMQ" if number == 1 else f"RabbitMQ {number}"
            found[name] = ("beam.smp", int(node["os_pid"]))
        return {name: pid for name, (program, pid) in found.items() if _runs(pid, program)}

    def standing(self) -> dict[str, int]:
        """Return the bytes of memory and disk that the servers take now, as far as that can be seen."""
        with redis.Redis.from_url(self.redis_url) as client:
            told = client.info("memory") | client.info("persistence")
        found = {"Redis memory": int(told["used_memory"])}
        if told["aof_enabled"]:
            found["Redis file"] = int(told["aof_current_size"])
        if "RabbitMQ" in (processes := self.process_ids()):
            found["RabbitMQ memory"] = resident(processes["RabbitMQ"])
            node, *_ = _manage(self.management_url, "GET", "/nodes?columns=db_dir")
            files = [file.stat() for file in Path(node["db_dir"]).rglob("*") if file.is_file()]
            found["RabbitMQ disk"] = sum(file.st_blocks for file in files) * 512
        return found

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp_url))
        try:
            yield connection.channel()
        finally:
            connection.close()


@contextmanager
def room(servers: Mapping[str, str] = os.environ) -> Iterator[Room]:
    """Give a room on the servers named there. Raises BenchmarkError when one does not answer."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    amqp = urlsplit(_required(servers, "CLAIMBUS_AMQP_URL"))
    user = quote(unquote(amqp.username or "guest"), safe="")
    made = Room(
        amqp_url=urlunsplit((amqp.scheme, amqp.netloc, f"/{name}", amqp.query, "")),
        redis_url=_required(servers, "CLAIMBUS_REDIS_URL"),
        management_url=_required(servers, "CLAIMBUS_MANAGEMENT_URL"),
        key_prefix=f"{name}:",
    )
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    _manage(made.management_url, "PUT", f"/vhosts/{name}", {})
    try:
        _manage(made.management_url, "PUT", f"/permissions/{name}/{user}", everything)
        yield made
    finally:
        _manage(made.management_url, "DELETE", f"/vhosts/{name}")
        made.clear_claims()


def _runs(pid: int, program: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == program
    except OSError:
        return False


def versions() -> dict[str, str]:
    """Return the servers' versions, and how Redis persists."""
    with redis.Redis.from_url(_required(os.environ, "CLAIMBUS_REDIS_URL")) as client:
        persistence = client.config_get("append*")
        version = client.info("server")["redis_version"]
    return {
        "rabbitmq": rabbitmq_version(_required(os.environ, "CLAIMBUS_MANAGEMENT_URL")),
        "redis": version,
        "appendonly": persistence["appendonly"],
        "appendfsync": persistence["appendfsync"],
    }


def rabbitmq_version(management_url: str) -> str:
    """Return the version of the RabbitMQ whose management API this is."""
    return str(_manage(management_url, "GET", "/overview")["rabbitmq_version"])


def _manage(url: str, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - its JSON
    parts = urlsplit(url)
    url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], f"/api{path}", "", ""))
    login = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
    headers = {
        "Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
        "Content-Type": "application/json",
    }
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
    except urllib.error.URLError as wrong:
        raise BenchmarkError(f"RabbitMQ's management API: {method} {path}: {wrong}") from wrong
    return json.loads(text) if text else None


def _required(servers: Mapping[str, str], name: str) -> str:
    value = servers.get(name)
    if not value:
        raise BenchmarkError(f"{name} is not set: run the benchmark with ./dev bench")
    return value
