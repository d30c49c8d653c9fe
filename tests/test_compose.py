"""The deployment: what Compose will read, and what the servers in it will read."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from ruamel.yaml import YAML

from claimbus.cli.services.ready import redis_answers
from claimbus.cli.services.server import Server, free_ports

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "compose.yaml"
SECRETS = ("RABBITMQ_PASSWORD", "REDIS_PASSWORD", "POSTGRESQL_PASSWORD")
YAML_READER = YAML(typ="safe")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = YAML_READER.load(COMPOSE)["services"]
    return found


def violations(compose: Path) -> str:
    """What the Compose specification's JSON Schema has against a file; empty if nothing."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, compose], check=False, capture_output=True, text=True)
    return done.stdout if done.returncode else ""


def test_compose_file_follows_the_compose_specification(tmp_path: Path) -> None:
    assert violations(COMPOSE) == ""
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("healthcheck:", "healthchek:", 1))
    assert "healthchek" in violations(broken)


def test_every_service_restarts_has_limits_and_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert (
            "healthcheck" in service or "HEALTHCHECK" in (ROOT / service["build"]["dockerfile"]).read_text()
        )


def test_every_server_keeps_its_data_in_a_volume(services: dict[str, dict[str, Any]]) -> None:
    volumes = YAML_READER.load(COMPOSE)["volumes"]
    for name in ("rabbitmq", "redis", "postgresql"):
        assert name in volumes
        assert any(volume.startswith(f"{name}:/") for volume in services[name]["volumes"])


def test_but_for_the_portal_ports_are_published_on_the_loopback_interface_only(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, service in services.items():
        if name != "portal":  # which speaks TLS
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("secret", SECRETS)
def test_a_missing_secret_stops_the_start_and_none_has_a_default(secret: str) -> None:
    assert f"${{{secret}:?" in COMPOSE.read_text()
    assert f"{secret}=\n" in (ROOT / "deploy" / "env.example").read_text()


def test_files_that_services_mount_are_there(services: dict[str, dict[str, Any]]) -> None:
    mounted = [v.split(":")[0] for s in services.values() for v in s.get("volumes", ()) if v.startswith("./")]
    assert mounted
    assert all((ROOT / path).is_file() for path in mounted)


class DeployedRedis(Server):
    """The Redis of ``compose.yaml``: its own settings, on a port and in a directory of the test's."""

    name = "Redis"
    start_within = 30.0

    def __init__(self, directory: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{port}/0"
        place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
        super().__init__(directory, ["redis-server", ROOT / "deploy" / "redis.conf", *place])

    def ready(self) -> bool:
        return redis_answers(self.url)


def test_redis_never_evicts_and_syncs_every_write(tmp_path: Path) -> None:
    with DeployedRedis(tmp_path) as server, Redis.from_url(server.url, decode_responses=True) as client:
        found = client.config_get("maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save")
    assert found == {
        "maxmemory-policy": "noeviction",
        "maxmemory": str(2 * 1024**3),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
    }
