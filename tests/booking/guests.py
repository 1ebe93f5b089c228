"""Patients who come by their links, and what a doctor presses, for the tests of the waiting room."""

from typing import Any
from uuid import UUID

from tests.booking.join_world import Browser, Clinic, Screen

DOCTOR = "doctor"


class Guest:
    """A patient who comes by the link."""

    def __init__(self, browser: Browser, appointment: UUID, pass_: str) -> None:
        self.browser = browser
        self.appointment = appointment
        self.pass_ = pass_
        self.path = f"/v1/visits/{appointment}"

    async def ask(self, method: str, path: str = "", body: object = None, status: int = 200) -> dict[str, Any]:
        return await self.browser.ask(method, self.path + path, body, pass_=self.pass_, status=status)

    async def check_in(self, status: int = 200) -> dict[str, Any]:
        return await self.ask("POST", "/check-in", {"device_check": {"camera": True}}, status)

    async def watch(self, screen: Screen, after: int = 0) -> dict[str, Any]:
        return await screen.watch(f"{self.path}/live", pass_=self.pass_, after=after)


async def guest(clinic: Clinic, browser: Browser, appointment: UUID | None = None, **about: Any) -> Guest:
    appointment = appointment or await clinic.appointment(**about)
    return Guest(browser, appointment, await browser.sit_down(await clinic.link(appointment)))


async def doctor(clinic: Clinic, browser: Browser, path: str, body: object = None, status: int = 204) -> dict[str, Any]:
    return await browser.ask("POST", path, body, by=(clinic.doctor, DOCTOR), status=status)


async def queue(clinic: Clinic, browser: Browser) -> list[dict[str, Any]]:
    view = await browser.ask("GET", "/v1/queue", by=(clinic.doctor, DOCTOR))
    return list(view["entries"])
