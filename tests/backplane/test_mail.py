"""Sending against a real SMTP server, and into a folder."""

import asyncio
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from backplane.mail import (
    MAX_CONNECTIONS,
    LocalMailbox,
    MailRefused,
    MailUnavailable,
    Postman,
    SmtpSettings,
    bare_address,
    envelope,
)
from tests.support.smtp import SmtpServer

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SENDER = "Wadud <visits@clinic.example>"
TO = "amina@patients.example"


def letter(subject: str = "Appointment"):  # type: ignore[no-untyped-def]
    message = envelope(SENDER, TO, subject, "<1@clinic.example>", NOW)
    message.set_content("Salaam, سلام\n.\nend")
    return message


def postman(server: SmtpServer) -> Postman:
    return Postman(SmtpSettings(host="127.0.0.1", port=server.port, sender=SENDER))


async def test_a_message_arrives_as_it_was_written(smtp_server: SmtpServer) -> None:
    sender = postman(smtp_server)
    await sender.send(letter("ملاقات"), TO)
    await sender.close()
    (message,) = smtp_server.received
    assert smtp_server.recipients == [TO]
    assert (message["From"], message["To"], message["Subject"]) == (SENDER, TO, "ملاقات")
    assert message["Date"].datetime == NOW
    assert message.get_content().splitlines() == ["Salaam, سلام", ".", "end"]


async def test_connections_are_kept_and_few(smtp_server: SmtpServer) -> None:
    sender = postman(smtp_server)
    for _ in range(3):
        await sender.send(letter(), TO)
    assert smtp_server.connections == 1
    await asyncio.gather(*(sender.send(letter(), TO) for _ in range(20)))
    assert smtp_server.connections <= MAX_CONNECTIONS
    assert len(smtp_server.received) == 23
    await sender.close()


async def test_a_kept_connection_that_died_is_noticed_before_it_is_used(smtp_server: SmtpServer) -> None:
    sender = postman(smtp_server)
    await sender.send(letter(), TO)
    smtp_server.hang_up()
    await sender.send(letter(), TO)
    assert len(smtp_server.received) == 2
    await sender.close()


async def test_a_server_that_is_away_is_worth_another_try(smtp_server: SmtpServer) -> None:
    sender = postman(smtp_server)
    await smtp_server.stop()
    with pytest.raises(MailUnavailable):
        await sender.send(letter(), TO)
    await smtp_server.start()
    await sender.send(letter(), TO)
    await sender.close()


@pytest.mark.parametrize(
    "reply, error", [("451 later", MailUnavailable), ("550 no Amina here", MailRefused), ("552 too big", MailRefused)]
)
async def test_a_refusal_says_whether_to_try_again_and_quotes_nobody(
    smtp_server: SmtpServer, reply: str, error: type[Exception]
) -> None:
    sender = postman(smtp_server)
    smtp_server.replies.append(reply)
    with pytest.raises(error) as caught:
        await sender.send(letter(), TO)
    assert str(caught.value) == f"smtp {reply[:3]}"
    await sender.send(letter(), TO)
    assert smtp_server.connections == 1
    await sender.close()


async def test_a_connection_that_breaks_after_the_message_is_told_as_unknown(smtp_server: SmtpServer) -> None:
    sender = postman(smtp_server)
    smtp_server.hang_up_after_data = True
    with pytest.raises(MailUnavailable):
        await sender.send(letter(), TO)
    assert len(smtp_server.received) == 1
    await sender.close()


async def test_a_password_is_never_sent_in_the_clear(smtp_server: SmtpServer) -> None:
    settings = SmtpSettings.from_url(f"smtp://user:secret@127.0.0.1:{smtp_server.port}", SENDER)
    sender = Postman(settings)
    with pytest.raises(MailUnavailable):  # the server offers no STARTTLS
        await sender.send(letter(), TO)
    await sender.close()


@pytest.mark.parametrize(
    "url, security, port, user",
    [
        ("smtp://mail.example", "opportunistic", 0, None),
        ("smtp://a%40b:p%2Fw@mail.example:2525", "starttls", 2525, "a@b"),
        ("smtps://a:b@mail.example", "tls", 0, "a"),
        ("smtp://a:b@localhost:25?security=none", "none", 25, "a"),
    ],
)
def test_a_url_says_how_to_connect(url: str, security: str, port: int, user: str | None) -> None:
    settings = SmtpSettings.from_url(url, SENDER)
    assert (settings.security, settings.port, settings.user) == (security, port, user)


@pytest.mark.parametrize("url", ["http://mail.example", "smtp://", "smtps://mail.example?security=none", "smtp://a?b"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        SmtpSettings.from_url(url, SENDER)


async def test_without_smtp_mails_lie_in_a_folder_that_only_the_owner_reads(tmp_path: Path) -> None:
    mailbox = LocalMailbox(tmp_path / "mail", SENDER, lambda: NOW)
    await mailbox.send(letter(), TO)
    await mailbox.send(letter(), TO)  # the same id again
    (path,) = (tmp_path / "mail").iterdir()
    assert path.name == "20261121T120000-1clinicexample.eml"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert message_from_bytes(path.read_bytes(), policy=policy.default)["To"] == TO


@pytest.mark.parametrize("mailbox", ["", "Wadud", "Wadud <nobody>"])
def test_what_is_no_address_is_refused(mailbox: str) -> None:
    with pytest.raises(ValueError):
        bare_address(mailbox)


def test_a_header_cannot_be_smuggled_in() -> None:
    """A clinic's name stands in subjects: what is wrong with it must not stop the clinic's mails."""
    subject = "Appointment\r\nBcc: everybody@example.org\n\x00\u2028x"
    message = envelope(SENDER, "a@b.example", subject, "<1@clinic.example>", NOW)
    assert message["Subject"] == "Appointment Bcc: everybody@example.org x"
    assert message["Bcc"] is None
    assert b"\nBcc" not in message.as_bytes()
    to = envelope(SENDER, "a@b.example\r\nBcc: c@d.example", "Appointment", "<1@clinic.example>", NOW)
    assert b"Bcc" not in to.as_bytes()


async def test_a_mail_that_finds_no_room_on_the_disk_is_tried_again(
    tmp_path: Path,
) -> None:
    mailbox = LocalMailbox(tmp_path / "mail", SENDER, lambda: NOW)
    message = envelope(SENDER, "a@b.example", "Appointment", "<1@clinic.example>", NOW)
    message.set_content("x")
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / f"{NOW:%Y%m%dT%H%M%S}-1clinicexample.part").symlink_to("/dev/full")
    with pytest.raises(MailUnavailable):
        await mailbox.send(message, "a@b.example")
    await mailbox.send(message, "a@b.example")
    assert [path.suffix for path in (tmp_path / "mail").iterdir()] == [".eml"]
