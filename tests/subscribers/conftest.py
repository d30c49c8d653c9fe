"""Certificates for both sides, and a server behind the participant's."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from tests.subscribers.inner import Inner, serving


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem and client.pem (each with its key), and a stranger's other-….pem."""
    folder = tmp_path_factory.mktemp("certificates")
    for prefix in ("", "other-"):
        ca = trustme.CA()
        ca.cert_pem.write_to_path(folder / f"{prefix}ca.pem")
        for name in ("server", "client"):
            leaf = ca.issue_cert("localhost" if name == "server" else "iso@iso.example")
            leaf.private_key_and_cert_chain_pem.write_to_path(folder / f"{prefix}{name}.pem")
    return folder


@pytest.fixture
async def inner(certificates: Path) -> AsyncIterator[Inner]:
    """Where events are forwarded."""
    async with serving(certificates) as inner:
        yield inner
