"""A private RabbitMQ node, for what must not be done to a shared one: alarms, hanging queues, kills."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from claimbus.cli.services import RabbitNode
from claimbus.cli.services.server import free_ports


class Node(RabbitNode):
    """A node that listens with TLS too, and takes orders in milliseconds; ``rabbitmqctl`` takes a second.

    ``certificates`` holds ``ca.pem``, ``cert.pem`` and ``key.pem``.
    """

    def __init__(self, directory: Path, certificates: Path) -> None:
        [self.tls_port] = free_ports(1)
        settings = {
            "listeners.ssl.default": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": f"{certificates}/ca.pem",
            "ssl_options.certfile": f"{certificates}/cert.pem",
            "ssl_options.keyfile": f"{certificates}/key.pem",
            "ssl_options.versions.1": "tlsv1.2",
            "ssl_options.versions.2": "tlsv1.3",
        }
        super().__init__(directory, settings=settings)

    def call(self, expression: str) -> None:
        """Evaluate an Erlang expression on the node."""
        cookie = (self.directory / ".erlang.cookie").read_text()
        address = f"127.0.0.1:{self.environment['RABBITMQ_DIST_PORT']}"
        try:
            done = subprocess.run(
                ["erl_call", "-address", address, "-c", cookie, "-e"],
                input=f"{expression}.\n",
                env=self.environment,
                text=True,
                capture_output=True,
                check=True,
                timeout=30,
            )
        except (subprocess.CalledProcessError, FileNotFoundError):
            # It crashes on a machine that does not know its own name.
            self.ctl("eval", f"{expression}.")
        else:
            assert done.stdout.startswith("{ok, "), done.stdout

    def add_vhost(self, vhost: str) -> str:
        """Make a vhost and return its AMQP URL."""
        self.call(f'rabbit_vhost:add(<<"{vhost}">>, <<"test">>)')
        rights = '<<".*">>, <<".*">>, <<".*">>'
        self.call(
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{vhost}">>, {rights}, <<"test">>)'
        )
        return self.amqp_url + vhost

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
