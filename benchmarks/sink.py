"""Where deliveries end: the sink in C as a process, and what it has counted."""

import json
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

HOST: Final = "127.0.0.1"
ARRIVAL: Final = struct.Struct("=QQQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Requests of each path, bytes of all bodies, monotonic seconds of the first and the last request."""

    counts: tuple[int, ...]
    bytes: int
    first: float
    last: float


class Arrival(NamedTuple):
    """A request that was complete: its event's number, its path's, and when, on the monotonic clock."""

    event: int
    path: int
    nanoseconds: int


class Sink:
    """A running sink; ``<url>/<number>`` is an endpoint, ``authority`` the CA's file when it speaks TLS."""

    def __init__(self, ask: IO[str], answers: IO[str], authority: Path | None, log: Path) -> None:
        self.authority = authority
        self._log = log
        self._ask = ask
        self._answers = answers
        self.url = f"{'https' if authority else 'http'}://{HOST}:{self._answer()['port']}"

    def tally(self) -> Tally:
        """Ask for the counts so far."""
        self._ask.write("\n")
        self._ask.flush()
        said = self._answer()
        return Tally(
            counts=tuple(said["counts"]), bytes=said["bytes"], first=said["first"], last=said["last"]
        )

    def arrivals(self) -> list[Arrival]:
        """Return what was noted so far, in the order of completion but for neighbours."""
        noted = map(Arrival._make, ARRIVAL.iter_unpack(self._log.read_bytes()))
        return [one for one in noted if one.nanoseconds]

    def _answer(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._answers.readline())
        return said


@contextmanager
def running_sink(program: Path, *, paths: int, noted: int = 0, tls: bool = False) -> Iterator[Sink]:
    """Run the compiled ``sink.c``; with ``tls``, the files of a throwaway CA are put beside it.

    ``noted`` is how many arrivals it notes at most.
    """
    certificate = _certificate(program.parent) if tls else []
    log = program.with_name("arrivals")
    log.write_bytes(b"")  # a sink before this one may have used it
    command = [str(program), str(paths), str(log), str(noted), *map(str, certificate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018 - they were asked for
        yield Sink(process.stdin, process.stdout, program.with_name("authority.pem") if tls else None, log)
        process.stdin.close()  # which ends it


def _certificate(folder: Path) -> tuple[Path, Path]:
    import trustme  # noqa: PLC0415 - for --tls only

    authority = trustme.CA()
    leaf = authority.issue_cert(HOST)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(certificate))
    leaf.private_key_pem.write_to_path(str(key))
    return certificate, key
