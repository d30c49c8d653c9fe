"""A binding matches a routing key exactly when its participant is subscribed and entitled."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product

import pika
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pika.adapters.blocking_connection import BlockingChannel

from claimbus.events.errors import InvalidInputError
from claimbus.events.event import ALL, MAX_AUDIENCE, Audience
from claimbus.events.routing import DOMAINS, Binding, bindings, check_pattern, matches, route
from tests.events.strategies import audiences, event_types, participants

WORDS = ("oms", "market", "system", "resource-outage", "dam", "closed", "changed", "*", "#")


def is_pattern(pattern: str) -> bool:
    try:
        check_pattern(pattern)
    except InvalidInputError:
        return False
    return True


ALL_PATTERNS = tuple(
    pattern
    for length in range(1, 6)
    for pattern in map(".".join, product(WORDS, repeat=length))
    if is_pattern(pattern)
)

words = st.sampled_from(WORDS)
patterns = st.sampled_from(ALL_PATTERNS)
subscriptions = st.tuples(patterns, participants)
messages = st.tuples(event_types, audiences)


def by_regular_expression(pattern: str, key: str) -> bool:
    """RabbitMQ's rules once more, in other words."""
    parts = {"*": r"[^.]+\.", "#": r"(?:[^.]+\.)*"}
    expression = "".join(parts.get(word, re.escape(word) + r"\.") for word in pattern.split("."))
    return re.fullmatch(expression, key + ".") is not None


def receives(pattern: str, participant: str, event_type: str, audience: Audience) -> bool:
    """What is wanted: subscribed and entitled."""
    return by_regular_expression(pattern, event_type) and (audience == ALL or participant in audience)


@given(st.lists(words, min_size=1, max_size=6), st.lists(words, min_size=1, max_size=6))
def test_matching_follows_the_rules_of_a_topic_exchange(pattern: list[str], key: list[str]) -> None:
    joined = ".".join(pattern), ".".join(key)
    assert matches(*joined) == by_regular_expression(*joined)


@settings(max_examples=500)
@given(subscriptions, messages)
def test_a_binding_matches_exactly_what_its_participant_subscribed_to_and_may_see(
    subscription: tuple[str, str], message: tuple[str, Audience]
) -> None:
    way = route(*message)
    matched = any(
        binding.exchange == way.exchange and matches(binding.key, key)
        for binding in bindings(*subscription)
        for key in (way.key, *way.bcc)
    )
    assert matched == receives(*subscription, *message)


@pytest.fixture
def channel(amqp_url: str) -> Iterator[BlockingChannel]:
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for domain in DOMAINS:
            channel.exchange_declare(domain, "topic")
        yield channel


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(subscriptions, min_size=8, max_size=16), st.lists(messages, min_size=8, max_size=16))
def test_rabbitmq_routes_exactly_what_a_participant_subscribed_to_and_may_see(
    channel: BlockingChannel, subscribed: list[tuple[str, str]], published: list[tuple[str, Audience]]
) -> None:
    queues = [channel.queue_declare("", exclusive=True).method.queue for _ in subscribed]
    for queue, subscription in zip(queues, subscribed, strict=True):
        for binding in bindings(*subscription):
            channel.queue_bind(queue, binding.exchange, binding.key)
    for number, message in enumerate(published):
        publish(channel, *message, str(number).encode())
    for queue, subscription in zip(queues, subscribed, strict=True):
        wanted = {
            str(number) for number, message in enumerate(published) if receives(*subscription, *message)
        }
        assert Counter(received(channel, queue)) == Counter(wanted)
        channel.queue_delete(queue)


def publish(channel: BlockingChannel, event_type: str, audience: Audience, body: bytes) -> None:
    way = route(event_type, audience)
    properties = pika.BasicProperties(headers={"BCC": list(way.bcc)} if way.bcc else {})
    channel.basic_publish(way.exchange, way.key, body, properties)


def received(channel: BlockingChannel, queue: str) -> Iterator[str]:
    """The bodies in a queue, in none of which another recipient shows."""
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None or properties is None or body is None:
            return
        assert not properties.headers
        yield body.decode()


def test_rabbitmq_takes_the_largest_audience(channel: BlockingChannel) -> None:
    audience = frozenset(f"P{number:030}X" for number in range(MAX_AUDIENCE))
    queue = channel.queue_declare("", exclusive=True).method.queue
    for binding in bindings("market.#", max(audience)):
        channel.queue_bind(queue, binding.exchange, binding.key)
    publish(channel, "market.dam.publication-delayed", audience, b"late")
    assert list(received(channel, queue)) == ["late"]


def test_the_first_participant_is_in_the_routing_key_and_the_others_in_bcc() -> None:
    assert route("market.dam.closed", ALL) == ("market", "market.dam.closed.all", ())
    assert route("oms.resource-outage.ended", frozenset({"SCE1", "PGAE"})) == (
        "oms",
        "oms.resource-outage.ended.PGAE",
        ("oms.resource-outage.ended.SCE1",),
    )


def test_a_subscription_to_every_domain_is_bound_to_every_exchange() -> None:
    assert {binding.exchange for binding in bindings("*.*.closed", "PGAE")} == set(DOMAINS)
    assert bindings("oms.#", "PGAE") == {Binding("oms", "oms.#.PGAE"), Binding("oms", "oms.#.all")}


@pytest.mark.parametrize("participant", ["#", "*", "all", "", "PGAE.#", "pgae"])
def test_a_participant_id_that_is_a_wildcard_or_everybody_is_never_bound(participant: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        bindings("oms.#", participant)
    assert refused.value.field == "participant"


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "oms",
        "oms.*",
        "oms..closed",
        "oms.*.*.*",
        "OMS.#",
        "weather.#",
        "oms.#.#",
        "oms.#.PGAE",
        "#.dam.closed.oms",
        "oms." + "a" * 200,
    ],
)
def test_a_pattern_that_can_match_no_event_type_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_pattern(pattern)
    assert refused.value.field == "subscription"


def test_every_accepted_pattern_matches_some_event_type() -> None:
    types = [".".join(key) for key in product(["oms", "market", "system"], WORDS[:7], WORDS[:7])]
    for pattern in ALL_PATTERNS:
        assert any(matches(pattern, key) for key in types), pattern
