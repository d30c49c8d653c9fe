"""A private Redis server on the loopback interface, as durable as the one in ``compose.yaml``."""

import shutil
from pathlib import Path
from typing import Literal

from claimbus.cli.services.ready import redis_answers
from claimbus.cli.services.server import Server, ServicesError, free_ports, search_path


def redis_server() -> Path | None:
    """Find the program on this machine."""
    found = shutil.which("redis-server", path=search_path())
    return Path(found) if found else None


class RedisServer(Server):
    """One server with an append-only file, no snapshots and no eviction; on a free port unless told.

    ``program`` is another ``redis-server`` than this machine's own.
    """

    name = "Redis"
    start_within = 30.0  # well under one with little data

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        appendfsync: Literal["always", "everysec", "no"] = "always",
        program: Path | None = None,
    ) -> None:
        program = program or redis_server()
        if program is None:
            raise ServicesError("redis-server is not installed on this machine")
        port = port or free_ports(1)[0]
        self.url = f"redis://127.0.0.1:{port}/0"
        settings = {
            "port": str(port),
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        super().__init__(directory, [program, *options])

    def ready(self) -> bool:
        """Whether the server has loaded its data and answers."""
        return redis_answers(self.url)
