"""The deployment: what Compose will read, and what the servers in it will read."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from claimbus.cli.services.redis import redis_server

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "compose.yaml"
SECRETS = ("RABBITMQ_PASSWORD", "REDIS_PASSWORD", "POSTGRESQL_PASSWORD")
YAML_READER = YAML(typ="safe")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = YAML_READER.load(COMPOSE)["services"]
    return found


def test_compose_file_follows_the_compose_specification() -> None:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, COMPOSE], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_an_unknown_word_in_a_compose_file_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("healthcheck:", "healthchek:", 1))
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", broken],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "healthchek" in done.stdout


def test_every_service_restarts_has_limits_and_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert "healthcheck" in service or "HEALTHCHECK" in (ROOT / service["build"]["dockerfile"]).read_text()


def test_every_server_keeps_its_data_in_a_volume(services: dict[str, dict[str, Any]]) -> None:
    volumes = YAML_READER.load(COMPOSE)["volumes"]
    for name in ("rabbitmq", "redis", "postgresql"):
        assert name in volumes
        assert any(volume.startswith(f"{name}:/") for volume in services[name]["volumes"])


def test_ports_are_published_on_the_loopback_interface_only(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("secret", SECRETS)
def test_a_missing_secret_stops_the_start_and_none_has_a_default(secret: str) -> None:
    assert f"${{{secret}:?" in COMPOSE.read_text()
    assert f"{secret}=\n" in (ROOT / "deploy" / "env.example").read_text()


def test_files_that_services_mount_are_there(services: dict[str, dict[str, Any]]) -> None:
    mounted = [v.split(":")[0] for s in services.values() for v in s.get("volumes", ()) if v.startswith("./")]
    assert mounted
    assert all((ROOT / path).is_file() for path in mounted)


def test_redis_never_evicts_and_syncs_every_write() -> None:
    program = redis_server()
    assert program is not None or shutil.which("docker")
    settings = dict(
        line.split(maxsplit=1)
        for line in (ROOT / "deploy" / "redis.conf").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
