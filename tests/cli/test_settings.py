"""Settings: where they come from, what is refused, and that passwords stay hidden."""

from datetime import timedelta
from pathlib import Path

import pytest

from claimbus.cli.settings import lines, load, without_password
from claimbus.events.errors import ConfigurationError


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AMQP_URL", "REDIS_URL", "DATABASE_URL", "CONFIG"):
        monkeypatch.delenv(f"CLAIMBUS_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_file_sets_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "claimbus.toml").write_text('environment = "map-stage"\nclaim_life = "10d"\n')
    monkeypatch.setenv("CLAIMBUS_CLAIM_LIFE", "8d")
    settings = load()
    assert (settings.environment, settings.claim_life) == ("map-stage", timedelta(days=8))
    assert settings.source("oms") == "urn:claimbus:map-stage:oms"
    monkeypatch.setenv("CLAIMBUS_CONFIG", str(tmp_path / "other.toml"))
    (tmp_path / "other.toml").write_text('environment = "production"\n')
    assert load().environment == "production"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CLAIMBUS_ENVIRONMENT", "Production!", "pattern"),
        ("CLAIMBUS_CLAIM_LIFE", "a week", "is no duration"),
        ("CLAIMBUS_CLAIM_LIFE", "1h", "longer than age_limit"),
        ("CLAIMBUS_MAX_BODY", "many", "integer"),
        ("CLAIMBUS_FEED_TIMEZONE", "Pacific", "IANA"),
        ("CLAIMBUS_WEBHOOK_NETWORKS", "10.1.0.0/33", "network"),
        ("CLAIMBUS_WEBHOOK_PORTS", "443,70000", "'70000' is no port"),
        ("CLAIMBUS_WEBHOOK_ORIGIN", "https://iso.test", "pattern"),
        ("CLAIMBUS_LOG_LEVEL", "loud", "'debug'"),
        ("CLAIMBUS_CONFIG", "nowhere.toml", "is no file"),
        ("CLAIMBUS_AMPQ_URL", "amqp://", "is no setting"),
    ],
)
def test_a_wrong_setting_names_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=reason) as wrong:
        load()
    assert wrong.value.field == name


def test_a_wrong_file_names_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "claimbus.toml"
    file.write_text("amqp_uri = 'amqp://'\n")
    with pytest.raises(ConfigurationError) as wrong:
        load()
    assert wrong.value.field == "CLAIMBUS_AMQP_URI"
    file.write_text("environment = \n")
    with pytest.raises(ConfigurationError) as unreadable:
        load()
    assert unreadable.value.field == "CLAIMBUS_CONFIG"


def test_every_setting_is_listed_with_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMBUS_AMQP_URL", "amqps://bus:s3cret@one:5671,two:5671/iso")
    listed = {line.variable: line for line in lines(load())}
    assert all(line.meaning for line in listed.values())
    assert listed["CLAIMBUS_CLAIM_LIFE"].default == "7d"
    assert listed["CLAIMBUS_AMQP_URL"].value == "amqps://bus:***@one:5671,two:5671/iso"


@pytest.mark.parametrize(
    "url",
    [
        "amqp://bus:s3cret@one,two/iso",
        "redis://:s3cret@one/0",
        "postgresql://bus:s3/cr@et@one/claimbus",
        "postgresql://bus@one/claimbus?password=s3cret&sslmode=require",
        "amqp://bus:s3cret@[one",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    assert "s3" not in without_password(url)
    assert without_password(url).startswith(url[:6])
