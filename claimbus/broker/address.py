"""Where RabbitMQ is: an AMQP URL with one or several hosts."""

from dataclasses import dataclass, field
from urllib.parse import unquote

from claimbus.events.errors import ConfigurationError

_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class Address:
    """A vhost of a cluster and who we are there. ``hosts`` are tried until one answers."""

    hosts: tuple[tuple[str, int], ...]
    vhost: str
    user: str
    password: str = field(repr=False)
    secure: bool

    def __str__(self) -> str:
        return ", ".join(f"{host}:{port}" for host, port in self.hosts)


def parse(url: str) -> Address:
    """Read ``amqp(s)://user:password@host1:port,host2:port/vhost``.

    Everything but one host may be left out: the user is ``guest``, the vhost ``/``, the ports are AMQP's own.
    User, password and vhost are percent-encoded; a host may be an IPv6 address in brackets. Raises
    ConfigurationError, which never repeats the password.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in _DEFAULT_PORTS:
        raise ConfigurationError("amqp_url", "must begin with amqp:// or amqps://")
    authority, _, path = rest.partition("/")
    if "?" in rest or "#" in rest:
        raise ConfigurationError("amqp_url", "takes no parameters after the vhost; percent-encode ? and #")
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = (credentials or "guest:guest").partition(":")
    return Address(
        hosts=tuple(_host(host, _DEFAULT_PORTS[scheme]) for host in hosts.split(",")),
        vhost=unquote(path) or "/",
        user=unquote(user),
        password=unquote(password),
        secure=scheme == "amqps",
    )


def _host(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        name, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    if not name or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ConfigurationError("amqp_url", f"{text!r} is no host:port")
    return name, int(port) if port else default_port
