"""Joining as the server puts it together: its routes described, its names distinct, its passes understood."""

from pathlib import Path

from backplane.openapi import document
from backplane.postgres import Database
from booking.instant.instant_requests import JOB, Ringing
from booking.rights import ALL_NAMES
from booking.visits.call_events import SETTLE_JOB, START_JOB, CallEvents
from booking.visits.module import ROUTES, consumers, jobs
from booking.waiting_room.admittance import REOPENED_JOB
from booking.waiting_room.tickets import GRACE_JOB
from tests.booking.join_world import make_clinic


def test_every_route_is_described_and_asks_for_a_right_that_exists() -> None:
    routes = [route for group in ROUTES for route in group.all]
    paths = document(routes)["paths"]
    assert {route.path for route in routes} <= set(paths)
    assert {route.right for route in routes if route.right is not None} <= ALL_NAMES
    public = {route.path for route in routes if route.right is None}
    assert public == {
        "/v1/join/look",
        "/v1/join/exchange",
        "/v1/visits/live",
        "/v1/appointments/{appointment}/links",
        "/v1/appointments/{appointment}/links/{invite}",
    }


async def test_the_part_names_its_jobs_and_events(database: Database, tmp_path: Path) -> None:
    clinic = await make_clinic(database, tmp_path)
    events = CallEvents(database, clinic.bus, clinic.joining.names, clinic.joining.lifecycle)
    later = jobs(clinic.joining, events, Ringing(clinic.bus), clinic.bus)
    assert set(later) == {GRACE_JOB, REOPENED_JOB, START_JOB, SETTLE_JOB, JOB}
    (consumer,) = consumers(clinic.joining, clinic.bus)
    assert consumer.name == "visits"
    assert {"appointment.cancelled", "appointment.rescheduled"} <= set(consumer.handlers)
