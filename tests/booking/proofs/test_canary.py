"""Unusual names, numbers, reasons and tokens go through every flow, and turn up where they must not: nowhere.

One long visit to the clinic, with everything at work and a real SMTP server; then whatever the server has written for
operators, other programs and other servers is searched.
"""

import asyncio
import base64
import io
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import pytest_asyncio

from backplane import logs
from backplane.bus import LocalBus
from backplane.postgres import Database
from booking.application import at_work
from tests.booking.proofs import canaries
from tests.booking.proofs.rows import appointment
from tests.booking.proofs.world import Answered, Person, World, world
from tests.support.smtp import SmtpServer

PATIENCE_S = 30.0


class Recorded(LocalBus):
    """A bus that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[str] = []

    async def publish(self, topic: str, *messages: bytes) -> None:
        self.given += [f"{topic} {message.decode('utf-8', 'replace')}" for message in messages]
        await super().publish(topic, *messages)

    async def append(self, stream: str, entries: Sequence[bytes]) -> None:
        self.given += [f"{stream} {entry.decode('utf-8', 'replace')}" for entry in entries]
        await super().append(stream, entries)

    async def set_until(self, key: str, value: bytes, seconds: float) -> None:
        self.given.append(f"{key} {value.decode('utf-8', 'replace')}")
        await super().set_until(key, value, seconds)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the process logs, as bin/serve --log-level debug writes it."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    before, level, disabled = root.handlers[:], root.level, access.disabled
    stream = io.StringIO()
    logs.configure("debug", stream)
    yield stream
    root.handlers[:], access.disabled = before, disabled
    root.setLevel(level)


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path, smtp_server: SmtpServer, log: io.StringIO) -> AsyncIterator[World]:
    url = f"smtp://127.0.0.1:{smtp_server.port}?security=none"
    async with (
        world(database, tmp_path, smtp_url=url, bus=Recorded()) as served,
        at_work(database, served.bus, served.assembly.parts, served.clock),
    ):
        yield served


async def until(ready: Callable[[], Awaitable[bool]], what: str) -> None:
    """Fails after `PATIENCE_S`."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await ready():  # noqa: ASYNC110 (it happens in the database, which tells nobody)
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"never came: {what}")


