"""Whether a server answers in its own protocol; the clients proper belong to other rooms."""

import base64
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

PATIENCE = 2.0  # seconds for one answer on the loopback interface


def _answer(url: str, question: bytes, length: int) -> bytes:
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname, address.port), PATIENCE) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(question)
            return connection.recv(length, socket.MSG_WAITALL)
    except OSError:
        return b""


def amqp_answers(url: str) -> bool:
    """Whether a broker greets back with ``connection.start``: a method frame (1) on channel 0."""
    return _answer(url, b"AMQP\x00\x00\x09\x01", 3) == b"\x01\x00\x00"


def redis_answers(url: str) -> bool:
    """Whether a Redis without a password says that it is ready (while it loads its data it says so too).

    Of several, sentinels or a cluster's, one is enough.
    """
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    return any(_answer(f"redis://{host}", b"PING\r\n", 7) == b"+PONG\r\n" for host in hosts)


def management_answers(url: str) -> bool:
    """Whether RabbitMQ's management API lets the user of the URL in and finds all its vhosts up."""
    address = urlsplit(url)
    credentials = base64.b64encode(f"{address.username}:{address.password}".encode()).decode()
    request = urllib.request.Request(
        f"http://{address.hostname}:{address.port}/api/health/checks/virtual-hosts",
        headers={"Authorization": f"Basic {credentials}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
