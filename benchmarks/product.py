"""The product as the benchmarks run it: its own composition root, with the defaults that users get."""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from benchmarks.side import Delivering
from claimbus.cli.settings import Settings, load
from claimbus.database.audit import Act
from consumers.lane import TICKETS_PER_REQUEST

ACT: Final = Act("benchmark")
SUBSCRIPTION: Final = "oms.#"


def settings(order: Delivering) -> Settings:
    """Return the defaults, for this order's servers, database and sink."""
    return load(
        amqp_url=os.environ["CLAIMBUS_AMQP_URL"],
        redis_url=os.environ["CLAIMBUS_REDIS_URL"],
        key_prefix=order.key_prefix,
        database_url=order.database if "://" in order.database else f"sqlite:///{order.database}",
        webhook_networks=(ip_network("127.0.0.0/8"),),
        webhook_ports="1-65535",
        webhook_allow_http=order.authority is None,
        webhook_ca_file=Path(order.authority) if order.authority else None,
    )


def concurrency(order: Delivering) -> int:
    """Return an endpoint's concurrency with which a worker prefetches what the order says."""
    return max(1, order.prefetch // TICKETS_PER_REQUEST)


def participant(number: int) -> str:
    """Return the name of the participant whose endpoint has this number."""
    return f"P{number:03}"