class Tale:
    """One patient's way through the clinic, and what was handed out on it."""

    def __init__(self, served: World, smtp: SmtpServer, data: Path) -> None:
        self.world = served
        self.smtp = smtp
        self.data = data
        self.secrets: dict[str, str] = {}
        self.answers: list[str] = []
        self.headers: dict[str, str] = {}
        self.number = 0
        self.visited = ""

    async def ask(
        self, method: str, path: str, body: object = None, status: int | None = None, who: Person | None = None,
        **options: Any,
    ) -> Answered:  # fmt: skip
        """As the patient, unless ``who`` is somebody of the clinic."""
        self.number += 1
        headers = {**options.pop("headers", {}), "Idempotency-Key": f"canary-{self.number:06}"}
        if who is None and not options.pop("stranger", False):
            headers = {**self.headers, **headers}
        if body is not None:
            options["json"] = body
        answer = await self.world.ask(method, path, who, headers=headers, **options)
        assert status is None or answer.status == status, (method, path, answer.status, answer.content)
        self.answers += [answer.content.decode("utf-8", "replace"), f'"{answer.headers.get("Location", "")}"']
        return answer

    async def mailed(self, to: str, count: int = 1) -> EmailMessage:
        async def came() -> bool:
            return self.smtp.recipients.count(to) >= count

        await until(came, f"mail number {count} to {to}")
        return [mail for mail, each in zip(self.smtp.received, self.smtp.recipients) if each == to][-1]

    def keep(self, name: str, secret: str) -> str:
        self.secrets[name] = secret
        return secret

    async def register(self) -> None:
        body = {"email": canaries.EMAIL, "password": canaries.PASSWORD, "name": canaries.NAME}
        ticket = (await self.ask("POST", "/v1/auth/register", body, 202)).body["ticket"]
        code = re.findall(r"\b\d{6}\b", text_of(await self.mailed(canaries.EMAIL)))[0]
        self.keep("code", code)
        signed = (await self.ask("POST", "/v1/auth/otp/verify", {"ticket": ticket, "code": code}, 200)).body
        wrong = {"email": canaries.EMAIL, "password": canaries.PASSWORD + "x"}
        await self.ask("POST", "/v1/auth/login", wrong, 401)
        signed = (await self.ask("POST", "/v1/auth/login", {**wrong, "password": canaries.PASSWORD}, 200)).body
        refresh = self.keep("refresh token", signed["refresh_token"])
        signed = (await self.ask("POST", "/v1/auth/refresh", {"refresh_token": refresh}, 200)).body
        self.keep("second refresh token", signed["refresh_token"])
        self.headers["Authorization"] = f"Bearer {self.keep('access token', signed['access_token'])}"

    async def register_by_phone(self) -> None:
        ticket = (await self.ask("POST", "/v1/auth/otp", {"phone": canaries.PHONE}, 202)).body["ticket"]
        sent = self.data / "sms.jsonl"

        async def came() -> bool:
            return sent.exists() and canaries.PHONE in sent.read_text()

        await until(came, "a text message")
        code = self.keep("phone code", re.findall(r"\b\d{6}\b", sent.read_text())[-1])
        await self.ask("POST", "/v1/auth/otp/verify", {"ticket": ticket, "code": code}, 200)

    async def account(self) -> None:
        await self.ask("PATCH", "/v1/me", {"name": canaries.NAME, "birth_year": 1987}, 200)
        await self.ask("POST", "/v1/me/dependants", {"name": canaries.CHILD, "relation": "child"}, 201)
        await self.ask("POST", "/v1/me/caregivers", {"email": canaries.CARER}, 202)
        invitation = text_of(await self.mailed(canaries.CARER))
        self.keep(
            "invitation",
            invitation.partition("#")[2].split()[0].partition("=")[2] or invitation.partition("#")[2].split()[0],
        )
        await self.ask("POST", "/v1/me/contacts", {"phone": "+923456789013"}, 202)
        admin = self.world.a.people["clinic_admin"]
        await self.ask("POST", "/v1/invites", {"email": canaries.CARER, "role": "staff"}, 201, admin)

    async def search(self) -> None:
        await self.ask("GET", "/v1/providers", params={"q": canaries.SEARCH}, status=200)
        await self.ask("GET", "/v1/providers", params={"q": canaries.NAME, "cursor": canaries.BAD_TOKEN}, status=400)
        await self.ask("GET", f"/v1/providers/{canaries.SEARCH}", status=404)

    async def free(self, count: int) -> list[str]:
        """Starts at least an hour apart, late enough to be moved and cancelled, whatever the hour of the day."""
        ids, start = self.world.a.rows.ids, self.world.clock() + timedelta(hours=3)
        query = {"service": str(ids["service"]), "from": start.isoformat()}
        slots = (await self.ask("GET", f"/v1/providers/{ids['provider']}/slots", params=query, status=200)).body
        return [slot["start"] for slot in slots["slots"][: 4 * count : 4]]

    async def await_visit(self) -> None:
        """A visit in half an hour, made before anything is offered to those who wait: by day it might be that place."""
        a = self.world.a
        patient = (await self.ask("GET", "/v1/me", status=200)).body["id"]
        async with self.world.db.tenant(a.tenant) as connection:
            start = self.world.clock() + timedelta(minutes=30)
            self.visited = str(await appointment(connection, a.rows, patient, start, reason=canaries.REASON))

    async def book(self) -> None:
        service = str(self.world.a.rows.ids["service"])
        first, second, third, moved = await self.free(4)
        held = {"service": service, "start": first, "reason": canaries.REASON}
        hold = (await self.ask("POST", "/v1/holds", held, 201)).body["id"]
        booked = (await self.ask("POST", "/v1/appointments", {"hold": hold, "reason": canaries.REASON}, 201)).body["id"]
        await self.ask("POST", "/v1/appointments", {**held, "start": second}, 201)
        await self.ask("POST", "/v1/appointments", {**held, "start": second}, 409)
        await self.ask("POST", f"/v1/appointments/{booked}/reschedule", {"start": moved}, 200)
        await self.ask("GET", f"/v1/appointments/{booked}", status=200)
        await self.ask("GET", f"/v1/appointments/{booked}.ics", status=200)
        await self.ask("POST", f"/v1/appointments/{booked}/cancel", {}, 200)
        entry = {"service": service, "earliest": third, "latest": moved}
        await self.ask("POST", "/v1/waitlist", entry, 201)
        asked = {"specialty": "general-practice", "language": "en", "reason": canaries.REASON}
        await self.ask("POST", "/v1/instant-requests", asked, 201)
        await self.mailed(
            canaries.EMAIL, 2
        )  # the code and a confirmation; what is outdated when its turn comes is not sent

    async def visit(self) -> None:
        a, number = self.world.a, self.visited
        await self.ask("POST", f"/v1/visits/{number}/check-in", {"device_check": {"camera": True}}, 200)
        await self.ask("POST", f"/v1/visits/{number}/messages", {"body": canaries.MESSAGE})
        doctor = a.people["doctor"]
        await self.ask("POST", f"/v1/visits/{number}/desk-messages", {"body": canaries.MESSAGE}, who=doctor)
        named = {"kind": "family", "name": canaries.NAME}
        link = (await self.ask("POST", f"/v1/appointments/{number}/links", named, 201, doctor)).body["path"]
        token = self.keep("link", link.partition("#")[2])
        await self.ask("GET", link.partition("#")[0])
        gesture = (await self.ask("POST", "/v1/join/look", {"token": token}, 200)).body["gesture"]
        click = {"token": token, "gesture": self.keep("gesture", gesture), "bearer": True}
        page = {"Origin": f"http://{a.host}"}
        seated = (await self.ask("POST", "/v1/join/exchange", click, 200, headers=page)).body
        guest = {"Visit-Pass": self.keep("pass", seated["bearer"])}
        await self.ask("GET", f"/v1/visits/{number}", headers=guest, status=200, stranger=True)
        await self.ask("POST", f"/v1/visits/{number}/admit", {"seat": "patient"}, who=doctor)
        joining = await self.ask("GET", f"/v1/visits/{number}/token")
        if joining.status == 200:
            self.keep("room token", joining.body["token"])
        await self.ask("POST", "/v1/join/look", {"token": canaries.BAD_TOKEN}, 404)

    async def apply(self) -> None:
        about = {"display_name": canaries.DOCTOR, "bio": canaries.BIOGRAPHY}
        provider = (await self.ask("POST", "/v1/providers/applications", about, 201)).body["provider"]
        paper = {"kind": "licence", "country": "PK", "issuer": "PMDC", "number": canaries.LICENCE}
        await self.ask("POST", f"/v1/providers/{provider}/credentials", paper)
        path = f"/v1/providers/{provider}/documents"
        sent = {"Content-Type": "application/pdf"}
        kept = await self.ask("POST", path, params={"kind": "licence"}, data=canaries.PDF, headers=sent, status=201)
        await self.ask("GET", f"/v1/documents/{kept.body['id']}", status=200)

    async def stumble(self) -> None:
        bad = {"Authorization": f"Bearer {canaries.BAD_TOKEN}"}
        await self.ask("GET", "/v1/me", headers=bad, status=401)
        await self.ask("GET", f"/v1/{canaries.SEARCH}/{canaries.EMAIL}", status=404)
        await self.ask("POST", "/v1/auth/login", {canaries.SEARCH: canaries.NAME}, 422)
        await self.ask("POST", "/v1/auth/login", {"email": canaries.NAME, "password": canaries.PASSWORD}, 422)
        await self.ask("POST", "/v1/auth/otp/verify", {"ticket": canaries.NAME, "code": canaries.BAD_TOKEN}, 422)
        await self.ask("PATCH", "/v1/me", data=canaries.REASON.encode(), headers={"Content-Type": "application/json"})
        await self.ask("POST", "/v1/auth/refresh", {"refresh_token": canaries.BAD_TOKEN}, 401)
        await self.ask("POST", "/v1/auth/logout", status=204)

    async def quiet(self) -> None:
        """Everything that was set going has come to its end."""

        async def done() -> bool:
            async with self.world.db.platform() as connection:
                return not await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM outbox WHERE relayed_at IS NULL) OR EXISTS (SELECT FROM job"
                    " WHERE state = 'running' OR (state = 'waiting' AND run_at <= $1))",
                    self.world.clock(),
                )

        await until(done, "quiet")


