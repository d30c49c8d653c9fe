"""A URL names one server, a master behind sentinels, or a cluster; what it is not stops the start."""

import ssl

import pytest

from claimbus.events.errors import ConfigurationError
from claimstore.addresses import GivenTLS, parse_address


def test_sentinels_the_service_and_the_database_are_read() -> None:
    address = parse_address("redis+sentinel://bus:p%40ss@one:26380,two,[::1]:7/claims/3")
    assert address.kind == "sentinel"
    assert address.hosts == [("one", 26380), ("two", 26379), ("::1", 7)]
    assert address.service == "claims"
    assert address.settings == {"db": 3, "username": "bus", "password": "p@ss"}


def test_sentinels_have_credentials_of_their_own() -> None:
    url = "redis+sentinel://:data@one/claims?sentinel_username=watch&sentinel_password=wo%20rd"
    address = parse_address(url)
    assert address.settings == {"db": 0, "username": None, "password": "data"}
    assert address.sentinel_settings == {"username": "watch", "password": "wo rd"}


def test_some_servers_of_a_cluster_are_read() -> None:
    address = parse_address("redis+cluster://:word@one:7000,two:7001")
    assert (address.kind, address.hosts) == ("cluster", [("one", 7000), ("two", 7001)])
    assert address.settings == {"username": None, "password": "word"}


@pytest.mark.parametrize("url", ["rediss://one", "rediss+sentinel://one/claims", "rediss+cluster://one"])
def test_tls_is_spoken_with_the_given_context_to_all(url: str) -> None:
    context = ssl.create_default_context()
    address = parse_address(url, context)
    for settings in (address.settings, address.sentinel_settings or address.settings):
        assert settings["connection_class"] is GivenTLS
        assert settings["context"] is context


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "localhost:6379",
        "redis://:p4ss:w0rd@localhost:x/0",
        "redis+sentinel://:w0rd@one:26379",
        "redis+sentinel://:w0rd@one:26379/claims/first",
        "redis+sentinel://:w0rd@/claims",
        "redis+sentinel://:w0rd@one:port/claims",
        "redis+sentinel://:w0rd@one/claims?passwort=w0rd",
        "redis+cluster://:w0rd@one:7000,:7001",
        "redis+cluster://:w0rd@one:7000/3",
        "redis+clusters://:w0rd@one:7000",
        "unix+cluster://:w0rd@one:7000",
    ],
)
def test_what_is_no_address_stops_the_start_and_tells_no_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis_url") as refused:
        parse_address(url)
    assert "w0rd" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_an_address_shows_no_password() -> None:
    assert "w0rd" not in repr(parse_address("redis+sentinel://:w0rd@one/claims?sentinel_password=w0rd"))
