"""Guessing is slow for everybody, and nobody is locked out by it; clocks that leap."""

from collections.abc import AsyncIterator
from typing import Any

import pyotp
import pytest
import pytest_asyncio

from backplane.postgres import Database
from booking.identity.devices import COOKIE, LOOPBACK_COOKIE, MAX_PEOPLE
from booking.identity.service import Paces
from booking.identity.throttle import CODE, FACTOR, LOGIN, Pace, Throttle
from booking.identity.totp import MAX_TRIES
from tests.booking.test_identity_factors import enrolled, ticket
from tests.booking.test_identity_sign_in import AMINA, register
from tests.support.identity import PASSWORD, Answered, House, house

OWN = {"Origin": "http://a.localhost"}
# The rule with small numbers: every password that is tried costs a hash.
FEW = Throttle(device=Pace(3, 1 / 60), pair=Pace(3, 1 / 900), account=Pace(9, 1 / 900))


@pytest_asyncio.fixture
async def served(database: Database) -> AsyncIterator[House]:
    async with house(database, paces=Paces(login=FEW, factor=FEW, code=FEW)) as running:
        yield running


@pytest.mark.parametrize("rule", [LOGIN, FACTOR, CODE])
def test_one_address_cannot_use_up_what_an_account_has(rule: Throttle) -> None:
    assert rule.pair.per_s <= rule.account.per_s
    assert rule.account.burst >= 3 * rule.pair.burst


def test_the_figures_of_the_rule_hold() -> None:
    assert (LOGIN.account.burst, LOGIN.account.per_s * 86_400) == (100, 96)
    assert (CODE.account.burst, CODE.account.per_s * 86_400) == (15, 144)
    assert MAX_TRIES == 100


WRONG = "wrong wrong"


def at(address: int) -> dict[str, str]:
    return {"X-Forwarded-For": f"198.51.{address // 250}.{address % 250 + 1}"}


async def log_in(served: House, password: str = PASSWORD, address: int = 0, cookie: str = "") -> Answered:
    headers = {**OWN, **at(address), **({"Cookie": cookie} if cookie else {})}
    body = {"email": AMINA, "password": password, "keep": "cookie"}
    return await served.ask("POST", "/v1/auth/login", body, headers=headers)


async def device(served: House, address: int = 0) -> str:
    """The cookie of a browser in which Amina has signed in."""
    answer = await log_in(served, address=address)
    assert answer.status == 200, answer.body
    return f"{LOOPBACK_COOKIE}={answer.cookies[LOOPBACK_COOKIE].value}"


async def test_wrong_passwords_from_one_address_lock_out_nobody_elsewhere(served: House) -> None:
    await register(served)
    assert [(await log_in(served, WRONG, 1)).status for _ in range(4)] == [401] * 3 + [429]
    assert (await log_in(served, address=1)).status == 429
    assert (await log_in(served, address=2)).status == 200


