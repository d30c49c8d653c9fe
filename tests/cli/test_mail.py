"""Mail by settings: a worker tells contacts, the doctor tells whether it can."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from claimbus.cli.settings import Settings
from claimbus.cli.wiring.mail import post_office
from claimbus.database import endpoints, participants, tidings
from claimbus.database.audit import Act
from claimbus.database.engine import Database
from claimbus.events.errors import ConfigurationError
from consumers.contacts import READER
from tests.cli.terminal import Terminal
from tests.mail.servers import mail_server
from tests.waiting import eventually

FROM = "Event bus <bus@iso.example>"
ACT = Act("tests")


def mail_finding(terminal: Terminal, *, code: int = 0) -> tuple[str, str]:
    found = terminal("doctor", "--json", code=code).json
    (one,) = (one for one in found if one["subject"] == "mail")
    return one["severity"], one["message"]


async def test_the_doctor_tells_whether_mail_goes(terminal: Terminal, tmp_path: Path) -> None:
    assert mail_finding(terminal) == ("ok", "no contact is told of anything, without CLAIMBUS_MAIL_URL")
    folder = terminal.but(mail_url=(tmp_path / "mails").as_uri(), mail_from=FROM)
    assert mail_finding(folder) == ("ok", f"mails are files in {tmp_path / 'mails'}")
    assert not (tmp_path / "mails").exists()
    async with mail_server() as server:
        pass
    away = terminal.but(mail_url=f"smtp://127.0.0.1:{server.port}?tls=none", mail_from=FROM)
    severity, message = mail_finding(away, code=1)
    assert (severity, message) == ("error", f"mail: 127.0.0.1:{server.port}: Connection refused")
    assert mail_finding(terminal.but(mail_url="smtp://mail.example"), code=1)[0] == "error"


def test_a_wrong_authority_names_its_setting(tmp_path: Path) -> None:
    wrong = Settings(mail_url="smtp://mail.example", mail_from=FROM, mail_ca_file=tmp_path / "none.pem")
    with pytest.raises(ConfigurationError) as error:
        post_office(wrong)
    assert error.value.field == "CLAIMBUS_MAIL_CA_FILE"


def test_the_password_is_masked(terminal: Terminal) -> None:
    shown = terminal.but(mail_url="smtp://bus:s3cret@mail.example", mail_from=FROM)("settings").out
    assert "smtp://bus:***@mail.example" in shown
    assert "s3cret" not in shown


@pytest.fixture
def database(terminal: Terminal) -> Iterator[Database]:
    with Database.open(terminal.settings["CLAIMBUS_DATABASE_URL"]) as database:
        yield database


async def test_a_worker_tells_contacts(terminal: Terminal, database: Database, tmp_path: Path) -> None:
    with database.transaction() as sql:
        participants.add(sql, "PGAE", "Pacific", ACT)
        participants.add_contact(sql, "Pacific", "jane@pacific.example", ACT)
        added = endpoints.add(sql, "PGAE", ACT, kind="stream", name="main")
    mails = tmp_path / "mails"
    at = terminal.but(
        mail_url=mails.as_uri(),
        mail_from=FROM,
        mail_gather="100ms",
        portal_url="https://events.iso.example/",
        work_deadletters="false",
    )

    def is_watched() -> bool:
        with database.snapshot() as sql:
            return tidings.waiting(sql, READER) is not None

    with at.started("work"):
        await eventually(is_watched, within=30)
        with database.transaction() as sql:
            endpoints.pause(sql, added.id, Act("jane", "maintenance"))
        (file,) = await eventually(lambda: list(mails.glob("*.eml")), within=30)
    read = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert (read["From"], read["To"]) == (FROM, "jane@pacific.example")
    assert read["Subject"] == '[test] endpoint "main" of PGAE: paused'
    text = read.get_content()
    assert "  why     maintenance" in text
    assert f"  where   https://events.iso.example/endpoints/{added.id}" in text
