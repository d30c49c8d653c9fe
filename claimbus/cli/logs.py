"""Structured logs: one line an attempt, with all IDs and what happens next. To standard error, always."""

import logging
import sys
from typing import Final, Literal

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


def configure_logs(level: Level, form: Format) -> None:
    """Set up this process's logs: JSON lines, or text for people; ``auto`` is text on a terminal."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        # Plain tracebacks: the default ones show the values of variables, secrets and bodies among them.
        text = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        _configure([*shared, text], structlog.WriteLoggerFactory(file=sys.stderr), level)
        _adopt_standard_logs([*shared], text, level)
    else:
        shared.append(structlog.processors.format_exc_info)
        # Bytes straight to standard error: a third of the time of text through print.
        lines = structlog.processors.JSONRenderer(orjson.dumps)
        _configure([*shared, lines], structlog.BytesLoggerFactory(file=sys.stderr.buffer), level)
        _adopt_standard_logs(shared, structlog.processors.JSONRenderer(), level)


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
