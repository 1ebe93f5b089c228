"""Visitors who become known, invitations, roles, people who care for others, contacts."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from backplane.ids import uuid7
from booking.identity.dependants import acted_for, may_act_for
from booking.identity.people import BELONGINGS
from tests.support.identity import PASSWORD, Answered, House

AMINA, OMAR = "amina@example.com", "omar@example.com"


async def visitor(served: House) -> dict[str, Any]:
    answer = await served.ask("POST", "/v1/auth/anonymous")
    assert answer.status == 201
    return dict(answer.body)


async def booked(served: House, person: str) -> UUID:
    """An appointment of ``person``."""
    clinic, now, made = await served.clinic(), served.clock(), uuid7(served.clock())
    async with served.db.tenant(clinic.id) as connection, connection.transaction():
        doctor, service = uuid7(now), uuid7(now)
        await connection.execute("INSERT INTO person (id, created_at) VALUES ($1, $2)", doctor, now)
        row = await connection.fetchrow(
            "INSERT INTO provider (id, person_id, slug, display_name, timezone, created_at)"
            " VALUES ($1, $1, $2, 'Dr', 'Asia/Karachi', $3) RETURNING no",
            doctor,
            str(doctor),
            now,
        )
        assert row is not None
        await connection.execute(
            "INSERT INTO service (id, provider_id, name, kind, minutes, created_at)"
            " VALUES ($1, $2, 'Visit', 'video', 15, $3)",
            service,
            doctor,
            now,
        )
        await connection.execute(
            "INSERT INTO appointment (id, provider_id, provider_no, service_id, patient_id, booked_by, kind, status,"
            " during, occupied, provider_timezone, local_text, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5,"
            " 'video', 'confirmed', tstzrange($6, $7), tstzrange($6, $7), 'Asia/Karachi', '', $6, $6)",
            made,
            doctor,
            row["no"],
            service,
            UUID(person),
            now,
            now + timedelta(minutes=15),
        )
    return made


async def patient_of(served: House, appointment: UUID) -> list[str]:
    async with served.db.platform() as connection:
        row = await connection.fetchrow("SELECT patient_id, booked_by FROM appointment WHERE id = $1", appointment)
    assert row is not None
    return [str(each) for each in row.values()]


async def upgrade(served: House, token: str, email: str = AMINA) -> Answered:
    return await served.ask("POST", "/v1/auth/upgrade", await served.code(email), token=token)


async def test_a_visitor_becomes_known_and_keeps_everything(served: House) -> None:
    guest = await visitor(served)
    assert guest["roles"] == ["anonymous"]
    named = await served.ask("PATCH", "/v1/me", {"name": "Amina"}, token=guest["access_token"])
    assert named.body["anonymous"] is True
    appointment = await booked(served, guest["person"])
    known = await upgrade(served, guest["access_token"])
    assert known.status == 200, known.body
    assert known.body["person"] == guest["person"]
    assert known.body["roles"] == ["patient"]
    assert await patient_of(served, appointment) == [guest["person"]] * 2
    assert (await served.ask("GET", "/v1/me", token=guest["access_token"])).code == "session_ended"
    assert (await served.sign_in(AMINA))["person"] == guest["person"]


async def test_a_visitor_who_is_known_already_brings_their_visits_along(served: House) -> None:
    known = await served.sign_in(AMINA)
    guest = await visitor(served)
    appointment = await booked(served, guest["person"])
    answer = await upgrade(served, guest["access_token"])
    assert answer.body["person"] == known["person"]
    assert await patient_of(served, appointment) == [known["person"]] * 2
    async with served.db.platform() as connection:
        merged = await connection.fetchval("SELECT merged_into FROM person WHERE id = $1", UUID(guest["person"]))
        events = await connection.fetch("SELECT payload FROM outbox WHERE type = 'user.upgraded'")
        audited = await connection.fetchval("SELECT count(*) FROM audit_entry WHERE action = 'person.merged'")
    assert str(merged) == known["person"]
    assert [event["payload"] for event in events] == [{"person": known["person"]}]
    assert audited == 1
    body = {"refresh_token": guest["refresh_token"]}
    assert (await served.ask("POST", "/v1/auth/refresh", body)).status == 401


async def test_a_visitor_who_signs_in_by_password_brings_their_visits_along(served: House) -> None:
    registered = await served.ask("POST", "/v1/auth/register", {"email": AMINA, "password": PASSWORD})
    code = {"ticket": registered.body["ticket"], "code": served.post.last(AMINA)}
    known = (await served.ask("POST", "/v1/auth/otp/verify", code)).body
    guest = await visitor(served)
    appointment = await booked(served, guest["person"])
    wrong = {"email": AMINA, "password": "not " + PASSWORD}
    assert (await served.ask("POST", "/v1/auth/login", wrong, token=guest["access_token"])).status == 401
    assert await patient_of(served, appointment) == [guest["person"]] * 2
    right = {"email": AMINA, "password": PASSWORD}
    answer = await served.ask("POST", "/v1/auth/login", right, token=guest["access_token"])
    assert answer.body["person"] == known["person"]
    assert await patient_of(served, appointment) == [known["person"]] * 2
    assert (await served.ask("GET", "/v1/me", token=guest["access_token"])).code == "session_ended"
    assert (await served.ask("POST", "/v1/auth/login", right, token=guest["access_token"])).status == 200


async def test_a_visitor_who_signs_in_by_a_code_brings_their_visits_along(served: House) -> None:
    guest = await visitor(served)
    appointment = await booked(served, guest["person"])
    answer = await served.ask("POST", "/v1/auth/otp/verify", await served.code(AMINA), token=guest["access_token"])
    assert answer.status == 200, answer.body
    assert await patient_of(served, appointment) == [answer.body["person"]] * 2


async def test_signing_in_takes_over_nothing_of_an_account_or_of_another_clinic(served: House) -> None:
    omar, elsewhere = (
        await served.sign_in(OMAR),
        (await served.ask("POST", "/v1/auth/anonymous", host="b.localhost")).body,
    )
    appointment = await booked(served, omar["person"])
    for token in (omar["access_token"], elsewhere["access_token"]):
        answer = await served.ask("POST", "/v1/auth/otp/verify", await served.code(AMINA), token=token)
        assert answer.status == 200, answer.body
    assert await patient_of(served, appointment) == [omar["person"]] * 2
    assert (await served.ask("GET", "/v1/me", token=omar["access_token"])).status == 200
    async with served.db.platform() as connection:
        assert await connection.fetchval("SELECT count(*) FROM person WHERE merged_into IS NOT NULL") == 0


async def test_only_a_visitor_upgrades_and_only_with_the_right_code(served: House) -> None:
    guest, patient = await visitor(served), await served.sign_in(OMAR)
    assert (await upgrade(served, patient["access_token"])).code == "not_anonymous"
    code = await served.code(AMINA)
    wrong = {**code, "code": f"{(int(code['code']) + 1) % 10**6:06}"}
    assert (await served.ask("POST", "/v1/auth/upgrade", wrong, token=guest["access_token"])).code == "wrong_code"
    assert (await served.ask("POST", "/v1/auth/upgrade", code)).status == 401


async def test_two_upgrades_at_once_end_in_one_account(served: House) -> None:
    guest = await visitor(served)
    codes = [await served.code(AMINA), await served.code(OMAR)]
    answers = await asyncio.gather(
        *(served.ask("POST", "/v1/auth/upgrade", code, token=guest["access_token"]) for code in codes)
    )
    assert sorted(answer.status for answer in answers)[0] == 200
    assert {answer.status for answer in answers} <= {200, 401, 409}
    async with served.db.platform() as connection:
        count = await connection.fetchval("SELECT count(*) FROM identity WHERE person_id = $1", UUID(guest["person"]))
    assert count == 1


async def test_a_place_that_the_known_person_has_already_stays_behind(served: House) -> None:
    known, guest = await served.sign_in(AMINA), await visitor(served)
    now, clinic = served.clock(), await served.clinic()
    async with served.db.tenant(clinic.id) as connection:
        for person, state in ((known, "ringing"), (known, "unanswered"), (guest, "ringing"), (guest, "cancelled")):
            await connection.execute(
                "INSERT INTO instant_request (id, patient_id, specialty, language, state, ring_until, created_at)"
                " VALUES ($1, $2, 'gp', 'en', $3, $4, $4)",
                uuid7(now),
                UUID(person["person"]),
                state,
                now,
            )
    assert (await upgrade(served, guest["access_token"])).status == 200
    async with served.db.platform() as connection:
        rows = await connection.fetch("SELECT patient_id, state FROM instant_request ORDER BY patient_id, state")
    of_known = sorted(row["state"] for row in rows if str(row["patient_id"]) == known["person"])
    assert of_known == ["cancelled", "ringing", "unanswered"]
    assert [row["state"] for row in rows if str(row["patient_id"]) == guest["person"]] == ["ringing"]


# What stays with the visitor, and why.
STAYS = {
    "audit_entry", "identity", "password", "code", "session", "totp", "recovery_code", "passkey", "passkey_challenge",
    "membership", "dependant", "invite",  # proofs and relations, of which a visitor has none
    "person",  # merged_into itself
    "provider", "document", "join_invite", "queue_swap", "feed",  # for which a visitor has no right
}  # fmt: skip


async def test_no_column_that_points_to_a_person_is_forgotten_in_a_merge(served: House) -> None:
    async with served.db.platform() as connection:
        rows = await connection.fetch(
            "SELECT c.conrelid::regclass::text AS relation, a.attname::text AS name FROM pg_constraint c"
            " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
            " WHERE c.contype = 'f' AND c.confrelid = 'person'::regclass"
        )
    pointing = {(row["relation"], row["name"]) for row in rows if row["relation"] not in STAYS}
    assert pointing | {("waiting_message", "sender")} == set(BELONGINGS)


async def invited(served: House, admin: dict[str, Any], email: str, role: str) -> str:
    """The token in the mailed link."""
    answer = await served.ask("POST", "/v1/invites", {"email": email, "role": role}, token=admin["access_token"])
    assert answer.status == 201, answer.body
    link = served.post.last(email)
    assert link.startswith("http://a.localhost/invite#")
    return link.partition("#")[2]


async def accepted(served: House, token: str, invite: str, host: str = "a.localhost") -> Answered:
    return await served.ask("POST", "/v1/invites/accept", {"token": invite}, token=token, host=host)


async def test_an_invitation_gives_one_role_in_one_clinic(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    invite = await invited(served, admin, OMAR, "staff")
    omar = await served.sign_in(OMAR)
    assert (await served.ask("GET", "/v1/memberships", token=omar["access_token"])).code == "forbidden"
    assert (await accepted(served, omar["access_token"], invite)).body == {"role": "staff"}
    assert (await accepted(served, omar["access_token"], invite)).body == {"role": "staff"}  # the answer was lost
    served.clock.turn(seconds=1)
    omar = await served.refresh(omar)
    assert omar["roles"] == ["patient", "staff"]
    listed = await served.ask("GET", "/v1/memberships", token=omar["access_token"])
    assert {each["role"] for each in listed.body} == {"clinic_admin", "staff"}
    assert (await served.ask("GET", "/v1/invites", token=omar["access_token"])).code == "forbidden"
    elsewhere = await served.sign_in(OMAR, host="b.localhost")
    assert (await accepted(served, elsewhere["access_token"], invite, "b.localhost")).code == "bad_invite"


async def test_an_invitation_is_for_the_address_it_was_sent_to(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    invite = await invited(served, admin, OMAR, "staff")
    amina = await served.sign_in(AMINA)
    assert (await accepted(served, amina["access_token"], invite)).code == "wrong_account"
    guest = await visitor(served)
    assert (await accepted(served, guest["access_token"], invite)).code == "forbidden"
    assert (await accepted(served, amina["access_token"], invite[:-3] + "abc")).code == "bad_invite"
    assert (await accepted(served, amina["access_token"], amina["access_token"])).code == "bad_invite"


async def looked_at(served: House, invite: str, host: str = "a.localhost") -> Answered:
    return await served.ask("POST", "/v1/invites/look", {"token": invite}, host=host)


async def test_looking_at_an_invitation_says_what_it_is_to_and_spends_nothing(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    invite = await invited(served, admin, OMAR, "doctor")
    for _ in range(2):
        seen = (await looked_at(served, invite)).body
        assert {**seen, "expires_at": ""} == {
            "state": "open", "clinic": "Clinic A", "email": OMAR, "role": "doctor", "expires_at": ""
        }  # fmt: skip
    assert (await looked_at(served, invite, "b.localhost")).code == "bad_invite"
    assert (await looked_at(served, invite[:-3] + "abc")).code == "bad_invite"
    assert (await looked_at(served, admin["access_token"])).code == "bad_invite"
    omar = await served.sign_in(OMAR)
    assert (await accepted(served, omar["access_token"], invite)).body == {"role": "doctor"}
    assert (await looked_at(served, invite)).body["state"] == "over"
    withdrawn = await invited(served, admin, AMINA, "staff")
    listed = await served.ask("GET", "/v1/invites", token=admin["access_token"])
    await served.ask("DELETE", f"/v1/invites/{listed.body[0]['id']}", token=admin["access_token"])
    assert (await looked_at(served, withdrawn)).body["state"] == "over"
    served.clock.turn(hours=72)
    assert (await looked_at(served, withdrawn)).code == "bad_invite"


async def test_an_invitation_ends_after_72_hours_or_when_it_is_withdrawn(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    invite = await invited(served, admin, OMAR, "staff")
    listed = await served.ask("GET", "/v1/invites", token=admin["access_token"])
    path = f"/v1/invites/{listed.body[0]['id']}"
    assert (await served.ask("DELETE", path, token=admin["access_token"])).status == 204
    omar = await served.sign_in(OMAR)
    assert (await accepted(served, omar["access_token"], invite)).code == "invite_over"
    invite = await invited(served, admin, OMAR, "staff")
    served.clock.turn(hours=72)
    omar = await served.refresh(omar)
    assert (await accepted(served, omar["access_token"], invite)).code == "bad_invite"


async def test_nobody_grants_more_than_they_may(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    for role in ("platform_admin", "finance", "support"):
        body = {"email": OMAR, "role": role}
        assert (await served.ask("POST", "/v1/invites", body, token=admin["access_token"])).code == "may_not_grant"
    for role in ("patient", "anonymous", "guest_link", "root"):
        body = {"email": OMAR, "role": role}
        assert (await served.ask("POST", "/v1/invites", body, token=admin["access_token"])).status == 422
    staff = await served.with_role("staff@example.com", "staff")
    body = {"email": OMAR, "role": "staff"}
    assert (await served.ask("POST", "/v1/invites", body, token=staff["access_token"])).code == "forbidden"


async def test_a_role_that_ends_stops_counting_at_once_and_the_last_admin_stays(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    other = await served.with_role(OMAR, "clinic_admin")
    listed = (await served.ask("GET", "/v1/memberships", token=admin["access_token"])).body
    of = {each["person"]: f"/v1/memberships/{each['id']}" for each in listed}
    served.clock.turn(seconds=1)
    assert (await served.ask("DELETE", of[other["person"]], token=admin["access_token"])).status == 204
    assert (await served.ask("GET", "/v1/memberships", token=other["access_token"])).code == "session_ended"
    served.clock.turn(seconds=1)
    other = await served.refresh(other)
    assert other["roles"] == ["patient"]
    assert (await served.ask("DELETE", of[admin["person"]], token=admin["access_token"])).code == "last_admin"


async def test_two_admins_who_remove_each_other_leave_one(served: House) -> None:
    first = await served.with_role("boss@example.com", "clinic_admin")
    second = await served.with_role(OMAR, "clinic_admin")
    listed = (await served.ask("GET", "/v1/memberships", token=first["access_token"])).body
    of = {each["person"]: f"/v1/memberships/{each['id']}" for each in listed}
    served.clock.turn(seconds=1)
    await asyncio.gather(
        served.ask("DELETE", of[second["person"]], token=first["access_token"]),
        served.ask("DELETE", of[first["person"]], token=second["access_token"]),
    )
    async with served.db.platform() as connection:
        left = await connection.fetchval("SELECT count(*) FROM membership WHERE ended_at IS NULL")
    assert left == 1


async def test_a_parent_acts_for_a_child_until_it_is_grown(served: House) -> None:
    parent, stranger = await served.sign_in(AMINA), await served.sign_in(OMAR)
    body = {"name": "Zain", "relation": "child", "birth_year": 2015}
    made = await served.ask("POST", "/v1/me/dependants", body, token=parent["access_token"])
    assert made.status == 201, made.body
    assert made.body["until"] == "2034-01-01"
    child, guardian, other = UUID(made.body["person"]), UUID(parent["person"]), UUID(stranger["person"])
    now = served.clock()
    clinic = await served.clinic()
    async with served.db.tenant(clinic.id) as connection:
        assert await may_act_for(connection, guardian, child, "book", now)
        assert not await may_act_for(connection, child, guardian, "book", now)
        assert not await may_act_for(connection, other, child, "book", now)
        assert not await may_act_for(connection, guardian, child, "book", now.replace(year=2034, month=1, day=1))
        assert await acted_for(connection, guardian, "read", now) == [guardian, child]
    path = f"/v1/me/dependants/{made.body['id']}"
    assert (await served.ask("DELETE", path, token=stranger["access_token"])).status == 404
    assert (await served.ask("DELETE", path, token=parent["access_token"])).status == 204
    async with served.db.tenant(clinic.id) as connection:
        assert not await may_act_for(connection, guardian, child, "book", now)


async def test_an_adult_names_a_caregiver_who_may_do_what_was_said_and_no_more(served: House) -> None:
    mother, son = await served.sign_in(AMINA), await served.sign_in(OMAR)
    body = {"email": OMAR, "relation": "parent", "rights": ["book"]}
    asked = await served.ask("POST", "/v1/me/caregivers", body, token=mother["access_token"])
    assert asked.status == 202
    invite = served.post.last(OMAR).partition("#")[2]
    assert (await accepted(served, mother["access_token"], invite)).code == "wrong_account"
    assert (await accepted(served, son["access_token"], invite)).body == {"role": None}
    clinic = await served.clinic()
    async with served.db.tenant(clinic.id) as connection:
        actor, patient = UUID(son["person"]), UUID(mother["person"])
        assert await may_act_for(connection, actor, patient, "book", served.clock())
        assert not await may_act_for(connection, actor, patient, "read", served.clock())
    listed = await served.ask("GET", "/v1/me/caregivers", token=mother["access_token"])
    assert [each["person"] for each in listed.body] == [son["person"]]
    path = f"/v1/me/dependants/{listed.body[0]['id']}"
    assert (await served.ask("DELETE", path, token=mother["access_token"])).status == 204


async def test_contacts_are_added_by_proof_and_the_last_one_stays(served: House) -> None:
    amina, omar = await served.sign_in(AMINA), await served.sign_in(OMAR)
    token = amina["access_token"]
    asked = await served.ask("POST", "/v1/me/contacts", {"email": "second@example.com"}, token=token)
    body = {"ticket": asked.body["ticket"], "code": served.post.last("second@example.com")}
    stolen = await served.ask("POST", "/v1/me/contacts/verify", body, token=omar["access_token"])
    assert stolen.code == "wrong_code"
    assert (await served.ask("POST", "/v1/auth/otp/verify", body)).code == "wrong_code"
    me = await served.ask("POST", "/v1/me/contacts/verify", body, token=token)
    assert [each["value"] for each in me.body["contacts"]] == [AMINA, "second@example.com"]
    assert (await served.sign_in("second@example.com"))["person"] == amina["person"]
    asked = await served.ask("POST", "/v1/me/contacts", {"email": OMAR}, token=token)
    body = {"ticket": asked.body["ticket"], "code": served.post.last(OMAR)}
    assert (await served.ask("POST", "/v1/me/contacts/verify", body, token=token)).code == "contact_taken"
    first, second = (f"/v1/me/contacts/{each['id']}" for each in me.body["contacts"])
    assert (await served.ask("DELETE", first, token=omar["access_token"])).status == 404
    assert (await served.ask("DELETE", first, token=token)).status == 204
    assert (await served.ask("DELETE", second, token=token)).code == "last_contact"
