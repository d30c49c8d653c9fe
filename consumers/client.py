"""An endpoint's HTTP client: TLS 1.2 or newer, one address, no redirects, no proxy, no compression."""

from datetime import timedelta

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from claimbus.events.errors import ConfigurationError
from consumers.answer import failure_of
from consumers.identity import FIELD


def pinned_to(
    host: str,
    port: int,
    address: str,
    *,
    timeout: float,
    connect_timeout: float,
    idle_timeout: float,
    concurrency: int,
    ca_pem: bytes | None,
    identity_pem: bytes | None,
    allow_http: bool,
    origin: str,
    user_agent: str,
) -> Client:
    """Build a client that finds the host at this address only; 3 ms of CPU.

    The rest is `consumers.webhook.Webhook`'s, times in seconds; ``idle_timeout``: after which an unused
    connection is closed. Raises ConfigurationError for certificates that cannot be used.
    """
    builder = (
        ClientBuilder()
        .resolve(host, address, port)
        .no_proxy()
        .follow_redirects(enable=False)
        .https_only(enable=not allow_http)
        .min_tls_version("TLSv1.2")
        .timeout(timedelta(seconds=timeout))
        .connect_timeout(timedelta(seconds=connect_timeout))
        .max_connections(concurrency)
        .pool_timeout(timedelta(seconds=connect_timeout))
        .pool_max_idle_per_host(concurrency)
        .pool_idle_timeout(timedelta(seconds=idle_timeout))
        .http1_lower_case_headers()
        .user_agent(user_agent)
        .default_headers({"origin": origin})
        .gzip(enable=False)
        .brotli(enable=False)
        .zstd(enable=False)
        .deflate(enable=False)
    )
    try:
        if ca_pem is not None:
            builder = builder.add_root_certificate_pem(ca_pem)
        if identity_pem is not None:
            builder = builder.identity_pem(identity_pem)
        return builder.build()
    except PyreqwestError as unusable:
        raise ConfigurationError("certificates", failure_of(unusable)[1]) from unusable
    except ValueError as unusable:
        raise ConfigurationError(FIELD, str(unusable)) from unusable
