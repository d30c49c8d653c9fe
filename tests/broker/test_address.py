import pytest

from claimbus.broker.address import parse
from claimbus.events.errors import ConfigurationError


def test_a_full_url_gives_hosts_vhost_and_credentials() -> None:
    address = parse("amqps://bus%40iso:p%3Aw@rabbit1:5000,rabbit2,[::1]:5001/a%2Fb")
    assert address.hosts == (("rabbit1", 5000), ("rabbit2", 5671), ("::1", 5001))
    assert (address.vhost, address.user, address.password, address.secure) == ("a/b", "bus@iso", "p:w", True)


@pytest.mark.parametrize("url", ["amqp://localhost", "amqp://localhost/", "amqp://guest:guest@localhost/%2F"])
def test_what_is_left_out_is_rabbitmqs_default(url: str) -> None:
    address = parse(url)
    assert (address.hosts, address.vhost) == ((("localhost", 5672),), "/")
    assert (address.user, address.password, address.secure) == ("guest", "guest", False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://localhost",
        "amqp://",
        "amqp://user:secret@",
        "amqp://user:secret@host:port",
        "amqp://user:secret@host:99999",
        "amqp://user:secret@one,,two",
        "amqp://user:secret@host/vhost?heartbeat=5",
    ],
)
def test_a_wrong_url_names_the_setting_and_keeps_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(url)
    assert refused.value.field == "amqp_url"
    assert "secret" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(parse("amqp://user:secret@host"))
