"""What identity sends to people: codes, invitations, warnings. It writes a job; somebody else carries it.

The letter lies sealed in the job, so that no code and no link stands in the database in the clear, and is not sent once
it is worth nothing. `errands` open it and hand it to a `Mail` or `Sms` port; the texts are here because they are short
and hold nothing but the code or the link.
"""

import asyncio
import errno
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Protocol
from uuid import UUID

import msgspec
from msgspec import Struct

from backplane.ids import uuid7
from backplane.jobs import Errand, Job, JobRow, Later, schedule
from backplane.logs import Log
from backplane.postgres import Connection
from backplane.sealed import Sealer, SealError
from booking.identity.contacts import Contact

KIND: Final = "identity.letter"
_PURPOSE: Final = "letter"
_log = Log(__name__)

Text = Literal["code", "staff_invite", "caregiver_invite", "token_reused"]

# text -> language -> subject, body. {secret} is the code or the link, {clinic} the name of the clinic.
TEXTS: Final[Mapping[Text, Mapping[str, tuple[str, str]]]] = {
    "code": {
        "en": ("Your code", "{secret} is your code for {clinic}. It holds for 10 minutes. Give it to nobody."),
        "ur": ("آپ کا کوڈ", "{clinic} کے لیے آپ کا کوڈ {secret} ہے۔ یہ 10 منٹ تک کارآمد ہے۔ کسی کو نہ بتائیں۔"),
        "ar": ("رمزك", "رمزك في {clinic} هو {secret}. صالح لمدة 10 دقائق. لا تعطه لأحد."),
    },
    "staff_invite": {
        "en": ("Invitation", "{clinic} invites you to work with them. Accept within 72 hours: {secret}"),
        "ur": ("دعوت", "{clinic} آپ کو اپنے ساتھ کام کرنے کی دعوت دیتا ہے۔ 72 گھنٹوں میں قبول کریں: {secret}"),
        "ar": ("دعوة", "تدعوك {clinic} للعمل معها. اقبل خلال 72 ساعة: {secret}"),
    },
    "caregiver_invite": {
        "en": (
            "Invitation",
            "Somebody at {clinic} asks you to help with their visits. Accept within 72 hours: {secret}",
        ),
        "ur": ("دعوت", "{clinic} میں کوئی آپ سے اپنی ملاقاتوں میں مدد چاہتا ہے۔ 72 گھنٹوں میں قبول کریں: {secret}"),
        "ar": ("دعوة", "يطلب منك شخص في {clinic} المساعدة في زياراته. اقبل خلال 72 ساعة: {secret}"),
    },
    "token_reused": {
        "en": ("Signed out", "A sign-in of yours at {clinic} was used twice and has been ended. Sign in again."),
        "ur": (
            "سائن آؤٹ",
            "{clinic} میں آپ کا ایک سائن اِن دو بار استعمال ہوا اور بند کر دیا گیا۔ دوبارہ سائن اِن کریں۔",
        ),
        "ar": ("تسجيل خروج", "استُخدم أحد تسجيلات دخولك في {clinic} مرتين فأُنهي. سجّل الدخول مجددا."),
    },
}


class Letter(Struct, frozen=True):
    """One message to one contact. After ``until`` it is not sent any more."""

    contact: Contact
    text: Text
    locale: str
    clinic: str
    until: datetime
    secret: str = ""

    def written(self) -> tuple[str, str]:
        """Subject and body in the language of the reader, else in English."""
        texts = TEXTS[self.text]
        subject, body = texts.get(self.locale.partition("-")[0], texts["en"])
        return subject, body.format(secret=self.secret, clinic=self.clinic)


class Courier(Protocol):
    async def post(self, connection: Connection, letter: Letter, subject: UUID, now: datetime) -> None:
        """Take the letter along, when the caller's transaction commits. ``subject``: an id for the log."""


class Mail(Protocol):
    async def send_text(self, tenant: int, to: str, subject: str, body: str) -> None:
        """Send now, or raise."""


class Sms(Protocol):
    async def send_text(self, to: str, body: str) -> None:
        """Send now, or raise."""


class JobCourier:
    """Posts letters as jobs."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    async def post(self, connection: Connection, letter: Letter, subject: UUID, now: datetime) -> None:
        sealed = self._sealer.seal(msgspec.json.encode(letter), _PURPOSE)
        job = Job(key=f"letter:{uuid7(now)}", kind=KIND, subject=subject, run_at=now, payload={"sealed": sealed})
        await schedule(connection, job)


def errands(sealer: Sealer, mail: Mail, sms: Sms) -> dict[str, Errand]:
    """The handlers that carry letters."""

    async def carry(job: JobRow, now: datetime) -> None:
        try:
            opened = sealer.unseal(str(job.payload.get("sealed", "")), _PURPOSE)
        except SealError:
            _log.error("letter cannot be opened", kind=job.kind)
            return
        letter = msgspec.json.decode(opened, type=Letter)
        if now >= letter.until:
            return
        subject, body = letter.written()
        if letter.contact.kind == "email":
            await mail.send_text(job.tenant, letter.contact.value, f"{letter.clinic}: {subject}", body)
        else:
            await sms.send_text(letter.contact.value, body)

    return {KIND: Errand(carry)}


class SandboxSms:
    """Writes messages to a file that only its owner reads, a JSON object per line: to try out without a gateway."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send_text(self, to: str, body: str) -> None:
        try:
            await asyncio.to_thread(self._append, msgspec.json.encode({"to": to, "text": body}) + b"\n")
        except OSError as error:
            raise Later(errno.errorcode.get(error.errno or 0, "not written")) from None

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(line)
