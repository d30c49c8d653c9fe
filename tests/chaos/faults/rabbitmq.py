"""RabbitMQ: nodes killed and stopped, queues that hang or are gone, alarms, an operator's hand."""

import asyncio
import json
import random
from datetime import UTC, datetime

from claimbus.cli.demo.receivers import Behaviour
from consumers.quarantine import MARGIN
from tests.chaos.fault import Fault, Inject
from tests.chaos.house import PLACES, VICTIM, House
from tests.chaos.processes import ProcessFailedError
from tests.chaos.servers import Rabbit, start

CLUSTER, BY_DEFAULT = "rabbitmq-cluster", "rabbitmq-cluster-default"
AWAY_FOR = (1.0, 5.0)
HANGS_FOR = (6.0, 10.0)
"""Longer than a producer waits for a confirm (5 s in a house)."""
ALARM_FOR = (2.0, 6.0)
STOPPED_FOR = 10.0
WAITS_FOR = MARGIN + 15.0
"""Longer than what the workers recover by themselves, once a queue is made again, had waited in it."""
MADE_WITHIN, RECOVERED_WITHIN = 60.0, 120.0
"""Seconds, all of them. The workers look every 5 s."""

PATIENCE, PATIENCE_BY_DEFAULT = 400.0, 900.0
"""Seconds. With RabbitMQ's own ``dead_letter_worker_publisher_confirm_timeout`` a retry whose way from its
rung to its endpoint's queue was cut off by a dead leader comes after 180 s, and some come after 360."""

NO_MEMORY, USUAL_MEMORY = "0.00001", "0.4"
"""Which part of the machine's memory a node may have; the usual ones are RabbitMQ's defaults."""
MUCH_DISK, USUAL_DISK = "1000000000000000", "50000000"
"""Bytes that it wants free."""


async def node_killed(house: House, chance: random.Random) -> None:
    await _down(chance.choice(house.servers.rabbit), chance)


async def leader_killed(house: House, chance: random.Random) -> None:
    await _down(await _leader(house, _any_queue(house, chance)), chance)


async def journal_leader_killed(house: House, chance: random.Random) -> None:
    await _down(await _leader(house, "journal"), chance)


async def node_stopped(house: House, chance: random.Random) -> None:
    node = chance.choice(house.servers.rabbit)
    node.pause()
    await asyncio.sleep(STOPPED_FOR)
    node.resume()


async def all_restarted(house: House, chance: random.Random) -> None:
    """Stop all nodes in order, as for an upgrade of the whole cluster, and start them."""
    nodes = house.servers.rabbit
    await asyncio.gather(*(asyncio.to_thread(node.stop) for node in nodes))
    await asyncio.sleep(chance.uniform(*AWAY_FOR))
    await asyncio.to_thread(start, nodes)


async def alone_killed(house: House, chance: random.Random) -> None:
    """Kill the only node. It is restarted in order before.

    RabbitMQ 3.10.8 forgets a queue that was declared seconds before it is killed: its registers are not on
    the disk yet.
    """
    [node] = house.servers.rabbit
    await asyncio.to_thread(node.restart)
    await house.flow()
    await _down(node, chance)


async def queue_hangs(house: House, chance: random.Random) -> None:
    """Suspend the process of a queue's leader: it lives, and answers nothing."""
    queue = _any_queue(house, chance)
    node = await _leader(house, queue)
    process = f"whereis('{house.vhost}_{queue}')"
    await _tell(node, "eval", f"sys:suspend({process}).")
    await asyncio.sleep(chance.uniform(*HANGS_FOR))
    await _tell(node, "eval", f"sys:resume({process}).")


async def connections_closed(house: House, chance: random.Random) -> None:
    node = chance.choice(house.servers.rabbit)
    await _tell(node, "close_all_connections", "--vhost", house.vhost, "closed by an operator")


async def queue_deleted(house: House, chance: random.Random) -> None:
    """Delete an endpoint's queue as no operator should, and bring back what had waited in it as one would.

    Its receiver is away, so that something waits. The workers make the queue again, with what was published
    since shortly before. A reconcile finds what else went with the old one; a recovery brings it back.
    """
    queue, endpoint = house.queue(VICTIM), house.endpoints[VICTIM]
    since = datetime.now(UTC)
    node = house.servers.rabbit[0]
    await house.behave(house.victim, Behaviour(kind="down"))
    await asyncio.sleep(WAITS_FOR)
    await _tell(node, "delete_queue", queue, "--vhost", house.vhost)
    await house.behave(house.victim)
    await house.published()
    await house.until(lambda: _is_there(node, house.vhost, queue), MADE_WITHIN, f"{queue} is not made again")
    until = datetime.now(UTC)
    period = ("--since", since.isoformat(), "--until", until.isoformat())
    missing = await _missing(house, endpoint.id, period)
    if not missing:
        raise ProcessFailedError("a reconcile finds nothing of what went with the queue")
    act = ("--yes", "--actor", "chaos", "--reason", "its queue was deleted")
    told = await house.claimbus("recover", "--endpoint", endpoint.id, *period, *act, "--json")
    house.remark(f"reconcile found {missing}, recovered {json.loads(told)['redelivered']}")

    async def complete() -> bool:
        return not await _missing(house, endpoint.id, period)

    await house.until(complete, RECOVERED_WITHIN, "what was recovered does not come")


