"""What comes before delivering with claimbus: participants, endpoints and their queues."""

from benchmarks.product import ACT, SUBSCRIPTION, concurrency, participant, settings
from benchmarks.side import Delivering, Outcome, Stopwatch, play
from claimbus.cli.wiring import Wiring
from claimbus.database import endpoints, participants
from consumers.provision import Provision


async def provision(order: Delivering) -> Outcome:
    watch = Stopwatch()
    async with Wiring(settings(order)) as wiring:
        database = wiring.database()
        with database.transaction() as sql:
            for number in range(order.endpoints):
                name = participant(number)
                participants.add(sql, name, name, ACT)
                endpoints.add(
                    sql,
                    name,
                    ACT,
                    subscriptions=[SUBSCRIPTION],
                    allow_http=True,
                    verified=True,
                    name="sink",
                    url=order.url(number),
                    concurrency=concurrency(order),
                )
        await wiring.publisher("benchmark")  # which declares everything but endpoints
        queues = Provision(database, await wiring.connection("benchmark"))
        for endpoint in await database.read(endpoints.find):
            await queues.give(endpoint.id)
    return watch.outcome(order.endpoints)


if __name__ == "__main__":
    play(Delivering, provision)
