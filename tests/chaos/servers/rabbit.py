"""Private nodes of RabbitMQ that may be killed, stopped and hung: one, or three that are a cluster."""

import os
import secrets
import shutil
import signal
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from claimbus.cli.services import RabbitNode, ServicesError
from claimbus.cli.services.server import Server, free_ports, search_path

NODES: Final = 3
"""Of a cluster; so each quorum queue and stream has three replicas."""

SENT_AGAIN_MS: Final = 10_000
"""Milliseconds after which what is dead-lettered is sent again unless its next queue has confirmed it, whose
leader may have died. RabbitMQ's own 180,000 would have retries wait for so long."""


class Rabbit(RabbitNode):
    """A node that an operator's hand reaches."""

    start_within = 180.0  # three at once on two busy cores

    @property
    def node(self) -> str:
        """Its name in Erlang."""
        return self.environment["RABBITMQ_NODENAME"]

    def pause(self) -> None:
        """Let it hang: its connections stay and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause."""
        os.kill(self.pid, signal.SIGCONT)

    def evaluate(self, erlang: str) -> str:
        """Evaluate an expression on the node; returns its value as Erlang writes it."""
        return self.ctl("eval", f"{erlang}.").strip()


class PortMapper(Server):
    """Erlang's epmd by itself: nodes that find each other by it may be killed one by one."""

    name = "epmd"
    start_within = 30.0

    def __init__(self, directory: Path) -> None:
        program = shutil.which("epmd", path=search_path())
        if program is None:
            raise ServicesError("epmd is not installed on this machine")
        [self.port] = free_ports(1)
        super().__init__(directory, [program, "-address", "127.0.0.1", "-port", str(self.port)])

    def ready(self) -> bool:
        """Whether somebody listens on its port."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def open_cluster(
    directory: Path, running: ExitStack, *, sent_again_ms: int | None = None
) -> Sequence[Rabbit]:
    """Start three nodes that are one cluster; they end with ``running``.

    ``sent_again_ms`` is the ``dead_letter_worker_publisher_confirm_timeout``, if not RabbitMQ's own.
    """
    mapper = running.enter_context(PortMapper(directory / "epmd"))
    nodes = [Rabbit(directory / f"rabbitmq{number + 1}") for number in range(NODES)]
    cookie = secrets.token_hex(10)
    for node in nodes:
        node.environment["ERL_EPMD_PORT"] = str(mapper.port)
        (node.directory / ".erlang.cookie").write_text(cookie)
        (node.directory / ".erlang.cookie").chmod(0o400)
        if sent_again_ms is not None:
            (node.directory / "advanced.config").write_text(
                f"[{{rabbit, [{{dead_letter_worker_publisher_confirm_timeout, {sent_again_ms}}}]}}].\n"
            )
        with (node.directory / "rabbitmq.conf").open("a") as settings:
            settings.write(_membership(nodes))
        running.callback(node.kill)
    start(nodes)
    return nodes


def start(nodes: Iterable[Rabbit]) -> None:
    """Start nodes side by side: those of a cluster wait for each other."""
    for node in nodes:
        node.launch()
    for node in nodes:
        node.wait()
    for node in nodes:
        node.ctl("await_startup")


def _membership(nodes: Iterable[Rabbit]) -> str:
    lines = ["cluster_formation.peer_discovery_backend = classic_config"]
    lines += [
        f"cluster_formation.classic_config.nodes.{number} = {node.node}"
        for number, node in enumerate(nodes, 1)
    ]
    return "".join(f"{line}\n" for line in lines)