async def test_a_known_browser_gets_in_whatever_strangers_do(served: House) -> None:
    await register(served)
    known = await device(served)
    statuses = [(await log_in(served, WRONG, 1 + number // 3)).status for number in range(12)]
    assert statuses.count(401) == 8  # one of the nine was the sign-in above
    assert (await log_in(served, address=90)).status == 429
    assert (await log_in(served, address=90, cookie=known)).status == 200
    assert (await served.ask("POST", "/v1/auth/otp", {"email": AMINA})).status == 202  # and strangers by a code


async def test_a_known_browser_is_slowed_down_by_itself(served: House) -> None:
    await register(served)
    known = await device(served)
    tries = [(await log_in(served, WRONG, number, known)).status for number in range(5)]
    assert tries == [401] * 3 + [429] * 2
    assert (await log_in(served, address=50)).status == 200


async def test_a_browser_is_known_for_its_own_people_clinic_and_time_only(served: House) -> None:
    await register(served)
    known = await device(served)
    name, _, value = known.partition("=")
    browser, entry = value.split(".")
    forged = [f"{name}={browser}.{entry[:-1]}{'A' if entry[-1] != 'A' else 'B'}", f"{name}={'A' * 22}.{entry}", "x"]
    for number in range(10):
        await log_in(served, WRONG, number)
    for cookie in forged:
        assert (await log_in(served, address=90, cookie=cookie)).status == 429
    assert (await log_in(served, address=90, cookie=known)).status == 200
    served.clock.turn(days=401)
    for number in range(10):
        await log_in(served, WRONG, number)
    assert (await log_in(served, address=90, cookie=known)).status == 429


async def test_the_cookie_names_no_more_people_than_it_may(served: House) -> None:
    cookie = ""
    for number in range(MAX_PEOPLE + 2):
        email = f"p{number}@example.com"
        code = await served.code(email)
        headers = {**OWN, **at(number), **({"Cookie": cookie} if cookie else {})}
        answer = await served.ask("POST", "/v1/auth/otp/verify", {**code, "keep": "cookie"}, headers=headers)
        cookie = f"{LOOPBACK_COOKIE}={answer.cookies[LOOPBACK_COOKIE].value}"
    assert cookie.count(".") == MAX_PEOPLE
    assert COOKIE not in cookie


async def test_codes_can_be_had_while_somebody_asks_for_them_elsewhere(served: House) -> None:
    await register(served)
    known = await device(served)

    async def ask(address: int, cookie: str = "") -> int:
        headers = {**OWN, **at(address), **({"Cookie": cookie} if cookie else {})}
        return (await served.ask("POST", "/v1/auth/otp", {"email": AMINA}, headers=headers)).status

    assert [await ask(1) for _ in range(4)] == [202] * 3 + [429]
    assert await ask(2) == 202
    assert [await ask(number) for number in range(3, 20)].count(202) == 9 - 4 - 1  # one more went to the registration
    assert await ask(90) == 429
    assert await ask(90, known) == 202


async def second_factor(served: House, asked: str, code: str, address: int, cookie: str = "") -> Answered:
    headers = {**OWN, **at(address), **({"Cookie": cookie} if cookie else {})}
    body = {"ticket": asked, "code": code, "keep": "cookie"}
    return await served.ask("POST", "/v1/auth/mfa/verify", body, headers=headers)


async def test_wrong_codes_of_an_app_lock_out_neither_a_known_browser_nor_a_recovery_code(served: House) -> None:
    app, recovery = await enrolled(served)
    asked = await ticket(served)
    first = await second_factor(served, asked, app.at(served.clock()), 0)
    known = f"{LOOPBACK_COOKIE}={first.cookies[LOOPBACK_COOKIE].value}"
    served.clock.turn(seconds=60)
    wrong = wrong_code(app, served)
    statuses = [(await second_factor(served, asked, wrong, number)).status for number in range(1, 12)]
    assert statuses == [400] * 8 + [429] * 3
    assert (await second_factor(served, asked, recovery[0], 90)).status == 200
    assert (await second_factor(served, asked, app.at(served.clock()), 90)).status == 429
    assert (await second_factor(served, asked, app.at(served.clock()), 90, known)).status == 200


def wrong_code(app: pyotp.TOTP, served: House) -> str:
    steps = [int(app.at(int(served.clock().timestamp()) + offset)) for offset in (-30, 0, 30)]
    return next(f"{number:06}" for number in range(1000) if number not in steps)


@pytest.mark.parametrize("letter", ["\N{KELVIN SIGN}", "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}"])
async def test_a_code_of_an_app_cannot_pass_for_a_recovery_code_which_nobody_counts(served: House, letter: str) -> None:
    """In lower case these begin with a letter of ASCII, and they are none."""
    app, recovery = await enrolled(served)
    asked = await ticket(served)
    served.clock.turn(seconds=60)
    digits = "".join(chr(ord("\N{ARABIC-INDIC DIGIT ZERO}") + int(digit)) for digit in app.at(served.clock()))
    assert (await second_factor(served, asked, digits + letter * len(recovery[0].replace("-", "")), 1)).status == 400
    assert (await second_factor(served, asked, digits, 1)).status == 200


async def test_strangers_have_a_hundred_codes_a_day_whatever_the_bus_forgets(served: House) -> None:
    app, _ = await enrolled(served)
    async with served.db.platform() as connection:
        await connection.execute("UPDATE totp SET tries = 100, tries_since = $1", served.clock())
    asked = await ticket(served)
    refused = await second_factor(served, asked, app.at(served.clock()), 1)
    assert refused.status == 429
    assert 86_000 < int(refused.headers["Retry-After"]) <= 86_400


async def test_a_clock_that_is_set_back_makes_nobody_wait_longer(served: House) -> None:
    app, _ = await enrolled(served)
    async with served.db.platform() as connection:
        await connection.execute("UPDATE totp SET tries = 100, tries_since = $1", served.clock())
    served.clock.turn(days=-30)
    asked = await ticket(served)
    refused = await second_factor(served, asked, app.at(served.clock()), 1)
    assert int(refused.headers["Retry-After"]) <= 86_400
    served.clock.turn(days=1)
    assert (await second_factor(served, await ticket(served), app.at(served.clock()), 1)).status == 200


@pytest.mark.parametrize("days", [400, -400])
async def test_a_visitor_signs_in_after_the_clock_has_leapt(served: House, days: int) -> None:
    served.clock.turn(days=days)
    answer: Any = await served.ask("POST", "/v1/auth/anonymous")
    assert answer.status == 201, answer.body
    assert (await served.ask("GET", "/v1/me", token=answer.body["access_token"])).status == 200
