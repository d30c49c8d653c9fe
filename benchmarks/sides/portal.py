"""The steps of the benchmark of the portal: what it serves is put there, then it is asked for that."""

import os
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from pyreqwest.client import ClientBuilder
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from benchmarks.bodies import TYPE, read_bodies
from benchmarks.product import ACT, SUBSCRIPTION
from benchmarks.side import Asking, Outcome, Stopwatch, play, side_by_side
from claimbus.cli.settings import load
from claimbus.cli.wiring import Wiring
from claimbus.database import endpoints, participants, tokens
from claimbus.database.access import Grant, Role
from claimbus.events.event import audience_of
from claimbus.events.stream import MAX_FRAME, SUBPROTOCOL, Ack, decode_delivery
from consumers.provision import Provision

PARTICIPANT: Final = "PGAE"


async def prepare(order: Asking) -> Outcome:
    """Make a participant with a token and a stream, its claims, and the events that wait for the stream."""
    settings = load(
        amqp_url=os.environ["CLAIMBUS_AMQP_URL"],
        redis_url=os.environ["CLAIMBUS_REDIS_URL"],
        key_prefix=order.key_prefix,
        database_url=f"sqlite:///{order.database}",
    )
    watch = Stopwatch()
    async with Wiring(settings) as wiring:
        database, store = wiring.database(), await wiring.store()
        publisher = await wiring.publisher("benchmark")
        with database.transaction() as sql:
            participants.add(sql, PARTICIPANT, "Benchmark", ACT)
            endpoint = endpoints.add(
                sql, PARTICIPANT, ACT, kind="stream", subscriptions=[SUBSCRIPTION], name="benchmark"
            )
            grant = Grant(frozenset({Role.PARTICIPANT}), PARTICIPANT, None)
            _, token = tokens.add(sql, "benchmark", grant, ACT, expires_at=ACT.at + timedelta(days=1))
        await Provision(database, await wiring.connection("benchmark")).give(endpoint.id)
        producer = wiring.producer(store, publisher, "oms")
        bodies = read_bodies(Path(order.bodies), order.size)
        events = [producer.event(TYPE, body, audience=audience_of([PARTICIPANT])) for body in bodies]
        claims = [place.claim_id for place in await store.check_in_many(events)]
        waiting = iter(islice(cycle(bodies), order.count))

        async def one_by_one() -> None:
            for body in waiting:
                event = producer.event(TYPE, body, audience=audience_of([PARTICIPANT]))
                await producer.publish(event, fresh=True)

        await side_by_side(order.window, one_by_one)
    return watch.outcome(order.count, token=token, endpoint=endpoint.id, claims=",".join(claims))


async def claims(order: Asking) -> Outcome:
    """Ask for claims, so many at a time."""
    urls = islice(cycle(f"{order.url}/v1/claims/{claim_id}" for claim_id in order.claims), order.count)
    taken = 0
    async with ClientBuilder().no_proxy().build() as client:

        async def one_by_one() -> None:
            nonlocal taken
            for url in urls:
                response = await client.get(url).bearer_auth(order.token).build().send()
                response.error_for_status()
                taken += len((await response.bytes()).to_bytes())

        watch = Stopwatch()
        await side_by_side(order.window, one_by_one)
        outcome = watch.outcome(order.count, client="pyreqwest", in_flight=order.window)
    if taken < order.count * order.size:
        raise SystemExit(f"{taken} bytes came, and {order.count * order.size} were asked for")
    return outcome


async def stream(order: Asking) -> Outcome:
    """Take so many frames and ack each."""
    url = f"{order.url.replace('http', 'ws', 1)}/v1/endpoints/{order.endpoint}/stream?prefetch={order.window}"
    async with connect(
        url,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers={"authorization": f"Bearer {order.token}"},
        max_size=MAX_FRAME,
        compression=None,
    ) as socket:
        watch = Stopwatch()
        for _ in range(order.count):
            frame = decode_delivery(await socket.recv())
            await socket.send(Ack(frame.delivery).encode())
        return watch.outcome(order.count, client="websockets", prefetch=order.window)


STEPS: Final = {step.__name__: step for step in (prepare, claims, stream)}


async def carry_out(order: Asking) -> Outcome:
    return await STEPS[order.step](order)


if __name__ == "__main__":
    play(Asking, carry_out)
