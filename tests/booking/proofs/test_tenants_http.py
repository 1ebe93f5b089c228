"""Nothing crosses from one clinic to another over HTTP: B's ids in A's requests are ids that nobody has.

"Not found" is not enough: an answer must not tell an id of another clinic from one that was just made up, whatever the
status. So every request is sent twice, with B's ids and with new ones, by everybody of A, and the answers are compared.
"""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from booking.identity.refresh import open_session
from booking.links.link import Seat
from booking.links.passes import Pass
from booking.rights import rights_of
from tests.booking.proofs.rows import TABLES
from tests.booking.proofs.samples import Operation, Sampler, operations
from tests.booking.proofs.world import CLINIC_ROLES, STRANGER, Answered, Clinic, Person, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

UUID_TEXT = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def for_clinics(operation: Operation) -> bool:
    """Whether anybody of a clinic may ask; reviewers and operators belong to the platform."""
    return operation.right is None or any(operation.right in rights_of((role,)) for role in CLINIC_ROLES)


# An offer that is gone and one that never was are the same to the doctor who comes too late: 409.
GONE = {"POST /v1/instant-requests/{request}/accept", "POST /v1/instant-requests/{request}/decline"}


def ids_of(clinic: Clinic) -> dict[str, Any]:
    return {**clinic.rows.ids, "tenant": clinic.tenant}


def role_of(world: World, role: str) -> Person | None:
    return None if role == STRANGER else world.a.people[role]


async def rows_of(world: World, tenant: int) -> dict[str, str]:
    """A checksum of every table's rows of that tenant."""
    async with world.db.platform() as connection:
        tables = [row["relname"] for row in await connection.fetch(TABLES)]
        sums = {
            table: await connection.fetchval(
                f"SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {table} t WHERE tenant_id = $1", tenant
            )
            for table in tables
        }
        sums["tenant"] = await connection.fetchval("SELECT md5(t::text) FROM tenant t WHERE id = $1", tenant)
    return sums


async def uuids_of(world: World, tenant: int) -> set[bytes]:
    """Every UUID that stands in any row of that tenant."""
    async with world.db.platform() as connection:
        found: set[bytes] = set()
        for row in await connection.fetch(TABLES):
            text = await connection.fetchval(
                f"SELECT string_agg(t::text, ' ') FROM {row['relname']} t WHERE tenant_id = $1", tenant
            )
            found |= set(UUID_TEXT.findall((text or "").encode()))
    return found


def verdict(answer: Answered) -> tuple[int, str]:
    return answer.status, answer.code


async def ask(world: World, sampler: Sampler, operation: Operation, role: str) -> Answered:
    sample = sampler.sample(operation)
    return await world.ask(operation.method, sample.path, role_of(world, role), **sample.options)


async def test_ids_of_another_clinic_are_ids_that_nobody_has(served_world: World) -> None:
    world, document = served_world, await served_world.document()
    theirs, nobodys = Sampler(document, ids_of(world.b)), Sampler(document, {})
    theirs_before, secrets = await rows_of(world, world.b.tenant), await uuids_of(world, world.b.tenant)
    wrong = []
    for operation in operations(document):
        sample = theirs.sample(operation)
        if not sample.in_path and not sample.in_body:
            continue
        seen = set()
        for role in (STRANGER, *CLINIC_ROLES):
            theirs_answer = await ask(world, theirs, operation, role)
            nobodys_answer = await ask(world, nobodys, operation, role)
            seen.add(theirs_answer.status)
            if verdict(theirs_answer) != verdict(nobodys_answer) or theirs_answer.status >= 500:
                wrong.append(
                    f"{operation.name} tells {role} {verdict(theirs_answer)} of another clinic's"
                    f" {sample.in_path + sample.in_body}, {verdict(nobodys_answer)} of nobody's"
                )
            if secrets & set(UUID_TEXT.findall(theirs_answer.content)):
                wrong.append(f"{operation.name} tells {role} an id of the other clinic")
        if sample.in_path and for_clinics(operation) and operation.name not in GONE and 404 not in seen:
            wrong.append(f"{operation.name} answers nobody 404 but {seen}: the request of samples.py is not taken")
    assert not wrong, "\n".join(wrong)
    after = await rows_of(world, world.b.tenant)
    assert [table for table, rows in after.items() if rows != theirs_before[table]] == []


@pytest.mark.parametrize("role", [STRANGER, *CLINIC_ROLES])
async def test_nothing_that_a_clinic_reads_holds_an_id_of_another(role: str, served_world: World) -> None:
    world, document = served_world, await served_world.document()
    own, theirs = Sampler(document, ids_of(world.a)), await uuids_of(world, world.b.tenant)
    assert len(theirs) > 30
    found = []
    for operation in operations(document):
        if operation.method == "GET":
            answer = await ask(world, own, operation, role)
            if theirs & set(UUID_TEXT.findall(answer.content)):
                found.append(operation.name)
    assert not found, "\n".join(found)


async def test_every_path_finds_ones_own(served_world: World) -> None:
    """The counterpart: with A's own ids somebody of A gets another answer than for nobody's. Changes clinic A."""
    world, document = served_world, await served_world.document()
    own, nobodys = Sampler(document, ids_of(world.a)), Sampler(document, {})
    last = {"GET": 0, "PUT": 1, "PATCH": 1, "POST": 2, "DELETE": 3}
    blind = []
    for operation in sorted(operations(document), key=lambda each: (last[each.method], -len(each.path))):
        if not own.sample(operation).in_path or not for_clinics(operation) or operation.name in GONE:
            continue
        answers = {}
        for role in (STRANGER, *CLINIC_ROLES):
            answers[role] = verdict(await ask(world, own, operation, role))
            if answers[role] != verdict(await ask(world, nobodys, operation, role)):
                break
        else:
            blind.append(f"{operation.name} answers {answers} with the clinic's own ids")
    assert not blind, "\n".join(blind)


async def test_what_one_holds_of_a_clinic_opens_nothing_at_another(served_world: World) -> None:
    world, b = served_world, served_world.b
    patient, visit = b.people["patient"], b.rows.ids["appointment"]
    async with world.db.tenant(b.tenant) as connection, connection.transaction():
        opened = await open_session(connection, patient.id, ("otp",), "proof", world.clock())
    until = world.clock() + timedelta(hours=1)
    held = world.assembly.joining.passes.sign(Pass(b.tenant, visit, Seat.PATIENT, patient.id, 1, uuid4(), until))
    for host, refreshed, seen in ((world.a.host, 401, 401), (b.host, 200, 200)):
        token = {"refresh_token": opened.refresh}
        answer = await world.ask("POST", "/v1/auth/refresh", host=host, json=token)
        assert answer.status == refreshed, host
        answer = await world.ask("GET", f"/v1/visits/{visit}", host=host, headers={"Visit-Pass": held})
        assert answer.status == seen, host
