"""The smaller parts of identity: contacts, the password queue, letters, what is forgotten."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from time import thread_time
from uuid import UUID

import pytest
from webauthn.helpers import parse_cbor
from webauthn.helpers.exceptions import InvalidCBORData

from backplane.ids import uuid7
from backplane.jobs import Errand, JobRow
from backplane.postgres import Database
from backplane.sealed import Sealer
from booking.identity import contacts, factor_routes  # noqa: F401 (which has the decoder of passkeys bound)
from booking.identity.contacts import Contact
from booking.identity.courier import KIND, TEXTS, JobCourier, Letter, SandboxSms, errands
from booking.identity.passwords import Passwords
from booking.refusals import Refusal
from tests.support.identity import SEALER, START, House


@pytest.mark.parametrize(
    "typed, kept",
    [
        (" Amina@Example.COM ", "amina@example.com"),
        ("amina+clinic@example.com", "amina+clinic@example.com"),
        ("amina@bücher.example", "amina@xn--bcher-kva.example"),
        ("ａｍｉｎａ@example.com", "amina@example.com"),
        ("عائشہ@example.com", "عائشہ@example.com"),
    ],
)
def test_an_address_is_kept_in_one_form(typed: str, kept: str) -> None:
    assert contacts.email(typed) == Contact("email", kept)


@pytest.mark.parametrize(
    "typed",
    ["", "@", "a@", "@b.co", "a@b", "a b@c.co", "a@b..co", ".a@b.co", "a..b@c.co", "a@-b.co", "a@b.co\r\nBcc: x@y.co",
     "a@b.co,c@d.co", "<a@b.co>", "a\x00@b.co", "a" * 65 + "@b.co", "a@" + "b." * 130 + "co"],
)  # fmt: skip
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="not an e-mail address"):
        contacts.email(typed)


@pytest.mark.parametrize(
    "typed, region, kept",
    [
        ("0300 1234567", "PK", "+923001234567"),
        ("+92-300-1234567", "AE", "+923001234567"),
        ("050 123 4567", "AE", "+971501234567"),
        ("٠٣٠٠١٢٣٤٥٦٧", "PK", "+923001234567"),
    ],
)
def test_a_number_is_kept_as_e164(typed: str, region: str, kept: str) -> None:
    assert contacts.phone(typed, region) == Contact("phone", kept)


@pytest.mark.parametrize("typed", ["", "abc", "12", "+999999999999", "0300 123456789012"])
def test_what_is_no_number_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="not a phone number"):
        contacts.phone(typed, "PK")


async def test_a_crowd_of_sign_ins_is_told_to_come_back() -> None:
    passwords = Passwords(threads=1, queue_length=3)
    answers = await asyncio.gather(*(passwords.hash("one of many") for _ in range(10)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert [(each.kind, each.code, each.retry_after_s) for each in refused] == [("unavailable", "busy", 2)] * 6
    assert await passwords.verify(str(answers[0]), "one of many")
    passwords.close()


async def test_somebody_who_goes_away_keeps_their_thread_until_it_is_done() -> None:
    passwords = Passwords(threads=1, queue_length=0)
    gone = asyncio.create_task(passwords.hash("impatient one"))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    with pytest.raises(Refusal, match="busy"):
        await passwords.hash("another one")
    async with asyncio.timeout(10):
        while passwords._busy:  # noqa: ASYNC110 - there is nobody left to tell
            await asyncio.sleep(0.001)
    assert await passwords.hash("patient one")
    passwords.close()


async def test_passwords_are_argon2id_and_read_the_same_however_they_are_composed() -> None:
    passwords = Passwords()
    hashed = await passwords.hash("pässwörd nine")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify(hashed, "pa\u0308sswo\u0308rd nine")
    assert not await passwords.verify(hashed, "passwoerd nine")
    assert not await passwords.verify(None, "")
    assert not await passwords.verify("rubbish", "x")
    passwords.close()


class Outbox:
    """Mail and SMS of a test."""

    def __init__(self) -> None:
        self.mails: list[tuple[int, str, str, str]] = []
        self.texts: list[tuple[str, str]] = []

    async def send_text(self, tenant: int, to: str, subject: str, body: str) -> None:
        self.mails.append((tenant, to, subject, body))


async def posted(database: Database, letter: Letter) -> JobRow:
    """The job of a posted letter."""
    async with database.tenant(1) as connection:
        await JobCourier(SEALER).post(connection, letter, uuid7(START), START)
        row = await connection.fetchrow("SELECT * FROM job")
    assert row is not None
    return JobRow(row["id"], 1, row["key"], row["kind"], row["subject"], row["run_at"], row["payload"], 1)


def letter(contact: Contact) -> Letter:
    return Letter(contact, "code", "ur-PK", "Noor", START + timedelta(minutes=10), "123456")


async def test_a_letter_lies_sealed_in_its_job_and_arrives(database: Database, tmp_path: Path) -> None:
    job = await posted(database, letter(Contact("email", "amina@example.com")))
    assert job.kind == KIND
    assert "123456" not in str(job.payload)
    assert "amina" not in str(job.payload)
    outbox = Outbox()
    errand = errands(SEALER, outbox, SandboxSms(tmp_path / "sms.jsonl"))[KIND]
    assert isinstance(errand, Errand)
    await errand.run(job, START)
    ((tenant, to, subject, body),) = outbox.mails
    assert (tenant, to) == (1, "amina@example.com")
    assert "123456" in body
    assert "123456" not in subject
    assert "آپ" in body
    await errand.run(job, START + timedelta(minutes=10))  # the mail server was away too long
    await errands(Sealer(b"x" * 32), outbox, SandboxSms(tmp_path / "sms.jsonl"))[KIND].run(job, START)
    assert len(outbox.mails) == 1


async def test_the_sandbox_keeps_text_messages_in_a_private_file(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "sms.jsonl"
    job = await posted(database, letter(Contact("phone", "+923001234567")))
    await errands(SEALER, Outbox(), SandboxSms(path))[KIND].run(job, START)
    line = json.loads(path.read_text())
    assert line["to"] == "+923001234567"
    assert "123456" in line["text"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_letter_is_there_in_every_language() -> None:
    for texts in TEXTS.values():
        assert set(texts) == {"en", "ur", "ar"}
        for _, body in texts.values():
            assert ("{secret}" in body) == ("{secret}" in texts["en"][1])


async def test_spent_tokens_are_forgotten_when_they_could_not_be_used_any_more(served: House) -> None:
    signed_in = await served.sign_in("amina@example.com")
    for _ in range(3):
        served.clock.turn(days=20)
        await served.identity.tend()
        signed_in = await served.refresh(signed_in)
    await served.identity.tend()
    async with served.db.platform() as connection:
        left = await connection.fetchval(
            "SELECT count(*) FROM refresh_token WHERE session_id = $1", UUID(signed_in["session"])
        )
    assert left == 2  # of four: the living one, and the one of 20 days ago, which a thief might still show
    assert (await served.refresh(signed_in))["session"] == signed_in["session"]
    served.clock.turn(days=130)
    await served.identity.tend()
    async with served.db.platform() as connection:
        assert await connection.fetchval("SELECT count(*) FROM session") == 0


def test_what_an_authenticator_sends_holds_no_tags() -> None:
    for tag in (*range(300), 1004, 43000, 55799, 65535):
        for item in (b"\x00", b"\x40", b"\x60", b"\x80", b"\xa0", b"\x82\x01\x02"):
            with pytest.raises(InvalidCBORData) as refused:
                parse_cbor(b"\xa1\x00\xd9" + tag.to_bytes(2, "big") + item)
            why = refused.value.__cause__
            assert "tag" in f"{why} {why and why.__cause__}", tag


def test_a_regular_expression_in_cbor_is_not_compiled() -> None:
    text = "[\u0100-\uffff\U00010000-\U0010ffff]".encode() * 600  # two seconds
    began = thread_time()
    with pytest.raises(InvalidCBORData):
        parse_cbor(b"\xa1\x00\xd8\x23\x79" + len(text).to_bytes(2, "big") + text)
    assert thread_time() - began < 0.05


def test_an_address_that_unfolds_is_refused_before_it_is_translated() -> None:
    began = thread_time()
    for typed in ("ﷺ" * 5000 + "@b.co", "a@" + "ﷺ" * 240 + ".co", "a@" + "ü" * 240 + ".co", "a@" + "ﷺ." * 120 + "co"):
        with pytest.raises(ValueError, match="not an e-mail address"):
            contacts.email(typed)
    assert thread_time() - began < 0.05
