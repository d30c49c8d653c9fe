"""What the tests know of the servers: addresses from the environment, put there by ``./dev test``."""

import json
import os
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import psycopg

EVERYTHING: Final = {"configure": ".*", "write": ".*", "read": ".*"}
"""The permissions of a user who may do everything in a vhost."""


def required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set: run the tests with ./dev test")
    return value


def management(method: str, path: str, body: object = None) -> object:
    """Call RabbitMQ's management API; returns the decoded JSON, or None for an empty answer."""
    parts = urlsplit(required("CLAIMBUS_MANAGEMENT_URL"))
    url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], f"/api{path}", "", ""))
    request = urllib.request.Request(url, method=method)
    request.add_header("Content-Type", "application/json")
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, url, parts.username or "guest", parts.password or "guest")
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    data = None if body is None else json.dumps(body).encode()
    with opener.open(request, data=data, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


@contextmanager
def own_vhost() -> Iterator[str]:
    """Make a vhost on the server under test and give its AMQP URL; it goes at the end, with all in it."""
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    parts = urlsplit(required("CLAIMBUS_AMQP_URL"))
    user = quote(unquote(parts.username or "guest"), safe="")
    management("PUT", f"/vhosts/{vhost}", {})
    try:
        management("PUT", f"/permissions/{vhost}/{user}", EVERYTHING)
        yield urlunsplit((parts.scheme, parts.netloc, f"/{vhost}", parts.query, ""))
    finally:
        management("DELETE", f"/vhosts/{vhost}")


@contextmanager
def own_database() -> Iterator[str]:
    """Make an empty database on the PostgreSQL under test and give its URL; it goes at the end."""
    server = required("CLAIMBUS_TEST_POSTGRESQL_URL")
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
