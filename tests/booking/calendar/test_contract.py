"""Schemathesis against the calendar's routes: whatever it sends, the answer is one that is described."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

import tests.support.formats  # noqa: F401 - registers itself
from booking.calendar.module import ROUTES
from tests.support.calendar import World


@pytest.mark.slow
async def test_what_the_calendar_answers_is_what_is_described(world: World) -> None:
    hours = {"rules": [{"opens": "09:00", "closes": "11:00"}]}
    schedule = await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", hours, 201)
    known = {
        "provider": str(world.doctor),
        "schedule": schedule["id"],
        "service": str(world.service),
    }
    schema = await asyncio.to_thread(
        schemathesis.openapi.from_url, str(world.client.make_url("/openapi.json")), headers={"X-Clinic": "1"}
    )
    tried: set[str] = set()

    def run() -> None:
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            @given(operation.as_strategy())
            def attempt(case: schemathesis.Case) -> None:
                tried.add(case.operation.label)
                for part in (case.path_parameters, case.query):
                    for name in known.keys() & (part or {}).keys():
                        part[name] = known[name]
                headers = {
                    "Authorization": f"Bearer {world.doctor_person} doctor,staff",
                    "X-Clinic": str(world.tenant.id),
                }
                case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])  # zones, rules

            attempt()

    await asyncio.to_thread(run)
    assert len(tried) == sum(len(group.all) for group in ROUTES)
