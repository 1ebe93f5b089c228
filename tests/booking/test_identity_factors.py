"""Second factors: authenticator apps, recovery codes, passkeys, and roles that need one."""

import asyncio
import re
from typing import Any

import pyotp
import pytest

from tests.booking.test_identity_people import booked, patient_of
from tests.support.authenticator import PRESENT, Authenticator
from tests.support.identity import PASSWORD, Answered, House

AMINA = "amina@example.com"


async def enrolled(served: House, email: str = AMINA) -> tuple[pyotp.TOTP, list[str]]:
    """The authenticator of somebody who has just enrolled, and their recovery codes."""
    token = (await served.sign_in(email))["access_token"]
    begun = await served.ask("POST", "/v1/auth/mfa/totp", token=token)
    assert begun.status == 201, begun.body
    assert begun.body["uri"].startswith("otpauth://totp/Clinic%20A:")
    app = pyotp.TOTP(begun.body["secret"])
    body = {"code": app.at(served.clock())}
    ended = await served.ask("POST", "/v1/auth/mfa/totp/confirm", body, token=token)
    assert ended.status == 200, ended.body
    served.clock.turn(seconds=60)
    return app, ended.body["recovery_codes"]


async def ticket(served: House) -> str:
    asked = await served.ask("POST", "/v1/auth/otp/verify", await served.code(AMINA))
    assert asked.body["state"] == "second_factor", asked.body
    assert asked.body["access_token"] is None
    assert asked.body["refresh_token"] is None
    return str(asked.body["ticket"])


async def enter(served: House, ticket: str, code: str) -> Answered:
    return await served.ask("POST", "/v1/auth/mfa/verify", {"ticket": ticket, "code": code})


async def test_a_sign_in_asks_for_the_code_of_the_app(served: House) -> None:
    app, _ = await enrolled(served)
    answer = await enter(served, await ticket(served), app.at(served.clock()))
    assert answer.status == 200
    assert answer.body["amr"] == ["email", "otp", "mfa"]


@pytest.mark.parametrize("seconds, status", [(-60, 400), (-30, 200), (0, 200), (30, 200), (60, 400)])
async def test_one_step_of_clock_error_is_forgiven(served: House, seconds: int, status: int) -> None:
    app, _ = await enrolled(served)
    served.clock.turn(minutes=5)
    code = app.at(int(served.clock().timestamp()) + seconds)
    assert (await enter(served, await ticket(served), code)).status == status


async def test_a_code_of_the_app_counts_once(served: House) -> None:
    app, _ = await enrolled(served)
    code = app.at(served.clock())
    first, second = await ticket(served), await ticket(served)
    answers = await asyncio.gather(*(enter(served, each, code) for each in (first, second)))
    assert sorted(answer.status for answer in answers) == [200, 400]
    older = app.at(int(served.clock().timestamp()) - 30)
    assert (await enter(served, second, older)).status == 400


async def test_codes_of_the_app_cannot_be_tried_out(served: House) -> None:
    app, _ = await enrolled(served)
    asked = await ticket(served)
    right = app.at(served.clock())
    wrong = f"{(int(right) + 1) % 10**6:06}"
    answers = await asyncio.gather(*(enter(served, asked, wrong) for _ in range(7)))
    assert sorted(answer.status for answer in answers) == [400] * 5 + [429] * 2
    assert (await enter(served, asked, right)).status == 429
    served.clock.turn(minutes=5)
    assert (await enter(served, await ticket(served), app.at(served.clock()))).status == 200


async def test_a_recovery_code_opens_once(served: House) -> None:
    _, codes = await enrolled(served)
    assert len(set(codes)) == 10
    asked = await ticket(served)
    assert (await enter(served, asked, codes[3].upper())).status == 200
    assert (await enter(served, asked, codes[3])).status == 400
    assert (await enter(served, asked, codes[4].replace("-", " "))).status == 200


async def test_a_ticket_of_a_sign_in_is_no_access_token_and_ends_soon(served: House) -> None:
    app, _ = await enrolled(served)
    asked = await ticket(served)
    assert (await served.ask("GET", "/v1/me", token=asked)).code == "bad_token"
    served.clock.turn(minutes=5)
    assert (await enter(served, asked, app.at(served.clock()))).code == "token_expired"


