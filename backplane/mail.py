"""Mail leaves here: over SMTP (RFC 5321), or into a folder where a person who tries things out can read it.

A `Sender` sends one finished message to one address and returns when the next server has taken responsibility for it.
It does not try again and does not remember: that is the work of jobs. What it raises says whether another try makes
sense. A pooled connection is asked whether it still lives (RSET) before it is used, so a message is never begun on a
dead one; a connection that breaks after the message has begun leaves unknown whether it was taken.
"""

import asyncio
import errno
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib
from msgspec import Struct

from backplane.lines import one_line
from backplane.logs import Log

_log = Log(__name__)

TIMEOUT_S: Final = 30.0
MAX_CONNECTIONS: Final = 4
# Servers hang up on the idle after a few minutes; RFC 5321 asks them to wait five.
MAX_IDLE_S: Final = 60.0

Security = Literal["tls", "starttls", "opportunistic", "none"]
_PORTS: Final = {"tls": 465, "starttls": 587, "opportunistic": 25, "none": 25}


class MailUnavailable(Exception):
    """The message was not taken now; a later try may succeed. ``code``: the SMTP reply, 0 without one."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(f"smtp {code}" if code else "not reachable")
        self.code = code


class MailRefused(Exception):
    """The message will never be taken in this form. ``code``: the SMTP reply. Its text is dropped: it quotes people."""

    def __init__(self, code: int) -> None:
        super().__init__(f"smtp {code}")
        self.code = code


class Sender(Protocol):
    """Raises MailUnavailable and MailRefused."""

    @property
    def sender(self) -> str:
        """The From of messages, such as ``Clinic <visits@clinic.example>``."""

    async def send(self, message: EmailMessage, to: str) -> None:
        """Hands ``message`` over for the one address ``to``."""

    async def close(self) -> None:
        """Ends connections."""


class SmtpSettings(Struct, frozen=True, kw_only=True):
    """``security``: tls from the first byte, starttls or nothing, opportunistic starttls, none at all. With a password
    the connection must be encrypted unless ``security`` is none (a server on this machine)."""

    host: str
    sender: str
    port: int = 0
    security: Security = "opportunistic"
    user: str | None = None
    password: str | None = None

    @classmethod
    def from_url(cls, url: str, sender: str) -> "SmtpSettings":
        """smtps://USER:PASSWORD@HOST:PORT (TLS), smtp://... (STARTTLS: a must with a password, else if offered),
        smtp://HOST?security=none. Percent signs as in every URL. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("write smtp://HOST:PORT or smtps://USER:PASSWORD@HOST:PORT")
        security: Security = "tls" if parts.scheme == "smtps" else "starttls" if parts.password else "opportunistic"
        if parts.query == "security=none" and parts.scheme == "smtp":
            security = "none"
        elif parts.query:
            raise ValueError("only ?security=none is known, and only for smtp://")
        return cls(
            host=parts.hostname,
            port=parts.port or 0,
            security=security,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            sender=sender,
        )


