"""The matrix of rights against every endpoint: who is let in, who is not, and who need not be asked.

The server decides before it reads anything else, so a request that is wrong in every other way shows the decision and
changes nothing.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from booking.appointments.module import ROUTES as APPOINTMENT_ROUTES
from booking.links.link import Seat
from booking.links.passes import Pass
from booking.rights import ALL_NAMES, ANONYMOUS, GUEST_LINK, rights_of
from booking.visits.module import ROUTES as VISIT_ROUTES
from tests.booking.proofs.samples import Operation, Sampler, operations
from tests.booking.proofs.world import CLINIC_ROLES, PLATFORM_ROLES, ROLES, STRANGER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Anybody may ask, without saying who they are.
PUBLIC = {
    "GET /.well-known/jwks.json",
    "GET /v1/auth/oidc",
    "GET /v1/auth/oidc/{name}/callback",
    "GET /v1/auth/oidc/{name}/start",
    "GET /v1/classes",
    "GET /v1/feeds/{file}",  # the name is the secret
    "GET /v1/locations",
    "GET /v1/places",
    "GET /v1/providers",
    "GET /v1/providers/{provider}/slots",
    "GET /v1/providers/{reference}",
    "GET /v1/specialties",
    "GET /v1/tenant",
    "POST /v1/auth/anonymous",
    "POST /v1/auth/login",
    "POST /v1/auth/otp",
    "POST /v1/auth/otp/verify",
    "POST /v1/auth/passkeys/login/finish",
    "POST /v1/auth/passkeys/login/start",
    "POST /v1/auth/refresh",
    "POST /v1/auth/register",
    "POST /v1/invites/look",
    "POST /v1/join/exchange",
    "POST /v1/join/look",
}
# Handlers that look at the right themselves, because one of several will do: those, and everybody else gets 404.
_PROVIDER = ("provider.apply", "provider.manage.own", "provider.manage.clinic")
INSIDE: dict[str, tuple[str, ...]] = {
    "DELETE /v1/appointments/{appointment}/links/{invite}": (),  # 403 not_your_visit for others of the clinic
    "GET /v1/appointments/{appointment}/links": (),
    "POST /v1/appointments/{appointment}/links": (),
    "DELETE /v1/documents/{document}": _PROVIDER,
    "DELETE /v1/providers/{provider}/online": _PROVIDER,
    "DELETE /v1/services/{service}": _PROVIDER,
    "GET /v1/documents/{document}": _PROVIDER,
    "GET /v1/providers/applications/mine": _PROVIDER,
    "GET /v1/providers/{provider}/profile": _PROVIDER,
    "GET /v1/providers/{provider}/services": _PROVIDER,
    "PATCH /v1/providers/{provider}": _PROVIDER,
    "PATCH /v1/services/{service}": _PROVIDER,
    "POST /v1/auth/mfa/verify": (),  # whoever lacks the second factor yet, and so every right
    "POST /v1/providers/applications/mine/submit": _PROVIDER,
    "POST /v1/providers/{provider}/credentials": _PROVIDER,
    "POST /v1/providers/{provider}/documents": _PROVIDER,
    "POST /v1/providers/{provider}/services": _PROVIDER,
    "PUT /v1/providers/{provider}/online": _PROVIDER,
}


def held(role: str) -> frozenset[str]:
    """What somebody of ``role`` may do: staff are patients of their clinic too."""
    return rights_of((role,) if role == "anonymous" else ("patient", role))


def harmless(operation: Operation, appointment: UUID | None = None) -> dict[str, Any]:
    """A path of ids that nobody has (but ``appointment``), and a body that is none."""
    path = operation.path
    for parameter in operation.said.get("parameters", ()):
        if parameter["in"] == "path":
            value = "1" if parameter["schema"].get("type") == "integer" else str(uuid4())
            if parameter["name"] == "appointment" and appointment is not None:
                value = str(appointment)
            path = path.replace("{" + parameter["name"] + "}", value)
    return {"path": path, **({"json": []} if "requestBody" in operation.said else {})}


async def test_every_route_names_a_right_of_the_matrix_or_is_told_of_here(served_world: World) -> None:
    wanted = {operation.name: operation.right for operation in operations(await served_world.document())}
    assert {right for right in wanted.values() if right is not None} <= ALL_NAMES
    free = {name for name, right in wanted.items() if right is None}
    assert free - PUBLIC - INSIDE.keys() == set()


async def test_what_visitors_without_an_account_can_take_is_bounded_by_their_address(served_world: World) -> None:
    """Each of them may begin anew as somebody else, so what bounds one person bounds none of them."""
    theirs = rights_of([ANONYMOUS])
    makes = [route for route in served_world.routes if route.status == 201 and route.right in theirs]
    unbounded = {f"{route.method} {route.path}" for route in makes if route.visitors is None}
    assert unbounded == {"POST /v1/visits/{appointment}/messages"}, "in an appointment of one's own, which was bounded"
    assert len(makes) > 5


async def test_sockets_are_told_of_in_the_document(served_world: World) -> None:
    sockets = {route.path for route in served_world.routes if route.socket}
    assert sockets <= {"/v1/visits/live"}  # opened with a ticket that a route with a right has given


@pytest.mark.parametrize("role", [STRANGER, *ROLES])
async def test_a_role_is_let_in_where_the_matrix_says_so_and_nowhere_else(role: str, served_world: World) -> None:
    who = None if role == STRANGER else served_world.person(role)
    rights = frozenset[str]() if who is None else held(role)
    wrong = []
    for operation in operations(await served_world.document()):
        if operation.right is None:
            continue
        asked = harmless(operation)
        answer = await served_world.ask(operation.method, who=who, fresh=operation.method != "GET", **asked)
        seen = (answer.status, answer.code)
        if who is None:
            right = seen == (401, "unauthorized")
        elif operation.right not in rights:
            right = seen == (403, "forbidden")
        else:
            right = answer.status != 401 and seen != (403, "forbidden") and answer.status < 500
        if not right:
            wrong.append(f"{operation.name} ({operation.right}) answers {role} {seen}")
    assert not wrong, "\n".join(wrong)


async def test_the_guest_of_a_link_is_let_in_at_their_visit_only(served_world: World) -> None:
    """With the pass of a patient's link, on every path of that visit and on the same paths of another one."""
    a = served_world.a
    visit, patient = a.rows.ids["appointment"], a.people["patient"].id
    until = served_world.clock() + timedelta(hours=1)
    given = Pass(a.tenant, visit, Seat.PATIENT, patient, 1, uuid4(), until)
    headers = {"Visit-Pass": served_world.assembly.joining.passes.sign(given)}
    rights = rights_of((GUEST_LINK,))
    tried, wrong = 0, []
    for operation in operations(await served_world.document()):
        if operation.right is None:
            continue
        for here in (True, False):
            asked = harmless(operation, visit if here else None)
            answer = await served_world.ask(operation.method, headers=headers, **asked)
            seen = (answer.status, answer.code)
            if not here or "{appointment}" not in operation.path or operation.right not in rights:
                right = seen == (401, "unauthorized")
            else:
                tried += 1
                right = answer.status != 401 and seen != (403, "forbidden") and answer.status < 500
            if not right:
                wrong.append(f"{operation.name} ({operation.right}) answers a guest {seen}, own visit: {here}")
    assert not wrong, "\n".join(wrong)
    assert tried > 5