def alarm(command: str, on: str, off: str) -> Inject:
    """Set a limit on one node so that its alarm goes off, for a while."""

    async def inject(house: House, chance: random.Random) -> None:
        node = chance.choice(house.servers.rabbit)
        await _tell(node, command, on)
        await asyncio.sleep(chance.uniform(*ALARM_FOR))
        await _tell(node, command, off)

    return inject


memory_alarm = alarm("set_vm_memory_high_watermark", NO_MEMORY, USUAL_MEMORY)
disk_alarm = alarm("set_disk_free_limit", MUCH_DISK, USUAL_DISK)


async def _down(node: Rabbit, chance: random.Random) -> None:
    await asyncio.to_thread(node.kill)
    await asyncio.sleep(chance.uniform(*AWAY_FOR))
    await asyncio.to_thread(node.start)


async def _leader(house: House, queue: str) -> Rabbit:
    """The node on which the leader of a queue or stream is."""
    name = f'rabbit_misc:r(<<"{house.vhost}">>, queue, <<"{queue}">>)'
    leader = f"amqqueue:get_pid(element(2, rabbit_amqqueue:lookup({name})))"
    asked = house.servers.rabbit[0]
    found = await asyncio.to_thread(
        asked.evaluate, f"case {leader} of {{_, Node}} -> Node; Pid -> node(Pid) end"
    )
    return next(node for node in house.servers.rabbit if node.node == found.strip("'"))


def _any_queue(house: House, chance: random.Random) -> str:
    return house.queue(chance.choice(PLACES).participant)


async def _missing(house: House, endpoint_id: str, period: tuple[str, ...]) -> int:
    """How many deliveries to an endpoint a reconcile finds open."""
    look = ("--within", "5s", "--limit", "1000000")
    found = json.loads(await house.claimbus("deadletters", "reconcile", *period, *look, "--json"))
    return sum(one["endpoint_id"] == endpoint_id for one in found["open"])


async def _is_there(node: Rabbit, vhost: str, queue: str) -> bool:
    told = await asyncio.to_thread(node.ctl, "list_queues", "--vhost", vhost, "name")
    return queue in told.split()


async def _tell(node: Rabbit, *words: str) -> None:
    await asyncio.to_thread(node.ctl, *words)


def _in_cluster(name: str, what: str, inject: Inject, *, short: bool = False) -> Fault:
    return Fault(name, what, inject, CLUSTER, short=short, patience=PATIENCE)


def _by_default(name: str, what: str, inject: Inject) -> Fault:
    """In a cluster whose dead letters wait for a confirm as long as RabbitMQ has them by default."""
    what = f"{what}; retries are sent again after 180 s"
    return Fault(f"{name}-default", what, inject, BY_DEFAULT, times=1, patience=PATIENCE_BY_DEFAULT)


FAULTS = (
    _in_cluster("node-killed", "a node of three, SIGKILL", node_killed, short=True),
    _in_cluster("leader-killed", "the node with a queue's leader, SIGKILL", leader_killed),
    _in_cluster("journal-killed", "the node with the journal's leader, SIGKILL", journal_leader_killed),
    _in_cluster("node-stopped", "a node of three, SIGSTOP for 10 s", node_stopped),
    _in_cluster("cluster-restarted", "all nodes stopped in order and started", all_restarted),
    _in_cluster("queue-hangs", "the process of an endpoint's queue hangs", queue_hangs, short=True),
    _in_cluster("queue-deleted", "an endpoint's queue deleted by an operator", queue_deleted),
    _in_cluster("memory-alarm", "RabbitMQ's memory alarm", memory_alarm),
    _in_cluster("disk-alarm", "RabbitMQ's disk alarm", disk_alarm),
    _in_cluster("connections-closed", "all connections closed by an operator", connections_closed),
    _by_default("node-killed", "a node of three, SIGKILL", node_killed),
    _by_default("leader-killed", "the node with a queue's leader, SIGKILL", leader_killed),
    Fault("rabbitmq-killed", "RabbitMQ alone, SIGKILL", alone_killed, patience=PATIENCE),
    Fault("rabbitmq-stopped", "RabbitMQ alone, SIGSTOP for 10 s", node_stopped),
)
