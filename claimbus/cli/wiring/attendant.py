"""What attends to dead letters, wired."""

from prometheus_client import CollectorRegistry

from claimbus.cli.wiring import Wiring
from claimbus.deadletters.attendant import Attendant
from claimbus.deadletters.measuring import Measuring
from claimbus.deadletters.metrics import LettersMetrics
from claimbus.deadletters.recorder import Recorder
from claimbus.deadletters.replay import Runner
from claimbus.deadletters.retention import Retention
from claimstore.leases import Leases
from consumers.worker import worker_name


async def open_attendant(wiring: Wiring, registry: CollectorRegistry) -> Attendant:
    """Return what attends to dead letters, wired; its metrics go into the registry.

    On connections of its own: a replay at full speed takes nothing of a worker's beside it.
    """
    settings, name, metrics = wiring.settings, worker_name(), LettersMetrics(registry)
    database, store = wiring.database(), await wiring.store()
    publisher = await wiring.publisher("attendant: publishes")
    connection = await wiring.connection("attendant: consumes")
    budget, life = settings.letters_budget, settings.claim_life
    runner = Runner(
        database, store, wiring.holds(store), publisher, name=name, claim_life=life, metrics=metrics
    )
    retention = Retention(
        database,
        Leases(store.connection),
        name=name,
        letters_kept=settings.letters_kept,
        rows_kept=settings.attempts_kept,
    )
    return Attendant(
        runner=runner,
        recorder=Recorder(connection, store, database, budget=budget, metrics=metrics),
        retention=retention,
        measuring=Measuring(connection, database, budget=budget, metrics=metrics),
    )