async def test_guests_are_let_in_where_they_have_the_right() -> None:
    """Every route that lets guests in asks for a right of theirs, or asks the visit itself (links to it)."""
    rights = rights_of((GUEST_LINK,))
    groups = (*APPOINTMENT_ROUTES, *VISIT_ROUTES)
    declared = {(route.path, route.right) for group in groups for route in group.all if route.guests == "appointment"}
    assert {right for _, right in declared} - rights == {None}
    assert all("/links" in path for path, right in declared if right is None)
    assert len(declared) > 10


async def test_people_are_asked_in_to_a_visit_by_those_of_the_visit_and_the_clinic(served_world: World) -> None:
    """The patient and the doctor of the visit, the guest of its link, and who holds the right for the whole clinic."""
    a = served_world.a
    visit = a.rows.ids["appointment"]
    links = f"/v1/appointments/{visit}/links"
    body = {"kind": "family", "name": "Sister"}
    until = served_world.clock() + timedelta(hours=1)
    given = Pass(a.tenant, visit, Seat.PATIENT, a.people["patient"].id, 1, uuid4(), until)
    passes = {"Visit-Pass": served_world.assembly.joining.passes.sign(given)}
    answered: dict[str, int] = {}
    for role in (*CLINIC_ROLES, GUEST_LINK, STRANGER):
        who = served_world.person(role) if role in CLINIC_ROLES else None
        headers = passes if role == GUEST_LINK else {}
        made = await served_world.ask("POST", links, who, json=body, headers=headers)
        answered[role] = made.status
        if made.status == 201:
            gone = await served_world.ask("DELETE", f"{links}/{made.body['invite']}", who, headers=headers)
            assert gone.status == 204, role
    may = {"patient", "doctor", GUEST_LINK} | {role for role in CLINIC_ROLES if "link.create.clinic" in held(role)}
    assert may == {"patient", "doctor", "staff", "clinic_admin", GUEST_LINK}
    expected = {role: 201 if role in may else 401 if role == STRANGER else 403 for role in answered}
    assert answered == expected


async def test_strangers_are_let_in_where_it_is_public_and_asked_who_they_are_where_it_is_not(
    served_world: World,
) -> None:
    document = await served_world.document()
    sampler = Sampler(document, served_world.a.rows.ids)
    wrong = []
    for operation in operations(document):
        if operation.right is None:
            sample = sampler.sample(operation)
            answer = await served_world.ask(operation.method, sample.path, **sample.options)
            asked_who = (answer.status, answer.code) == (401, "unauthorized")
            if asked_who != (operation.name in INSIDE) or answer.status >= 500:
                wrong.append(f"{operation.name} answers a stranger {answer.status} {answer.code}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("role", ROLES)
async def test_what_a_handler_decides_itself_does_not_exist_for_others(role: str, served_world: World) -> None:
    document = await served_world.document()
    sampler = Sampler(document, served_world.a.rows.ids)
    who = served_world.person(role)
    own = {"doctor"}  # the rows of clinic A are theirs
    wrong = []
    for operation in operations(document):
        rights = INSIDE.get(operation.name, ())
        if not rights or role in own or not held(role).isdisjoint({right for right in rights if "clinic" in right}):
            continue
        sample = sampler.sample(operation)
        answer = await served_world.ask(operation.method, sample.path, who, **sample.options)
        if answer.status != 404:
            wrong.append(f"{operation.name} answers {role} {answer.status} {answer.code}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("role", [*CLINIC_ROLES, *PLATFORM_ROLES])
async def test_a_token_is_worth_nothing_at_another_clinic(role: str, served_world: World) -> None:
    who = served_world.person(role)
    for host in {"a.localhost", "b.localhost", "localhost"} - {who.host}:
        answer = await served_world.ask("GET", "/v1/me", who, host=host)
        assert (answer.status, answer.code) == (401, "bad_token"), host
        answer = await served_world.ask("GET", "/v1/providers", who, host=host)
        assert (answer.status, answer.code) == (401, "bad_token"), host