class Postman:
    """Sends over SMTP with a few connections that are kept for the next message."""

    def __init__(self, settings: SmtpSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._free: list[tuple[float, aiosmtplib.SMTP]] = []
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._from = bare_address(settings.sender)

    @property
    def sender(self) -> str:
        return self._settings.sender

    async def send(self, message: EmailMessage, to: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S), self._slots, self._connection() as smtp:
                await smtp.sendmail(self._from, [to], message.as_bytes(policy=SMTP))
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refusal(error.recipients[0].code if error.recipients else 0) from None
        except aiosmtplib.SMTPResponseException as error:
            # a wrong password is the operator's to mend, the mail can wait for that
            if isinstance(error, aiosmtplib.SMTPAuthenticationError):
                _log.error("smtp sign-in failed", code=str(error.code))
                raise MailUnavailable(error.code) from None
            raise _refusal(error.code) from None
        except (aiosmtplib.SMTPException, OSError, ValueError):
            raise MailUnavailable from None

    async def close(self) -> None:
        while self._free:
            _, smtp = self._free.pop()
            smtp.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosmtplib.SMTP]:
        smtp = await self._kept() or await self._fresh()
        try:
            yield smtp
        except aiosmtplib.SMTPResponseException:
            self._keep(smtp)  # the server is well, it just said no
            raise
        except BaseException:
            smtp.close()
            raise
        self._keep(smtp)

    def _keep(self, smtp: aiosmtplib.SMTP) -> None:
        if smtp.is_connected:
            self._free.append((self._clock(), smtp))

    async def _kept(self) -> aiosmtplib.SMTP | None:
        while self._free:
            since, smtp = self._free.pop()
            if self._clock() - since <= MAX_IDLE_S:
                try:
                    await smtp.rset()
                except (aiosmtplib.SMTPException, OSError):
                    pass  # it has been hung up; the next one, or a fresh one, will do
                else:
                    return smtp
            smtp.close()
        return None

    async def _fresh(self) -> aiosmtplib.SMTP:
        chosen = self._settings
        smtp = aiosmtplib.SMTP(
            hostname=chosen.host,
            port=chosen.port or _PORTS[chosen.security],
            use_tls=chosen.security == "tls",
            start_tls={"tls": False, "starttls": True, "opportunistic": None, "none": False}[chosen.security],
            username=chosen.user,
            password=chosen.password,
            # an opportunistic upgrade protects against listeners only; there is nothing to hold a certificate against
            validate_certs=chosen.security != "opportunistic",
            tls_context=ssl.create_default_context() if chosen.security in ("tls", "starttls") else None,
            timeout=TIMEOUT_S,
        )
        try:
            await smtp.connect()
        except BaseException:
            smtp.close()
            raise
        return smtp


class LocalMailbox:
    """Writes each message as a file ``TIME-ID.eml`` that only its owner may read, for a try-out without SMTP."""

    def __init__(self, directory: Path, sender: str, clock: Callable[[], datetime]) -> None:
        self._directory = directory
        self._sender = sender
        self._clock = clock

    @property
    def sender(self) -> str:
        return self._sender

    async def send(self, message: EmailMessage, to: str) -> None:
        name = "".join(each for each in str(message["Message-ID"] or "") if each.isalnum() or each == "-")
        path = self._directory / f"{self._clock():%Y%m%dT%H%M%S}-{name[:40] or 'mail'}.eml"
        content = message.as_bytes(policy=SMTP)
        try:
            await asyncio.to_thread(self._write, path, content)
        except OSError as error:
            _log.error("mail file could not be written", reason=errno.errorcode.get(error.errno or 0, ""))
            raise MailUnavailable from None

    async def close(self) -> None:
        """Nothing is open."""

    def _write(self, path: Path, content: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # under another name until it is whole; a message with the same id replaces the one before
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def bare_address(mailbox: str) -> str:
    """``a@b.example`` of ``Name <a@b.example>``. Raises ValueError when there is none."""
    address = parseaddr(mailbox)[1]
    if "@" not in address:
        raise ValueError("this is no mail address")
    return address


def envelope(sender: str, to: str, subject: str, message_id: str, now: datetime) -> EmailMessage:
    """An empty message with its headers; a name in ``subject`` that holds a line break cannot make another header.
    Raises ValueError: ``to`` is no address."""
    message = EmailMessage(policy=SMTP)
    name, address = parseaddr(sender)
    user, _, domain = address.rpartition("@")
    message["From"] = Address(name, user, domain)
    user, _, domain = bare_address(to).rpartition("@")
    message["To"] = Address("", user, domain)
    message["Subject"] = one_line(subject)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers
    return message


def _refusal(code: int) -> Exception:
    return MailRefused(code) if 500 <= code < 600 else MailUnavailable(code)
