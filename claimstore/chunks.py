"""A body over the inline limit: chunks under the record's hash tag, written and read one at a time."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import suppress
from typing import Final, NamedTuple

from claimstore.claim import Claim, Encoding
from claimstore.compression import compress, expand, shrink
from claimstore.connection import Connection
from claimstore.errors import (
    BodyTooLargeError,
    ClaimCorruptError,
    ClaimExpiredError,
    StoreUnavailableError,
)

CHUNK: Final = 256 * 1024
"""Bytes of a chunk, before compression. Redis does one thing at a time: a ``SET`` of 8 MB kept everybody
waiting for 45 to 500 ms, one of 256 KiB for 1 to 15 ms."""


class Written(NamedTuple):
    """What the record must tell of a body in chunks."""

    encoding: Encoding
    size: int
    sha256: bytes
    chunks: int


async def cut(body: AsyncIterable[bytes], *, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the same bytes in pieces of `CHUNK`, the last one shorter, none empty.

    Raises BodyTooLargeError as soon as there are more than ``limit``.
    """
    size = 0
    held = bytearray()
    async for piece in body:
        size += len(piece)
        if size > limit:
            raise BodyTooLargeError(size, limit)
        rest = memoryview(piece)
        while rest:
            room = CHUNK - len(held)
            held += rest[:room]
            rest = rest[room:]
            if len(held) == CHUNK:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)


async def write_chunks(
    connection: Connection, key: str, pieces: AsyncIterable[bytes], *, expires: int
) -> Written:
    """Write what `cut` gives. The chunks expire in the same second as their record will.

    Raises StoreUnavailableError, and what ``pieces`` raises; then it takes back what it wrote, if it can.
    """
    digest = hashlib.sha256()
    encoding: Encoding = "identity"
    size = count = 0
    try:
        async for piece in pieces:
            if count == 0:
                encoding, _ = shrink(piece)
            data = compress(piece) if encoding == "zstd" else piece
            await connection.ask("SET", f"{key}:{count}", data, "EXAT", expires)
            digest.update(piece)
            size += len(piece)
            count += 1
    except BaseException:
        with suppress(StoreUnavailableError):
            await connection.ask("UNLINK", *(f"{key}:{number}" for number in range(count + 1)))
        raise
    return Written(encoding, size, digest.digest(), count)


async def put_back_chunks(
    connection: Connection, key: str, claim: Claim, stored: AsyncIterable[bytes]
) -> None:
    """Write what `stored_chunks` gave. Raises ClaimCorruptError when they are not as many as they were."""
    count = 0
    async for data in stored:
        await connection.ask("SET", f"{key}:{count}", data, "EXAT", claim.expires)
        count += 1
    if count != claim.chunks:
        raise ClaimCorruptError(claim.id, f"comes with {count} of its {claim.chunks} chunks")


async def stored_chunks(
    connection: Connection, key: str, claim_id: str, count: int, *, expires: int
) -> AsyncIterator[bytes]:
    """Yield the chunks as they are stored. Raises ClaimCorruptError when one is gone before its time."""
    for number in range(count):
        data = await connection.ask("GET", f"{key}:{number}")
        if data is None:
            if await connection.now() >= expires:
                raise ClaimExpiredError(claim_id, "expired while it was read")
            raise ClaimCorruptError(claim_id, f"has lost chunk {number} of {count}")
        yield data


async def read_chunks(connection: Connection, key: str, claim: Claim) -> AsyncIterator[bytes]:
    """Yield the body; its last piece only once the SHA-256 of the whole fits, else ClaimCorruptError."""
    digest = hashlib.sha256()
    left = claim.size
    held = b""
    async for data in stored_chunks(connection, key, claim.id, claim.chunks, expires=claim.expires):
        try:
            piece = expand(claim.encoding, data, limit=left)
        except ValueError as wrong:
            raise ClaimCorruptError(claim.id, f"has a chunk that {wrong}") from wrong
        digest.update(piece)
        left -= len(piece)
        if held:
            yield held
        held = piece
    if digest.digest() != claim.sha256:
        raise ClaimCorruptError(claim.id, "has chunks that its SHA-256 does not fit")
    yield held
