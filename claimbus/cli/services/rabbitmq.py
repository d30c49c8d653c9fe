"""A private RabbitMQ node: own name, own port mapper (epmd), own data, all on the loopback interface."""

# ruff: noqa: S603 - fixed programs with their arguments, never a shell's line

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from claimbus.cli.services.guard import guarded
from claimbus.cli.services.ready import amqp_answers, management_answers
from claimbus.cli.services.server import Server, ServicesError, free_ports, search_path

# Debian's script in /usr/sbin changes to the user "rabbitmq"; this one stays the user who calls it.
DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
ON_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"


def rabbitmq_server() -> Path | None:
    """Find the program on this machine."""
    if DEBIAN.exists():
        return DEBIAN
    found = shutil.which("rabbitmq-server", path=search_path())
    return Path(found) if found else None


class RabbitNode(Server):
    """One node with the management plugin; its user and password are ``guest``.

    ``settings`` are further lines of ``rabbitmq.conf``; ``program`` is another ``rabbitmq-server`` than this
    machine's own, with ``rabbitmqctl`` beside it.
    """

    name = "RabbitMQ"
    start_within = 90.0  # 4 to 10 on two idle cores

    def __init__(
        self, directory: Path, *, settings: Mapping[str, str] | None = None, program: Path | None = None
    ) -> None:
        program = program or rabbitmq_server()
        if program is None:
            raise ServicesError("rabbitmq-server is not installed on this machine")
        self._programs = program.parent
        amqp, management, distribution, epmd = free_ports(4)
        self.amqp_url = f"amqp://guest:guest@127.0.0.1:{amqp}/"
        self.management_url = f"http://guest:guest@127.0.0.1:{management}"
        environment = {
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_INETRC": str(directory / "inetrc"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(directory / "conf.d"),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "rabbitmq-env.conf"),
            "RABBITMQ_CTL_ERL_ARGS": ON_LOOPBACK,
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_NODENAME": f"claimbus-{amqp}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(amqp),
            "RABBITMQ_PID_FILE": str(directory / "node.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ON_LOOPBACK,
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node, instead of its parent
        }
        super().__init__(directory, [program], environment)
        lines = {
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": str(management),
            **(settings or {}),
        }
        files = {
            "rabbitmq.conf": "".join(f"{name} = {value}\n" for name, value in lines.items()),
            "rabbitmq-env.conf": "",
            "enabled_plugins": "[rabbitmq_management].\n",
            # A minimal system may lack /etc/hosts, and nothing else knows localhost there.
            "inetrc": '{host, {127,0,0,1}, ["localhost"]}.\n{lookup, [file, native]}.\n',
        }
        for name, text in files.items():
            (directory / name).write_text(text)

    def ready(self) -> bool:
        """Whether the node greets on AMQP and its management API finds every vhost up."""
        return amqp_answers(self.amqp_url) and management_answers(self.management_url)

    def ctl(self, *arguments: str, program: str = "rabbitmqctl", within: float = 60.0) -> str:
        """Ask ``rabbitmqctl`` (or another of RabbitMQ's programs) about this node; returns what it prints.

        Raises:
            ServicesError: It failed; with its output.
        """
        command = [str(self._programs / program), "--quiet", *arguments]
        # Under a guard too: it would leave an epmd of its own behind when the node's has just died.
        done = subprocess.run(
            guarded(command, self.directory / "ctl.pid"),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        if done.returncode:
            raise ServicesError(f"{program} {' '.join(arguments)}: {(done.stderr + done.stdout).strip()}")
        return done.stdout
