"""Structured logs: one line an attempt, with all IDs and what happens next. To standard error, always."""

import asyncio
import atexit
import logging
import os
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import orjson
import structlog

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

_LEVELS: Final[dict[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


GATHERING: Final = 0.05
"""Seconds for which lines of an event loop gather before they are written together."""

TOGETHER: Final = 16 * 1024
"""Bytes that are written sooner."""

UNWRITABLE: Final = (OSError, ValueError)
"""What a file raises that nobody reads any more, or that is closed.

Whoever logs goes on without: an error between a POST and its row would have it posted again and again.
"""


class Console(structlog.WriteLogger):
    """A logger of text. What cannot be written is lost, as with `Lines`."""

    def msg(self, message: str) -> None:
        """Write a line, if that is possible."""
        with suppress(*UNWRITABLE):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class Lines:
    """A logger whose infos leave a few at a time, and its warnings at once, with all that came before.

    A write each costs a delivery a tenth of its CPU: it gives Python's lock away. A kill loses the last
    ``GATHERING`` seconds of infos; what they tell of attempts is in the database.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._gathered = bytearray()
        self._writing = threading.Lock()
        self._timed_in: asyncio.AbstractEventLoop | None = None
        atexit.register(self._flush)
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(before=self._flush)  # or a child would write once more what is gathered here

    def info(self, line: bytes) -> None:
        """Write a line soon; where no event loop runs, at once."""
        with self._writing:
            self._gathered += line + b"\n"
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._flush()
            return
        if len(self._gathered) > TOGETHER:
            self._flush()
        elif self._timed_in is not loop:
            self._timed_in = loop
            loop.call_later(GATHERING, self._time_is_up)

    def warning(self, line: bytes) -> None:
        """Write a line now."""
        with self._writing:
            self._gathered += line + b"\n"
        self._flush()

    debug = info
    error = critical = exception = fatal = warning

    def _time_is_up(self) -> None:
        self._timed_in = None
        self._flush()

    def _flush(self) -> None:
        with self._writing:
            gathered, self._gathered = self._gathered, bytearray()
            with suppress(*UNWRITABLE):
                self._file.write(gathered)
                self._file.flush()


def configure_logs(level: Level, form: Format) -> None:
    """Set up this process's logs: JSON lines, or text for people; ``auto`` is text on a terminal."""
    if not sys.stderr:  # closed when this process began
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as this process lives
    shared: list[structlog.typing.Processor] = [structlog.processors.add_log_level]
    if form == "console" or (form == "auto" and sys.stderr.isatty()):
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        # Plain tracebacks: the default ones show the values of variables, secrets and bodies among them.
        text = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        console = Console(sys.stderr)
        _configure([*shared, text], lambda *_: console, level)
        _adopt_standard_logs(shared, text, level)
    else:
        shared += [_stamp, structlog.processors.format_exc_info]
        json = structlog.processors.JSONRenderer(orjson.dumps, option=orjson.OPT_UTC_Z)
        lines = Lines(sys.stderr.buffer)
        _configure([*shared, json], lambda *_: lines, level)
        _adopt_standard_logs([*shared], structlog.processors.JSONRenderer(_text), level)


def _text(entry: structlog.typing.EventDict, **settings: Any) -> str:  # noqa: ANN401 - structlog's
    return orjson.dumps(entry, option=orjson.OPT_UTC_Z, **settings).decode()


def _stamp(
    _: structlog.typing.WrappedLogger, __: str, entry: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Give the moment to orjson, which spells it in a tenth of the time that Python takes."""
    entry["timestamp"] = datetime.now(UTC)
    return entry


def _configure(
    processors: list[structlog.typing.Processor], factory: structlog.typing.WrappedLogger, level: Level
) -> None:
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )


def _adopt_standard_logs(
    shared: list[structlog.typing.Processor], renderer: structlog.typing.Processor, level: Level
) -> None:
    """Give what is logged by the standard library's module the same form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(_LEVELS[level], logging.INFO), force=True)
    # pika reports one failed connect in seven errors; our own line says what matters.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
