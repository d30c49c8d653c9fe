"""Replays at the desk: which jobs a UAA is told of."""

from sqlalchemy import update

from claimbus.database import participants, replays, schema
from claimbus.database.access import Principal, Role
from claimbus.database.attempts import new_id
from claimbus.database.audit import Act
from claimbus.database.replays import Replay
from claimbus.portal.desk import replays as desk
from tests.portal import seeding
from tests.portal.portals import Portal

OPERATOR = Principal(name="an operator", roles=frozenset({Role.OPERATOR}))


def uaa(portal: Portal, *of: str, name: str = "kay") -> Principal:
    """Somebody who keeps the endpoints of these participants."""
    with portal.services.database.snapshot() as sql:
        own = tuple(participants.get(sql, one) for one in of)
    return Principal(name=name, roles=frozenset({Role.UAA}), organisation_id="Both Inc", participants=own)


async def job(portal: Portal, actor: str, *of: str) -> Replay:
    """A job of somebody's, with a letter of each of these participants."""
    letters = []
    for participant in of:
        at = seeding.endpoint(portal, participant, f"{participant} {new_id()}")
        letters += await seeding.cemetery(portal).bury(at)
    with portal.services.database.transaction() as sql:
        return replays.create(
            sql, [one.id for one in letters], Act(actor), selection={}, rate=None, canary=False
        )


async def found(portal: Portal, who: Principal) -> list[str]:
    """The IDs of the jobs that somebody is told of, two at a time."""
    seen, cursor = [], None
    while True:
        page = await desk.find(portal.services, who, cursor=cursor, limit=2)
        seen += [one.id for one, _ in page.rows]
        if (cursor := page.cursor) is None:
            return seen


async def test_a_uaa_finds_just_the_jobs_that_it_may_look_at(portal: Portal) -> None:
    for name in ("ONE", "TWO", "ELSE"):
        portal.participant(name, organisation="Both Inc")
    jobs = [
        await job(portal, actor, *of)
        for actor in ("kay", "jo")
        for of in (("ONE",), ("ONE", "TWO"), ("TWO", "ELSE"), ("ELSE",))
    ]
    for who in (uaa(portal, "ONE"), uaa(portal, "ONE", "TWO"), uaa(portal, "TWO", "ELSE", name="jo")):
        told = await found(portal, who)
        for one in jobs:
            try:
                await desk.get(portal.services, who, one.id)
            except Exception:  # noqa: BLE001 - however it is refused
                assert one.id not in told
            else:
                assert one.id in told
    assert len(await found(portal, uaa(portal, "ONE", "TWO"))) == 2
    assert await found(portal, uaa(portal, name="kay")) == []
    assert await found(portal, OPERATOR) == [one.id for one in reversed(jobs)]


async def test_each_job_comes_with_how_far_it_is(portal: Portal) -> None:
    portal.participant("ONE")
    first, second = await job(portal, "kay", "ONE", "ONE"), await job(portal, "kay", "ONE")
    with portal.services.database.transaction() as sql:
        replays.cancel(sql, second.id, Act("kay"))
    page = await desk.find(portal.services, uaa(portal, "ONE"))
    assert [(one.id, progress.waiting, progress.cancelled) for one, progress in page.rows] == [
        (second.id, 0, 1),
        (first.id, 2, 0),
    ]


async def test_the_api_lists_a_uaa_s_own(portal: Portal) -> None:
    portal.participant("ONE")
    own = await job(portal, "kay", "ONE")
    await job(portal, "jo", "ONE")
    token = portal.token(Role.UAA, participant="ONE", name="kay")
    got = await portal.get("/v1/replays", token=token)
    assert [one["replay"]["id"] for one in got.json["items"]] == [own.id]
    daemon = portal.token(Role.PARTICIPANT, participant="ONE", name="kay")
    assert (await portal.get("/v1/replays", token=daemon)).status == 403


async def test_the_items_of_a_job_that_is_done_are_counted_once(portal: Portal) -> None:
    portal.participant("ONE", organisation="Both Inc")
    ended, running = await job(portal, "kay", "ONE"), await job(portal, "kay", "ONE")
    database = portal.services.database
    with database.transaction() as sql:
        sql.execute(update(schema.replay_items).filter_by(replay_id=ended.id).values(state="delivered"))
        sql.execute(update(schema.replays).filter_by(id=ended.id).values(state="done"))
    first = await desk.find(portal.services, OPERATOR)
    assert {one.id: progress.delivered for one, progress in first.rows} == {ended.id: 1, running.id: 0}
    with database.transaction() as sql:  # as nothing does any more
        sql.execute(update(schema.replay_items).values(state="dead again"))
    second = await desk.find(portal.services, OPERATOR)
    assert {one.id: progress.dead_again for one, progress in second.rows} == {ended.id: 0, running.id: 1}
