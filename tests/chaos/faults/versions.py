"""The newest RabbitMQ and Redis of Debian, under the plain load with a worker killed."""

from tests.chaos.fault import Fault
from tests.chaos.faults.processes import killed
from tests.chaos.house import WORKERS

FAULTS = (
    Fault("rabbitmq-4", "RabbitMQ 4.0; a worker, SIGKILL", killed(*WORKERS), "rabbitmq-4"),
    Fault("redis-8", "Redis 8.0; a worker, SIGKILL", killed(*WORKERS), "redis-8"),
)