async def test_a_second_authenticator_needs_the_first_removed(served: House) -> None:
    app, _ = await enrolled(served)
    signed_in = await enter(served, await ticket(served), app.at(served.clock()))
    token = signed_in.body["access_token"]
    assert (await served.ask("POST", "/v1/auth/mfa/totp", token=token)).code == "already_enrolled"
    served.clock.turn(seconds=60)
    body = {"code": app.at(served.clock())}
    assert (await served.ask("POST", "/v1/auth/mfa/totp/remove", body, token=token)).status == 204
    assert (await served.ask("POST", "/v1/auth/mfa/totp", token=token)).status == 201


async def test_enrolling_needs_a_fresh_sign_in(served: House) -> None:
    signed_in = await served.sign_in(AMINA)
    served.clock.turn(minutes=16)
    later = await served.refresh(signed_in)
    assert (await served.ask("POST", "/v1/auth/mfa/totp", token=later["access_token"])).code == "sign_in_again"


async def test_a_role_that_needs_a_second_factor_counts_only_with_one(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    policy = {"second_factor": ["doctor", "clinic_admin"]}
    changed = await served.ask("PATCH", "/v1/clinic", {"policy": policy}, token=admin["access_token"])
    assert changed.status == 200
    admin = await served.refresh(admin)
    token = admin["access_token"]
    assert admin["second_factor_due"] is True
    assert (await served.ask("GET", "/v1/memberships", token=token)).code == "mfa_required"
    assert (await served.ask("GET", "/v1/me", token=token)).status == 200
    begun = await served.ask("POST", "/v1/auth/mfa/totp", token=token)
    body = {"code": pyotp.TOTP(begun.body["secret"]).at(served.clock())}
    ended = await served.ask("POST", "/v1/auth/mfa/totp/confirm", body, token=token)
    assert (await served.ask("GET", "/v1/memberships", token=ended.body["access_token"])).status == 200
    again = await served.refresh(admin)
    assert again["second_factor_due"] is False
    patient = await served.sign_in(AMINA)
    assert patient["second_factor_due"] is False


async def test_a_platform_admin_always_needs_one(served: House) -> None:
    admin = await served.with_role("root@example.com", "platform_admin", host="localhost")
    answer = await served.ask("GET", "/v1/tenants", token=admin["access_token"], host="localhost")
    assert answer.code == "mfa_required"


class Passkeys:
    """Ceremonies of one passkey."""

    def __init__(self, served: House, **knobs: Any) -> None:
        self.served = served
        self.host = f"a.localhost:{served.client.port}"
        self.device = Authenticator("a.localhost", f"http://{self.host}", **knobs)

    async def enrol(self, **knobs: Any) -> Answered:
        token = (await self.served.sign_in(AMINA))["access_token"]
        begun = await self.ask("register/start", None, token)
        made = self.device.make(begun.body["options"], **knobs)
        return await self.ask("register/finish", {"id": begun.body["id"], "credential": made}, token)

    async def begin(self) -> dict[str, Any]:
        body = (await self.ask("login/start")).body
        assert isinstance(body, dict)
        return body

    async def end(self, begun: dict[str, Any], **knobs: Any) -> Answered:
        signed = self.device.sign(begun["options"], **knobs)
        return await self.ask("login/finish", {"id": begun["id"], "credential": signed})

    async def ask(self, path: str, body: object = None, token: str | None = None) -> Answered:
        return await self.served.ask("POST", f"/v1/auth/passkeys/{path}", body, token=token, host=self.host)


async def test_a_passkey_signs_in_and_is_two_factors(served: House) -> None:
    passkeys = Passkeys(served)
    assert (await passkeys.enrol()).status == 201
    answer = await passkeys.end(await passkeys.begin())
    assert answer.status == 200, answer.body
    assert "mfa" in answer.body["amr"]
    me = await served.ask("GET", "/v1/me", token=answer.body["access_token"])
    assert [each["value"] for each in me.body["contacts"]] == [AMINA]


async def test_a_visitor_who_signs_in_by_passkey_or_by_both_factors_brings_their_visits_along(served: House) -> None:
    passkeys = Passkeys(served)
    assert (await passkeys.enrol()).status == 201
    app, _ = await enrolled(served)
    known = (await passkeys.end(await passkeys.begin())).body["person"]

    async def passkey(token: str) -> Answered:
        begun = await passkeys.begin()
        signed = {"id": begun["id"], "credential": passkeys.device.sign(begun["options"])}
        return await passkeys.ask("login/finish", signed, token)

    async def both_factors(token: str) -> Answered:
        begun = await ticket(served)
        served.clock.turn(seconds=30)
        body = {"ticket": begun, "code": app.at(served.clock())}
        return await served.ask("POST", "/v1/auth/mfa/verify", body, token=token)

    for way in (passkey, both_factors):
        guest = (await served.ask("POST", "/v1/auth/anonymous")).body
        appointment = await booked(served, guest["person"])
        answer = await way(guest["access_token"])
        assert (answer.status, answer.body["person"]) == (200, known), answer.body
        assert await patient_of(served, appointment) == [known] * 2


async def test_a_visitors_visits_move_only_when_the_second_factor_was_given(served: House) -> None:
    app, _ = await enrolled(served)
    guest = (await served.ask("POST", "/v1/auth/anonymous")).body
    appointment = await booked(served, guest["person"])
    asked = await served.ask("POST", "/v1/auth/upgrade", await served.code(AMINA), token=guest["access_token"])
    assert asked.body["state"] == "second_factor", asked.body
    assert await patient_of(served, appointment) == [guest["person"]] * 2
    assert (await served.ask("GET", "/v1/me", token=guest["access_token"])).status == 200
    body = {"ticket": asked.body["ticket"], "code": app.at(served.clock())}
    answer = await served.ask("POST", "/v1/auth/mfa/verify", body, token=guest["access_token"])
    assert await patient_of(served, appointment) == [answer.body["person"]] * 2


async def test_an_answer_of_a_passkey_counts_once(served: House) -> None:
    passkeys = Passkeys(served, counting=False)
    await passkeys.enrol()
    begun = await passkeys.begin()
    signed = {"id": begun["id"], "credential": passkeys.device.sign(begun["options"])}
    answers = await asyncio.gather(*(passkeys.ask("login/finish", signed) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400]
    other = await passkeys.begin()
    assert (await passkeys.ask("login/finish", {**signed, "id": other["id"]})).code == "bad_passkey"


async def test_a_passkey_must_verify_its_user(served: House) -> None:
    passkeys = Passkeys(served)
    assert (await passkeys.enrol(flags=PRESENT)).code == "bad_passkey"
    assert (await passkeys.enrol()).status == 201
    assert (await passkeys.end(await passkeys.begin(), flags=PRESENT)).code == "bad_passkey"


async def test_a_passkey_of_another_site_or_a_copy_is_refused(served: House) -> None:
    passkeys = Passkeys(served)
    await passkeys.enrol()
    passkeys.device.origin = "https://evil.example"
    assert (await passkeys.end(await passkeys.begin())).code == "bad_passkey"
    passkeys.device.origin = f"http://{passkeys.host}"
    passkeys.device.rp_id = "b.localhost"
    assert (await passkeys.end(await passkeys.begin())).code == "bad_passkey"
    passkeys.device.rp_id = "a.localhost"
    assert (await passkeys.end(await passkeys.begin())).status == 200
    passkeys.device.counter = 0  # a copy that counts from the beginning
    assert (await passkeys.end(await passkeys.begin())).code == "bad_passkey"


async def test_a_strange_passkey_and_rubbish_are_refused_alike(served: House) -> None:
    passkeys = Passkeys(served)
    assert (await passkeys.end(await passkeys.begin())).code == "bad_passkey"
    for credential in ({}, {"rawId": "x"}, {"rawId": "%%%", "response": []}, {"rawId": None, "id": 3}):
        begun = await passkeys.begin()
        answer = await passkeys.ask("login/finish", {"id": begun["id"], "credential": credential})
        assert answer.code == "bad_passkey"


async def test_a_ceremony_ends_after_five_minutes(served: House) -> None:
    passkeys = Passkeys(served)
    await passkeys.enrol()
    begun = await passkeys.begin()
    served.clock.turn(minutes=5)
    assert (await passkeys.end(begun)).code == "bad_passkey"


async def test_secrets_of_factors_are_not_in_the_database_in_the_clear(served: House) -> None:
    app, codes = await enrolled(served)
    body = {"email": "omar@example.com", "password": PASSWORD}
    await served.ask("POST", "/v1/auth/register", body)
    async with served.db.platform() as connection:
        tables = ("totp", "recovery_code", "code", "refresh_token", "session", "job", "outbox", "audit_entry")
        dump = "".join(
            [str(await connection.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t")) for table in tables]
        )
    assert app.secret not in dump
    assert PASSWORD not in dump
    assert not re.search(rf"\b{served.post.last('omar@example.com')}\b", dump)
    assert not any(code.replace("-", "") in dump for code in codes)
