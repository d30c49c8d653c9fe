"""Mail servers: what they must speak, what they say no to, and that nothing is sent in clear."""

import socket
import ssl
from pathlib import Path

import pytest
import trustme

from claimbus.events.tls import client_context
from claimbus.mail.errors import MailUnavailableError
from claimbus.mail.mail import Mail, Refusal
from claimbus.mail.opening import open_post
from claimbus.mail.post import Post
from tests.mail.servers import MailServer, authority, mail_server

SENDER = "Event bus <bus@iso.example>"
MAIL = Mail(to="jane@pacific.example", subject="An endpoint is held", text="Mend it soon, José.\n")


def post(url: str, ca: trustme.CA | None = None, directory: Path | None = None) -> Post:
    def tls() -> ssl.SSLContext:
        if ca is None or directory is None:
            return client_context()
        file = directory / "ca.pem"
        ca.cert_pem.write_to_path(file)
        return client_context(ca_file=file)

    return open_post(url, sender=SENDER, tls=tls)


def plain(server: MailServer) -> Post:
    return post(f"smtp://127.0.0.1:{server.port}?tls=none")


async def test_a_mail_comes_over_starttls_after_a_login(tmp_path: Path) -> None:
    ca, context = authority()
    async with mail_server(starttls=context, password=b"s3:cret") as server:
        there = post(f"smtp://bus:s3%3Acret@127.0.0.1:{server.port}", ca, tmp_path)
        async with there.session() as send:
            assert await send(MAIL) is None
        assert await there.check() == f"127.0.0.1:{server.port} takes mail from us"
    ((to, message),) = server.mails
    assert to == message["To"] == MAIL.to
    assert (message["From"], message["Subject"]) == (SENDER, MAIL.subject)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == f"<{MAIL.id}@iso.example>"
    assert message.get_content().replace("\r\n", "\n") == MAIL.text
    assert server.versions <= {"TLSv1.2", "TLSv1.3"}


async def test_a_mail_comes_over_tls_from_the_start(tmp_path: Path) -> None:
    ca, context = authority()
    async with (
        mail_server(tls=context) as server,
        post(f"smtps://localhost:{server.port}", ca, tmp_path).session() as send,
    ):
        assert await send(MAIL) is None
    assert server.told == [MAIL.to]
    assert None not in server.versions


async def test_a_server_without_starttls_gets_nothing() -> None:
    async with mail_server() as server:
        with pytest.raises(MailUnavailableError, match="STARTTLS"):
            await post(f"smtp://127.0.0.1:{server.port}").check()
    assert not server.mails


async def test_a_server_that_nobody_vouches_for_gets_nothing(tmp_path: Path) -> None:
    _, context = authority()
    async with mail_server(starttls=context) as server:
        with pytest.raises(MailUnavailableError, match="certificate verify failed"):
            await post(f"smtp://127.0.0.1:{server.port}", trustme.CA(), tmp_path).check()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_a_server_with_old_tls_gets_nothing(tmp_path: Path) -> None:
    ca, context = authority()
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    async with mail_server(starttls=context) as server:
        with pytest.raises(MailUnavailableError):
            await post(f"smtp://127.0.0.1:{server.port}", ca, tmp_path).check()


async def test_a_wrong_password_says_so_and_is_not_shown(tmp_path: Path) -> None:
    ca, context = authority()
    async with mail_server(starttls=context, password=b"right") as server:
        there = post(f"smtp://bus:wr0ng@127.0.0.1:{server.port}", ca, tmp_path)
        with pytest.raises(MailUnavailableError, match="535") as refused:
            await there.check()
    assert "wr0ng" not in str(refused.value) + repr(vars(there))


@pytest.mark.parametrize(
    ("answer", "for_good"), [("550 5.1.1 no such user", True), ("450 4.2.0 grey listed", False)]
)
async def test_a_refused_address_is_told_and_the_next_mail_goes(answer: str, for_good: bool) -> None:
    async with (
        mail_server(MailServer(refused={"gone@pacific.example": answer})) as server,
        plain(server).session() as send,
    ):
        gone = Mail(to="gone@pacific.example", subject="x", text="y")
        assert await send(gone) == Refusal(answer, for_good)
        assert await send(MAIL) is None
    assert server.told == [MAIL.to]


async def test_a_refused_text_is_told() -> None:
    async with mail_server(MailServer(data="554 looks like spam")) as server, plain(server).session() as send:
        assert await send(MAIL) == Refusal("554 looks like spam", for_good=True)


@pytest.mark.parametrize("answer", ["421 closing", "530 log in first"])
async def test_an_answer_that_is_not_about_the_address_refuses_nobody(answer: str) -> None:
    async with mail_server(MailServer(refused={MAIL.to: answer})) as server, plain(server).session() as send:
        with pytest.raises(MailUnavailableError, match=answer):
            await send(MAIL)


async def test_an_address_that_needs_more_than_the_server_has_is_refused() -> None:
    async with mail_server() as server, plain(server).session() as send:
        foreign = await send(Mail(to="jürgen@pacific.example", subject="x", text="y"))
        broken = await send(Mail(to="a,b@pacific.example", subject="x", text="y"))
    assert foreign is not None
    assert broken is not None
    assert foreign.for_good
    assert broken.for_good
    assert not server.mails


async def test_a_server_that_is_away_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MailUnavailableError, match=f"127.0.0.1:{port}: Connection refused"):
        await post(f"smtp://127.0.0.1:{port}").check()


async def test_a_server_that_goes_in_the_middle_says_so() -> None:
    async with mail_server() as server:
        session = plain(server).session()
        send = await session.__aenter__()
    with pytest.raises(MailUnavailableError):
        await send(MAIL)
    await session.__aexit__(None, None, None)
