"""What RabbitMQ says about tags, against what each sender hears."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from claimbus.broker.errors import NackedError, UnconfirmedError, UnroutableError
from claimbus.broker.frames import Message
from claimbus.broker.window import Window

MESSAGE = Message("oms", "key", b"", b"", "evt_1")
Sent = list[asyncio.Future[None]]


def send(window: Window, *messages: Message) -> Sent:
    futures = [asyncio.get_running_loop().create_future() for _ in messages]
    for future, message in zip(futures, messages, strict=True):
        window.add(future, message)
    return futures


def outcomes(futures: Sent) -> list[type[BaseException] | None]:
    return [None if (error := future.exception()) is None else type(error) for future in futures]


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.booleans()), max_size=30),
    st.integers(0, 40),
)
def test_every_message_hears_the_first_thing_said_about_its_tag(
    said: list[tuple[int, bool, bool]], count: int
) -> None:
    async def check() -> None:
        window = Window()
        futures = send(window, *[MESSAGE] * count)
        expected: dict[int, bool] = {}
        for tag, multiple, acked in said:
            window.settle(tag, multiple, acked)
            for settled in range(1, tag + 1) if multiple else (tag,):
                expected.setdefault(settled, acked)
        for tag, future in enumerate(futures, start=1):
            assert future.done() == (tag in expected)
            if future.done():
                assert isinstance(future.exception(), NackedError) != expected[tag]
        assert len(window) == sum(not future.done() for future in futures)

    asyncio.run(check())


async def test_a_returned_message_is_told_from_those_sent_beside_it() -> None:
    window = Window()
    other = MESSAGE._replace(message_id="evt_2")
    futures = send(window, MESSAGE, other, MESSAGE)
    window.returned("oms", "key", "evt_1")
    window.returned("oms", "key", "evt_1")
    window.settle(3, multiple=True, acked=True)
    assert outcomes(futures) == [UnroutableError, None, UnroutableError]


async def test_a_sender_that_went_away_is_no_harm() -> None:
    window = Window()
    [gone, there] = send(window, MESSAGE, MESSAGE)
    gone.cancel()
    window.settle(2, multiple=True, acked=True)
    assert there.done()


async def test_silence_is_noticed_for_what_was_sent_long_ago_only() -> None:
    window = Window()
    send(window, MESSAGE)
    assert not window.overdue(now=100.0, timeout=10)
    send(window, MESSAGE)
    assert not window.overdue(now=105.0, timeout=10)
    window.settle(1, multiple=False, acked=True)
    assert not window.overdue(now=110.0, timeout=10)
    assert window.overdue(now=115.0, timeout=10)


async def test_a_quiet_window_is_not_overdue() -> None:
    window = Window()
    assert not any(window.overdue(now=float(second), timeout=10) for second in range(100))


async def test_what_is_lost_fails_once() -> None:
    window = Window()
    futures = send(window, MESSAGE, MESSAGE)
    window.settle(1, multiple=False, acked=True)
    window.fail(UnconfirmedError, "lost")
    window.settle(2, multiple=True, acked=True)
    assert outcomes(futures) == [None, UnconfirmedError]
    assert len(window) == 0