def text_of(mail: EmailMessage) -> str:
    """The plain text part."""
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


async def table(served: World, query: str) -> str:
    async with served.db.platform() as connection:
        return "\n".join(str(tuple(row.values())) for row in await connection.fetch(query))


async def test_canaries_turn_up_nowhere(
    clinic: World, smtp_server: SmtpServer, log: io.StringIO, tmp_path: Path
) -> None:
    tale = Tale(clinic, smtp_server, tmp_path)
    for step in (
        tale.register, tale.register_by_phone, tale.account, tale.search, tale.await_visit, tale.book, tale.visit,
        tale.apply, tale.stumble, tale.quiet,
    ):  # fmt: skip
        await step()
    mails = smtp_server.received
    written = [f"{text_of(mail)}" for mail in mails]
    bus = clinic.bus
    assert isinstance(bus, Recorded)
    places = {
        "the log": log.getvalue(),
        "/metrics": (await clinic.ask("GET", "/metrics")).content.decode(),
        "a trace": "\n".join(str(span.to_json()) for span in clinic.spans.get_finished_spans()),
        "the bus": "\n".join(bus.given),
        "the outbox": await table(clinic, "SELECT type, aggregate, payload::text, traceparent FROM outbox"),
        "an audit entry": await table(clinic, "SELECT action, subject_kind, facts::text FROM audit_entry"),
        "a job": await table(clinic, "SELECT key, kind, payload::text, last_error FROM job"),
        "a dead letter": await table(clinic, "SELECT event::text, error FROM dead_letter"),
        "the delivery log": await table(clinic, "SELECT kind, dedupe, last_error, message_id FROM mail"),
        "a mail subject": "\n".join(
            f"{mail['Subject']} {mail['Message-ID']} {mail['X-Entity-Ref-ID']}" for mail in mails
        ),
        "an address": canaries.addresses([*written, *tale.answers]),
    }
    # what was looked through is not empty, and the tale really was told
    assert all(places[name] for name in places if name not in ("a dead letter", "the log")), places
    assert len(bus.given) > 10
    assert any("http" in text for text in written)
    assert set(canaries.found({"email": canaries.EMAIL}, {"a recipient": str(smtp_server.recipients)}))
    wrong = list(canaries.found({**canaries.SAID, **tale.secrets}, places))
    assert not wrong, "\n".join(wrong)
    failed = [line for line in log.getvalue().splitlines() if msgspec.json.decode(line)["level"] == "error"]
    assert failed == []


@pytest.mark.parametrize("name", sorted(canaries.SAID))
def test_a_canary_is_found_however_it_is_written(name: str) -> None:
    canary = canaries.SAID[name]
    for before in ("", "x", "xy"):
        coded = base64.b64encode(f"{before}{canary}, and more".encode()).decode()
        for text in (f"<{before}{canary}>", quote(f"{before}{canary}", safe=""), coded, canary.upper()):
            assert list(canaries.found({name: canary}, {"here": text})) == [f"{name} in here"], text


def test_of_an_address_the_fragment_is_not_sent() -> None:
    seen = canaries.addresses(["see http://a.localhost/j/a#secret and", '{"path": "/j/a?x=1#secret"}'])
    assert "secret" not in seen
    assert "/j/a?x=1" in seen
