"""Old attempts go, young ones stay; an endpoint may not outlive its bodies; PostgreSQL does as well."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from claimbus.cli.settings import Settings
from claimbus.cli.wiring import Wiring
from claimbus.cli.wiring.worker import open_worker
from claimbus.database import attempts
from claimbus.database.attempts import Attempt
from claimbus.events.errors import ConfigurationError
from claimstore.leases import Leases
from consumers.metrics import Metrics
from consumers.retention import Retention
from tests.consumers.house import House, open_house
from tests.services import own_database
from tests.waiting import eventually


def attempt(days_old: int) -> Attempt:
    empty = dict.fromkeys(Attempt._fields, "")
    numbers = {"id": attempts.new_id(), "attempt": 1, "status": 200, "duration_ms": 1, "sequence": None}
    started_ms = int((time.time() - days_old * 86400) * 1000)
    return Attempt(**{**empty, **numbers, "started_ms": started_ms, "answer_head": None})  # type: ignore[arg-type]


async def test_attempts_are_forgotten_by_age(house: House) -> None:
    batch = [attempt(days) for days in (0, 1, 89, 91, 400)]
    await house.database.run(lambda sql: attempts.record(sql, batch))
    retention = Retention(house.database, Leases(house.store.connection), worker="w", kept=timedelta(days=90))
    assert await retention.sweep() == 2
    left = await house.database.read(attempts.find)
    assert {row.id for row in left.rows} == {one.id for one in batch[:3]}


async def test_a_worker_does_not_start_where_a_delivery_could_outlive_its_body(house: House) -> None:
    house.participant("AAA1")
    await house.endpoint("AAA1", age_limit_s=7 * 86400)
    async with Wiring(house.wiring.settings) as wiring:
        with pytest.raises(ConfigurationError, match="CLAIMBUS_CLAIM_LIFE"):
            await open_worker(wiring, Metrics())


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URL of an empty database."""
    with own_database() as url:
        yield url


async def test_a_worker_does_as_well_with_postgresql(
    settings: Settings, postgresql: str, tmp_path: Path
) -> None:
    async with open_house(settings.model_copy(update={"database_url": postgresql}), tmp_path) as house:
        house.participant("AAA1")
        endpoint, receiver = await house.endpoint("AAA1")
        await house.worker()
        await house.publish(count=20)
        await eventually(lambda: len(receiver.received) == 20)
        recorded = await eventually(lambda: house.attempts_when(endpoint, 20))
        assert {one.verdict for one in recorded} == {"delivered"}
