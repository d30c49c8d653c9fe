"""The limit of publishing: the C program does the same work; this only hands it the order."""

import os
from typing import Final
from urllib.parse import urlsplit

from benchmarks.servers import BenchmarkError
from benchmarks.side import Publishing, order_of_this_side

PROGRAM: Final = "BENCHMARK_PUBLISH_PROGRAM"
"""The environment variable that names the compiled program."""


def main() -> None:
    order = order_of_this_side(Publishing)
    redis = urlsplit(os.environ["CLAIMBUS_REDIS_URL"])
    if redis.scheme != "redis" or redis.password:
        raise BenchmarkError("the C program speaks to Redis without TLS and password only")
    words = (
        redis.hostname or "localhost",
        redis.port or 6379,
        order.key_prefix,
        order.exchange,
        order.routing_key,
    )
    load = (order.type, order.bodies, order.size, order.events, order.seconds, order.window)
    program = os.environ[PROGRAM]
    os.execv(program, [program, *map(str, words + load)])


if __name__ == "__main__":
    main()
