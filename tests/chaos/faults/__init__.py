"""All faults, in the order in which the report has them."""

from tests.chaos.fault import Fault
from tests.chaos.faults import (
    clock,
    database,
    network,
    points,
    processes,
    rabbitmq,
    receivers,
    redis,
    versions,
)

FAULTS: tuple[Fault, ...] = (
    *processes.FAULTS,
    *points.FAULTS,
    *receivers.FAULTS,
    *database.FAULTS,
    *clock.FAULTS,
    *rabbitmq.FAULTS,
    *redis.FAULTS,
    *network.FAULTS,
    *versions.FAULTS,
)
