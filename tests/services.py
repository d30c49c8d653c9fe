"""What the tests know of the servers: addresses from the environment, put there by ``./dev test``."""

import json
import os
import urllib.request
from urllib.parse import quote, urlsplit, urlunsplit


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


def vhost_url(vhost: str) -> str:
    """The AMQP URL of a vhost on the server under test."""
    parts = urlsplit(required("CLAIMBUS_AMQP_URL"))
    return urlunsplit((parts.scheme, parts.netloc, f"/{quote(vhost, safe='')}", parts.query, ""))
