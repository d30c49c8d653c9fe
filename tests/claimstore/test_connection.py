"""Commands share round trips, each gets its own reply, and none waits without end."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from claimstore.connection import Connection
from claimstore.errors import StoreUnavailableError
from claimstore.lanes import MAX_COMMANDS
from claimstore.script import Script
from tests.claimstore.private import PrivateRedis, free_port


async def test_every_command_gets_its_own_reply(connection: Connection) -> None:
    words = [str(number) for number in range(5 * MAX_COMMANDS + 7)]
    assert await connection.ask_many(("ECHO", word) for word in words) == [word.encode() for word in words]
    assert await asyncio.gather(*(connection.ask("ECHO", word) for word in words)) == [
        word.encode() for word in words
    ]
    assert await connection.ask_many([]) == []


async def test_a_refused_command_leaves_the_others_alone(connection: Connection) -> None:
    before, refused, after = await asyncio.gather(
        connection.ask("ECHO", "before"),
        connection.ask("HGETALL", "too", "many"),
        connection.ask("ECHO", "after"),
        return_exceptions=True,
    )
    assert (before, after) == (b"before", b"after")
    assert isinstance(refused, StoreUnavailableError)


async def test_what_is_cancelled_leaves_the_others_alone(connection: Connection) -> None:
    asked = [connection.ask("ECHO", str(number)) for number in range(10)]
    asked[3].cancel()
    await asyncio.sleep(0)
    asked[4].cancel()
    replies = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(reply, asyncio.CancelledError) for reply in replies] == [
        n in (3, 4) for n in range(10)
    ]
    assert replies[9] == b"9"


async def test_commands_of_one_turn_share_a_round_trip(private_redis: PrivateRedis) -> None:
    async with await Connection.open(private_redis.url, connections=1) as connection:
        before = await reads(connection)
        await connection.ask_many(("ECHO", "word") for _ in range(MAX_COMMANDS))
        assert await reads(connection) - before <= 3


async def reads(connection: Connection) -> int:
    info = (await connection.ask("INFO", "stats")).decode()
    return int(dict(line.split(":") for line in info.splitlines() if ":" in line)["total_reads_processed"])


async def test_no_more_connections_are_opened_than_allowed(private_redis: PrivateRedis) -> None:
    async with await Connection.open(private_redis.url, connections=3) as connection:
        await connection.ask_many(("ECHO", "word") for _ in range(50 * MAX_COMMANDS))
        clients = await connection.ask("CLIENT", "LIST")
    assert clients.count(b"id=") == 3


async def test_closing_answers_everybody(redis_url: str) -> None:
    connection = await Connection.open(redis_url)
    asked = [asyncio.ensure_future(connection.ask("ECHO", "word")) for _ in range(1000)]
    blocked = connection.ask("BLPOP", f"nothing:{free_port()}", 60)
    await asyncio.sleep(0)
    await connection.aclose()
    for reply in (*asked, blocked):
        with pytest.raises(StoreUnavailableError, match="closed"):
            await reply
    with pytest.raises(StoreUnavailableError, match="closed"):
        connection.ask("PING")


async def test_what_the_client_library_cannot_do_is_no_answer_for_anybody() -> None:
    """A name that is none stumbles over Python's own encoding of it, which is no error of redis-py's."""
    with pytest.raises(StoreUnavailableError, match=r"cannot be used: .*idna"):
        await Connection.open("redis://two..dots:6379", connect_within=0.1)


async def test_a_script_is_sent_once_and_again_when_redis_forgot_it(connection: Connection) -> None:
    script = Script(f"return {{ARGV[1], '{connection.prefix}'}}")
    for word in (b"first", b"second"):
        assert await script.run(connection, [], word) == [word, connection.prefix.encode()]


async def test_tls_is_spoken_and_the_servers_certificate_checked(tmp_path: Path) -> None:
    authority = trustme.CA()
    identity = authority.issue_cert("127.0.0.1", "localhost")
    identity.private_key_pem.write_to_path(tmp_path / "key.pem")
    identity.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls_port = free_port()
    redis = PrivateRedis(tmp_path, "--tls-port", str(tls_port), "--tls-auth-clients", "no")
    redis.start(
        *("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem")),
        *("--tls-ca-cert-file", str(tmp_path / "ca.pem")),
    )
    redis.wait()
    try:
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        url = f"rediss://127.0.0.1:{tls_port}/0"
        async with await Connection.open(url, tls=trusting) as connection:
            assert await connection.ask("PING") == b"PONG"
        with pytest.raises(StoreUnavailableError, match="certificate"):
            await Connection.open(url, tls=ssl.create_default_context(), connect_within=0)
    finally:
        redis.kill()
