"""Every setting, in one place: environment variables ``CLAIMBUS_*`` or a TOML file.

The file is ``claimbus.toml`` in the working directory, or the one that ``CLAIMBUS_CONFIG`` names. The
environment wins over the file. Settings are read once, by the command that starts, and passed down.
"""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from claimbus.cli.durations import parse_duration, show_duration
from claimbus.cli.ports import PortRange, parse_ports
from claimbus.events.errors import ConfigurationError


def _words(value: object) -> object:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_words)]
Ports = Annotated[tuple[PortRange, ...], NoDecode, BeforeValidator(parse_ports)]


class Settings(BaseSettings):
    """What an operator may set. Durations read ``500ms``, ``30s``, ``10m``, ``6h``, ``7d``."""

    model_config = SettingsConfigDict(
        env_prefix="CLAIMBUS_",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # there are passwords and keys in it
    )

    environment: str = Field(default="development", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """Which environment this is (production, map-stage, ...); part of every event's source."""

    amqp_url: str = "amqp://guest:guest@127.0.0.1:5672/"
    """RabbitMQ; several hosts as amqps://user:password@one:5671,two:5671/vhost."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis (noeviction, AOF); also redis+sentinel://HOSTS/SERVICE, redis+cluster://HOSTS; TLS: rediss..."""
    redis_replicas: int | None = Field(default=None, ge=0)
    """Replicas that must have a claim once it is checked in; default: 1 with Sentinel or Cluster, else 0."""
    key_prefix: str = ""
    """Put before every Redis key, when several buses share one Redis."""
    database_url: str = "sqlite:///claimbus.db"
    """sqlite:///FILE or postgresql://user:password@host/name."""

    database_timeout: Duration = timedelta(seconds=10)
    """How long a transaction waits for another's lock."""

    tls_ca_file: Path | None = None
    """CA certificates (PEM) that RabbitMQ's and Redis's certificates are checked against."""
    tls_certificate_file: Path | None = None
    """Our client certificate (PEM) for RabbitMQ and Redis."""
    tls_key_file: Path | None = None
    """Its private key (PEM)."""

    encryption_keys: SecretStr = SecretStr("")
    """Keys (ID:32 bytes in Base64, ...) for bodies and secrets at rest: the first encrypts, all decrypt."""

    encryption_required: bool = False
    """Refuse what lies in clear; set it once 'claimbus rekey' finds nothing in clear any more."""

    claim_life: Duration = timedelta(days=7)
    """How long a body waits in Redis; must exceed every endpoint's age limit."""
    max_body: int = Field(default=64 * 1024 * 1024, ge=1024)
    """Largest body in bytes; a larger one is refused at check-in."""
    redeem_cache: int = Field(default=64 * 1024 * 1024, ge=0)
    """Bytes of redeemed claims that a worker keeps for its other endpoints."""

    publish_window: int = Field(default=500, ge=1)
    """Unconfirmed tickets of one producer."""
    confirm_timeout: Duration = timedelta(seconds=30)
    """Silence from RabbitMQ after which a publish counts as unconfirmed."""

    retry_ladder: str = "5s,30s,2m,10m,1h,6h"
    """Pauses between attempts; after the last one a delivery is a dead letter."""
    age_limit: Duration = timedelta(hours=72)
    """Age at which a delivery is given up, for endpoints that do not set their own."""
    hold_after: int = Field(default=5, ge=1)
    """Failures in a row that hold an endpoint."""
    hold_pause: Duration = timedelta(seconds=5)
    """First pause between probes of a held endpoint; doubles with each failed probe."""
    hold_pause_longest: Duration = timedelta(minutes=5)
    """Longest pause between probes."""
    attempts_kept: Duration = timedelta(days=90)
    """How long the records of attempts and of dead letters are kept, without bodies."""
    letters_kept: Duration = timedelta(days=30)
    """How long after its death a dead letter can be replayed: its body is kept in the database until then."""
    letters_budget: int = Field(default=10 * 1024**3, ge=1024)
    """Bytes of dead letters' bodies in the database; beyond it further letters wait in RabbitMQ."""
    replay_rate: float = Field(default=50.0, ge=0)
    """Deliveries a second that a replay or recovery sends to an endpoint; 0: no limit."""
    work_deadletters: bool = True
    """Let 'claimbus work' record dead letters and run replays too; else run 'claimbus deadletters attend'."""
    reconcile_every: Duration = timedelta(seconds=30)
    """How often workers compare their queues with the database."""
    watch_every: Duration = timedelta(seconds=5)
    """How often one of the workers looks whether every endpoint's queue answers."""
    grace: Duration = timedelta(seconds=30)
    """Time a stopping worker gives what is in flight."""

    webhook_ca_file: Path | None = None
    """CA certificates (PEM) that receivers are checked against, besides the public ones."""
    webhook_certificate_file: Path | None = None
    """Our client certificate (PEM) shown to receivers."""
    webhook_key_file: Path | None = None
    """Its private key (PEM)."""
    webhook_networks: Networks = ()
    """Networks that webhooks may reach although they are private, such as 10.1.0.0/16."""
    webhook_ports: Ports = (PortRange(443, 443), PortRange(8443, 8443))
    """Ports that webhooks may reach; a range such as 1024-65535 is for trying things out only."""
    webhook_origin: str = Field(default="", pattern=r"^([A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*)?$")
    """DNS name by which receivers know us and permit us; by default ENVIRONMENT.claimbus."""
    webhook_allow_http: bool = False
    """Allow http:// endpoints; for trying things out only."""
    webhook_connect_timeout: Duration = timedelta(seconds=5)
    """Time to connect, TLS included."""

    portal_listen: str = "127.0.0.1:8443"
    """host:port of the portal; without a certificate only on loopback."""
    portal_certificate_file: Path | None = None
    """The portal's certificate (PEM), with its chain; read again when it changes."""
    portal_key_file: Path | None = None
    """Its private key (PEM)."""
    portal_proxies: Networks = ()
    """Networks of the proxies in front of the portal, whose Client-Cert header is believed."""

    portal_url: str = Field(default="", pattern=r"^(https?://[^\s/?#]+[^\s?#]*)?$")
    """Where people reach the portal, for links in mails: https://events.iso.example."""

    mail_url: str = ""
    """Where mails to contacts are posted: smtp://user:password@host (STARTTLS), smtps://, file:///FOLDER."""
    mail_from: str = ""
    """Whom these mails are from: Event bus <bus@iso.example>."""
    mail_ca_file: Path | None = None
    """CA certificates (PEM) that the mail server is checked against, in place of the public ones."""
    mail_gather: Duration = timedelta(minutes=1)
    """How long what happens is gathered into one mail."""

    portal_rate: float = Field(default=50.0, ge=0)
    """API requests a second of one principal, twice as many at once (not claims, streams). 0: no limit."""

    feed_timezone: str = "America/Los_Angeles"
    """Time zone of the snapshot feed's local times."""

    metrics_listen: str = ""
    """host:port of the worker's /metrics; process n of --processes listens on port + n. Empty: none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """json, console, or auto: console on a terminal."""

    @field_validator("feed_timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError) as unknown:
            raise ValueError(f"{name!r} is no IANA time zone") from unknown
        return name

    @model_validator(mode="after")
    def _life_exceeds_age(self) -> "Settings":
        if self.claim_life <= self.age_limit:
            raise ValueError(
                f"claim_life ({self.claim_life}) must be longer than age_limit ({self.age_limit}): "
                "a delivery would outlive its body"
            )
        return self

    @cached_property
    def oms_source(self) -> str:
        """CloudEvents source of what the OMS watcher publishes."""
        return self.source("oms")

    def source(self, system: str) -> str:
        """Return the CloudEvents source of an ISO system in this environment."""
        return f"urn:claimbus:{self.environment}:{system}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the file."""
        del dotenv_settings, file_secret_settings
        file = TomlConfigSettingsSource(settings_cls, _file())
        return init_settings, env_settings, file


class Line(NamedTuple):
    """One setting as ``claimbus settings`` shows it."""

    variable: str
    value: str
    default: str
    meaning: str


def load(**overrides: object) -> Settings:
    """Read the settings. Raises ConfigurationError naming the first wrong one."""
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as wrong:
        first = wrong.errors()[0]
        # What is wrong with no field in particular is their relation: a claim's life and the age limit.
        name = f"CLAIMBUS_{first['loc'][0]}".upper() if first["loc"] else "CLAIMBUS_CLAIM_LIFE"
        raise ConfigurationError(name, first["msg"].removeprefix("Value error, ")) from wrong
    except ValueError as unreadable:
        raise ConfigurationError("CLAIMBUS_CONFIG", str(unreadable)) from unreadable


def lines(settings: Settings) -> Iterator[Line]:
    """List every setting with its value, default and meaning; passwords are masked."""
    for name, field in Settings.model_fields.items():
        yield Line(
            variable=f"CLAIMBUS_{name.upper()}",
            value=_shown(getattr(settings, name)),
            default=_shown(field.default),
            meaning=field.description or "",
        )


def without_password(url: str) -> str:
    """Return the URL with its password masked, be it before the host or among the parameters."""
    masked = re.sub(r"(://[^:@/]*:).*@", r"\1***@", url)
    return re.sub(r"([?&]\w*password=)[^&]*", r"\1***", masked, flags=re.IGNORECASE)


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        rounded = show_duration(value.total_seconds())
        return rounded if parse_duration(rounded) == value else f"{value.total_seconds():g}s"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return "" if value is None else without_password(str(value))


ALSO: Final = frozenset(
    {
        "CLAIMBUS_CONFIG",
        "CLAIMBUS_WORKER_NUMBER",  # put there by `claimbus work --processes` for each of them
        "CLAIMBUS_MANAGEMENT_URL",  # these two are for tests, put there by ./dev
        "CLAIMBUS_TEST_POSTGRESQL_URL",
    }
)
"""Variables that are no settings and are not refused."""


def _refuse_unknown_variables() -> None:
    known = {f"CLAIMBUS_{name.upper()}" for name in Settings.model_fields} | ALSO
    for variable in sorted(os.environ):
        if variable.startswith("CLAIMBUS_") and variable not in known:
            raise ConfigurationError(variable, "is no setting; 'claimbus settings' lists them all")


def _file() -> Path | None:
    named = os.environ.get("CLAIMBUS_CONFIG")
    if named is not None:
        path = Path(named)
        if not path.is_file():
            raise ConfigurationError("CLAIMBUS_CONFIG", f"{named} is no file")
        return path
    path = Path("claimbus.toml")
    return path if path.is_file() else None
