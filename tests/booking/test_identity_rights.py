"""Roles against every endpoint of identity: strangers get 401, those without the right 403, the others get further."""

from uuid import UUID

import pytest

from backplane.postgres import Database
from booking.identity.founding import settle
from booking.identity.routes import ROUTES
from booking.rights import ALL_NAMES, ROLES, rights_of
from tests.support.identity import PASSWORD, START, House

GUARDED = [route for group in ROUTES for route in group.all if route.right is not None]
NOBODY = "00000000-0000-7000-8000-000000000000"


def test_every_right_that_is_asked_for_exists() -> None:
    assert {route.right for route in GUARDED} <= ALL_NAMES


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_a_role_gets_as_far_as_its_rights(served: House, role: str) -> None:
    signed_in = await served.sign_in("amina@example.com")
    person, session = UUID(signed_in["person"]), UUID(signed_in["session"])
    held, wrong = rights_of([role]), []
    for route in GUARDED:
        path = route.path.replace("{id}", "7" if "tenants" in route.path else NOBODY).replace("{name}", "idp")
        # Ends the session when it is let through; the next one needs another.
        token = served.identity.access.issue(person, 1000, [role], session, ["pwd", "mfa"], served.clock())
        answer = await served.ask(route.method, path, {}, token=token)
        let_through = answer.status != 401 and answer.code != "forbidden"
        on_the_platform_only = route.path.startswith("/v1/tenants") and route.method == "POST"
        if let_through != (route.right in held) and not on_the_platform_only:
            wrong.append((route.method, route.path, answer.status, answer.code))
        if (await served.ask(route.method, path, {})).code != "unauthorized":
            wrong.append((route.method, route.path, "stranger"))
        if "/logout" in route.path:
            signed_in = await served.sign_in("amina@example.com")
            session = UUID(signed_in["session"])
            served.clock.turn(minutes=11)
    assert wrong == []


async def test_somebody_is_settled_once_and_signs_in(served: House) -> None:
    clinic = await served.clinic()
    hashed = await served.identity.passwords.hash(PASSWORD)
    async with served.db.tenant(clinic.id) as connection, connection.transaction():
        people = [
            await settle(connection, "Dr@example.com", START, name="Dr", roles=["doctor"], password_hash=hashed)
            for _ in range(2)
        ]
    assert people[0] == people[1]
    answer = await served.ask("POST", "/v1/auth/login", {"email": "dr@example.com", "password": PASSWORD})
    assert answer.body["roles"] == ["patient", "doctor"]


async def test_nobody_is_settled_in_a_role_that_is_not_given(database: Database) -> None:
    async with database.tenant(1) as connection:
        with pytest.raises(ValueError, match="no such roles"):
            await settle(connection, "a@example.com", START, roles=["patient", "root"])
