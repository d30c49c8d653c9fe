"""RabbitMQ and Redis in containers, by a Docker engine that answers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from claimbus.cli.services.ready import amqp_answers, management_answers, redis_answers
from claimbus.cli.services.server import ServicesError

RABBITMQ = "rabbitmq:4-management"
REDIS = "redis:8"
REDIS_COMMAND = "redis-server --appendonly yes --appendfsync always --maxmemory-policy noeviction"
START_WITHIN = 120.0  # seconds, after the images have been pulled


def engine_answers() -> bool:
    """Whether there is an engine; a client alone does not count."""
    try:
        from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415 - of the development extra

        return bool(DockerClient().client.ping())
    except Exception:  # noqa: BLE001 - whatever keeps a client from its engine, there is none to work with
        return False


@contextmanager
def containers() -> Iterator[tuple[str, str, str]]:
    """Run both servers; yields their AMQP, Redis and management URLs.

    Testcontainers' own reaper ends them should this process be killed.

    Raises:
        ServicesError: The engine cannot run them (say, it has no images and cannot pull any).
    """
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - of the development extra

    rabbitmq = DockerContainer(RABBITMQ).with_exposed_ports(5672, 15672)
    redis = DockerContainer(REDIS).with_exposed_ports(6379).with_command(REDIS_COMMAND)
    try:
        try:
            host = rabbitmq.start().get_container_host_ip()
            redis.start()
            amqp_url = f"amqp://guest:guest@{host}:{rabbitmq.get_exposed_port(5672)}/"
            management_url = f"http://guest:guest@{host}:{rabbitmq.get_exposed_port(15672)}"
            redis_url = f"redis://{host}:{redis.get_exposed_port(6379)}/0"
        except Exception as error:
            raise ServicesError(f"Docker cannot run {RABBITMQ} and {REDIS}: {error}") from error
        deadline = time.monotonic() + START_WITHIN
        while not (
            redis_answers(redis_url) and amqp_answers(amqp_url) and management_answers(management_url)
        ):
            if time.monotonic() > deadline:
                raise ServicesError(
                    f"{RABBITMQ} and {REDIS} are not ready after {START_WITHIN:.0f} s in Docker"
                )
            time.sleep(0.2)
        yield amqp_url, redis_url, management_url
    finally:
        for container in (redis, rabbitmq):
            container.stop()
