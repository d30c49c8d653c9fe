"""What the logs show, and what they never show."""

import json
import os
import shlex
import subprocess
import sys

import pytest

PROGRAM = """
import logging, structlog
from claimbus.cli.logs import configure_logs
configure_logs("info", {form!r})
structlog.get_logger().info("attempt", verdict="delivered", attempt=1)
structlog.get_logger().debug("too much")
logging.getLogger("claimbus.broker").warning("connection lost")
logging.getLogger("alembic.runtime.migration").info("Running upgrade")
logging.getLogger("pika.adapters").error("seven lines for one failure")
secret = "whsec_value"
try:
    raise ValueError("it broke")
except ValueError:
    structlog.get_logger().exception("failed")
"""


def logged(form: str) -> str:
    program = PROGRAM.format(form=form)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def test_each_line_is_json() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines()]
    assert [line["event"] for line in lines] == ["attempt", "connection lost", "failed"]
    assert lines[0]["verdict"] == "delivered"
    assert "ValueError: it broke" in lines[2]["exception"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_values(form: str) -> None:
    assert "it broke" in logged(form)
    assert "whsec_value" not in logged(form).replace('secret = "whsec_value"', "")


FORKING = """
import asyncio, os, structlog
from claimbus.cli.logs import configure_logs
configure_logs("info", "json")
log = structlog.get_logger()
async def main():
    log.info("before")
    child = os.fork()
    if child == 0:
        log.warning("in the child")
        os._exit(0)
    os.waitpid(child, 0)
    log.info("after")
asyncio.run(main())
"""


def test_a_forked_process_repeats_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == ["before", "in the child", "after"]


UNREAD = """
import asyncio, logging, sys, structlog
from claimbus.cli.logs import configure_logs
configure_logs("info", {form!r})
async def main():
    {before}
    for _ in range(1000):
        structlog.get_logger().info("gathered")
    structlog.get_logger().warning("at once")
    structlog.get_logger().info("at exit")
asyncio.run(main())
print("done")
"""


@pytest.mark.parametrize(
    ("form", "before"), [("json", "pass"), ("console", "pass"), ("json", "sys.stderr.close()")]
)
def test_who_logs_goes_on_when_nobody_reads(form: str, before: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = UNREAD.format(form=form, before=before)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writing, check=False, text=True
        )
    finally:
        os.close(writing)
    assert done.stdout == "done\n"


def test_a_process_without_standard_error_runs() -> None:
    program = shlex.quote(UNREAD.format(form="auto", before="pass"))
    command = f"{shlex.quote(sys.executable)} -c {program} 2>&-"
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n")


ENDING = """
import asyncio, os, structlog
from claimbus.cli.logs import configure_logs
configure_logs("info", "json")
log = structlog.get_logger()
async def work(number):
    log.info("first", number=number)
    {then}
asyncio.run(work(1))
asyncio.run(work(2))
log.info("last")
"""


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("pass", ["first", "first", "last"]),
        ("log.warning('then'); os._exit(0)", ["first", "then"]),
        ("await asyncio.sleep(0.2); os._exit(0)", ["first"]),
        ("raise SystemExit(0)", ["first"]),
        ("[log.info('more') for _ in range(1000)]; os._exit(0)", None),
    ],
)
def test_gathered_lines_are_written_in_order_when_they_matter(then: str, expected: list[str] | None) -> None:
    """With a warning, in time, when there are many, and at the end; over several loops."""
    program = ENDING.format(then=then)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    if expected is None:
        assert len(events) > 500
    else:
        assert events == expected
