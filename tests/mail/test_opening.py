"""The URL of a mail server or folder, and mails as files."""

import os
import stat
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from claimbus.events.errors import ConfigurationError
from claimbus.events.tls import client_context
from claimbus.mail.errors import MailUnavailableError
from claimbus.mail.folder import Folder
from claimbus.mail.mail import Mail
from claimbus.mail.opening import open_post
from claimbus.mail.post import Post
from claimbus.mail.smtp import Server, Smtp

MAIL = Mail(to="jane@pacific.example", subject="An endpoint is held", text="Mend it.\n")


def opened(url: str) -> Post:
    return open_post(url, sender="bus@iso.example", tls=client_context)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", Server(host="mail.example", port=587, tls="starttls")),
        ("smtps://mail.example", Server(host="mail.example", port=465, tls="from the start")),
        ("smtp://[::1]:25?tls=none", Server(host="::1", port=25, tls="none")),
        (
            "smtp://bus%40iso:p%2Fw@mail.example:25",
            Server(host="mail.example", port=25, tls="starttls", user="bus@iso", password="p/w"),
        ),
    ],
)
def test_a_server_by_its_url(url: str, server: Server) -> None:
    found = opened(url)
    assert isinstance(found, Smtp)
    assert found._server == server
    assert "p/w" not in repr(found._server)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("imap://bus:s3cret@mail.example", "begins with none of"),
        ("mail.example", "begins with none of"),
        ("smtp://", "must name a host"),
        ("smtp://mail.example/inbox", "must name a host and nothing behind it"),
        ("smtp://bus:s3cret@mail.example?tls=none", "in clear"),
        ("smtp://bus@mail.example", "a user without a password"),
        ("smtp://mail.example?tls=maybe", "parameters"),
        ("smtps://mail.example?tls=none", "parameters"),
        ("smtp://mail.example:many", "is no URL"),
        ("smtp://[mail.example", "is no URL"),
        ("file://mails", "whole path"),
        ("file:mails", "whole path"),
    ],
)
def test_a_wrong_url_is_refused_by_its_setting_and_not_shown(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as wrong:
        opened(url)
    assert wrong.value.field == "CLAIMBUS_MAIL_URL"
    assert "s3cret" not in str(wrong.value)


async def test_a_folder_has_each_mail_as_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "odd name" / "mails"
    post = opened(folder.as_uri())
    assert isinstance(post, Folder)
    assert str(folder) in await post.check()
    assert not folder.exists()
    async with post.session() as send:
        assert await send(MAIL) is None
        refused = await send(Mail(to="a,b@c.example", subject="", text=""))
    assert refused is not None
    assert refused.for_good
    (file,) = folder.iterdir()
    assert file.suffix == ".eml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert (read["To"], read["Subject"]) == (MAIL.to, MAIL.subject)
    assert read.get_content().splitlines() == MAIL.text.splitlines()


async def test_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    post = opened((tmp_path / "file" / "mails").as_uri())
    with pytest.raises(MailUnavailableError, match="cannot be written"):
        await post.check()
    async with post.session() as send:
        with pytest.raises(MailUnavailableError, match="file"):
            await send(MAIL)
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - nothing half written is left
