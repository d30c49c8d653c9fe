"""A body over the inline limit: chunks under the record's hash tag, written and read one at a time."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from claimbus.events.sealing import BrokenBoxError, Cipher, Keys
from claimstore.claim import Claim, Encoding
from claimstore.compression import compress, expand, shrink
from claimstore.connection import Connection
from claimstore.encryption import decrypting
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
    connection: Connection,
    key: str,
    pieces: AsyncIterable[bytes],
    *,
    expires: int,
    cipher: Cipher | None = None,
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
            if cipher is not None:
                data = cipher.encrypt(data, _context(count))
            await connection.ask("SET", f"{key}:{count}", data, "EXAT", expires, durable=True)
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
        await connection.ask("SET", f"{key}:{count}", data, "EXAT", claim.expires, durable=True)
        count += 1
    if count != claim.chunks:
        raise ClaimCorruptError(claim.id, f"comes with {count} of its {claim.chunks} chunks")


async def stored_chunks(
    connection: Connection,
    key: str,
    claim_id: str,
    count: int,
    *,
    expires: int,
    numbers: Iterable[int] | None = None,
) -> AsyncIterator[bytes]:
    """Yield the chunks as they are stored, all or those of these numbers.

    Raises ClaimCorruptError when one is gone before its time.
    """
    for number in range(count) if numbers is None else numbers:
        data = await connection.ask("GET", f"{key}:{number}")
        if data is None:
            if await connection.now(key) >= expires:
                raise ClaimExpiredError(claim_id, "expired while it was read")
            raise ClaimCorruptError(claim_id, f"has lost chunk {number} of {count}")
        yield data


async def proven_chunks(
    claim: Claim, stored: AsyncIterable[bytes], keys: Keys
) -> AsyncIterator[tuple[bytes, bytes]]:
    """Yield each chunk as it is stored and as it was published.

    Raises ClaimCorruptError unless all fit the SHA-256 of the whole, and ClaimKeyMissingError.
    """
    digest = hashlib.sha256()
    left, number = claim.size, 0
    cipher = _cipher(claim, keys)
    async for data in stored:
        piece = _opened(claim, number, data, cipher, limit=left)
        digest.update(piece)
        left -= len(piece)
        number += 1
        yield data, piece
    if claim.chunks and digest.digest() != claim.sha256:
        raise ClaimCorruptError(claim.id, "has chunks that its SHA-256 does not fit")


async def read_chunks(connection: Connection, key: str, claim: Claim, keys: Keys) -> AsyncIterator[bytes]:
    """Yield the body; its last piece only once the SHA-256 of the whole fits, else ClaimCorruptError."""
    held = b""
    stored = stored_chunks(connection, key, claim.id, claim.chunks, expires=claim.expires)
    async for _, piece in proven_chunks(claim, stored, keys):
        if held:
            yield held
        held = piece
    yield held


async def read_part(
    connection: Connection, key: str, claim: Claim, keys: Keys, *, start: int, stop: int
) -> AsyncIterator[bytes]:
    """Yield the body's bytes from ``start`` to before ``stop``, reading only the chunks that hold them.

    The SHA-256 of the whole says nothing of a part; but each chunk must have its length.
    """
    cipher = _cipher(claim, keys)
    numbers = range(start // CHUNK, -(-stop // CHUNK))
    chunks = stored_chunks(connection, key, claim.id, claim.chunks, expires=claim.expires, numbers=numbers)
    for number in numbers:
        begin = number * CHUNK
        length = min(CHUNK, claim.size - begin)
        piece = _opened(claim, number, await anext(chunks), cipher, limit=length)
        if len(piece) != length:
            raise ClaimCorruptError(claim.id, f"has a chunk {number} of {len(piece)} bytes for {length}")
        yield piece[max(start - begin, 0) : stop - begin]


def _cipher(claim: Claim, keys: Keys) -> Cipher | None:
    return None if claim.key is None else decrypting(keys, claim.id, claim.key)


def _context(number: int) -> bytes:
    """Return what a chunk's box is bound to besides its claim: its place."""
    return f"chunk {number}".encode()


def _opened(claim: Claim, number: int, data: bytes, cipher: Cipher | None, *, limit: int) -> bytes:
    try:
        packed = data if cipher is None else cipher.decrypt(data, _context(number))
        return expand(claim.encoding, packed, limit=limit)
    except BrokenBoxError as broken:
        raise ClaimCorruptError(claim.id, f"has a chunk that {broken.reason}") from broken
    except ValueError as wrong:
        raise ClaimCorruptError(claim.id, f"has a chunk that {wrong}") from wrong
