"""The limit of delivering: a bare pyreqwest loop, 64 requests in flight, nothing read, signed or recorded."""

from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Final

from pyreqwest.client import ClientBuilder

from benchmarks.bodies import read_bodies
from benchmarks.side import Delivering, Outcome, Stopwatch, play, side_by_side

IN_FLIGHT: Final = 64


async def deliver(order: Delivering) -> Outcome:
    builder = ClientBuilder().no_proxy()
    if order.authority:
        builder = builder.add_root_certificate_pem(Path(order.authority).read_bytes())  # noqa: ASYNC240
    urls = [f"{order.sink}/{number}" for number in range(order.endpoints)] * order.events
    feed = zip(urls, cycle(read_bodies(Path(order.bodies), order.size)), strict=False)
    async with builder.build() as client:

        async def one_by_one() -> None:
            for url, body in feed:
                request = client.post(url).header("content-type", "application/json").body_bytes(body)
                response = await request.build().send()
                response.error_for_status()

        watch = Stopwatch()
        await side_by_side(IN_FLIGHT, one_by_one)
        return watch.outcome(
            len(urls),
            client=f"pyreqwest {version('pyreqwest')}, uvloop",
            message="none",
            prefetch=f"{IN_FLIGHT} in flight in all",
            delivery="nothing consumed, signed or acknowledged",
        )


if __name__ == "__main__":
    play(Delivering, deliver)
