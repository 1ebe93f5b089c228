"""Ways in and out: codes, passwords, what answers give away, refresh tokens, logout."""

import asyncio
from uuid import uuid4

import pytest

from tests.support.identity import PASSWORD, House

AMINA = "amina@example.com"


async def register(served: House, email: str = AMINA, password: str = PASSWORD) -> dict[str, object]:
    asked = await served.ask("POST", "/v1/auth/register", {"email": email, "password": password, "name": "Amina"})
    assert asked.status == 202, asked.body
    body = {"ticket": asked.body["ticket"], "code": served.post.last(email)}
    answer = await served.ask("POST", "/v1/auth/otp/verify", body)
    assert answer.status == 200, answer.body
    return dict(answer.body)


async def test_a_person_registers_and_logs_in_by_password(served: House) -> None:
    first = await register(served)
    again = await served.ask("POST", "/v1/auth/login", {"email": " Amina@EXAMPLE.com", "password": PASSWORD})
    assert again.status == 200
    assert again.body["person"] == first["person"]
    assert again.body["roles"] == ["patient"]
    me = await served.ask("GET", "/v1/me", token=again.body["access_token"])
    assert me.body["name"] == "Amina"
    assert [each["value"] for each in me.body["contacts"]] == [AMINA]


async def test_a_phone_number_signs_in_by_code(served: House) -> None:
    asked = await served.ask("POST", "/v1/auth/otp", {"phone": "0300 1234567"})
    body = {"ticket": asked.body["ticket"], "code": served.post.last("+923001234567")}
    answer = await served.ask("POST", "/v1/auth/otp/verify", body)
    assert answer.status == 200
    assert answer.body["amr"] == ["sms"]


async def test_a_code_counts_once(served: House) -> None:
    code = await served.code(AMINA)
    answers = await asyncio.gather(*(served.ask("POST", "/v1/auth/otp/verify", code) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400]


async def test_two_first_sign_ins_at_once_make_one_account(served: House) -> None:
    codes = [await served.code(AMINA) for _ in range(4)]
    answers = await asyncio.gather(*(served.ask("POST", "/v1/auth/otp/verify", code) for code in codes))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["person"] for answer in answers}) == 1
    async with served.db.platform() as connection:
        assert await connection.fetchval("SELECT count(*) FROM person") == 1
        assert await connection.fetchval("SELECT count(*) FROM outbox WHERE type = 'user.registered'") == 1


async def test_a_code_in_arabic_digits_is_the_same_code(served: House) -> None:
    code = await served.code(AMINA)
    code["code"] = "".join("٠١٢٣٤٥٦٧٨٩"[int(digit)] for digit in code["code"])
    assert (await served.ask("POST", "/v1/auth/otp/verify", code)).status == 200


async def test_a_code_ends_after_ten_minutes(served: House) -> None:
    code = await served.code(AMINA)
    served.clock.turn(minutes=10)
    assert (await served.ask("POST", "/v1/auth/otp/verify", code)).code == "wrong_code"


async def test_five_wrong_tries_end_a_code_even_all_at_once(served: House) -> None:
    code = await served.code(AMINA)
    wrong = {**code, "code": f"{(int(code['code']) + 1) % 10**6:06}"}
    answers = await asyncio.gather(*(served.ask("POST", "/v1/auth/otp/verify", wrong) for _ in range(8)))
    assert {answer.status for answer in answers} == {400}
    assert (await served.ask("POST", "/v1/auth/otp/verify", code)).code == "wrong_code"


async def test_codes_for_one_contact_are_few(served: House) -> None:
    statuses = [(await served.ask("POST", "/v1/auth/otp", {"email": AMINA})).status for _ in range(6)]
    assert statuses == [202] * 5 + [429]
    served.clock.turn(minutes=11)
    assert (await served.ask("POST", "/v1/auth/otp", {"email": AMINA})).status == 202


async def test_answers_do_not_tell_whether_an_account_exists(served: House) -> None:
    await register(served)

    def shape(body: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in body.items() if name != "ticket"}

    for path, extra in (("/v1/auth/otp", {}), ("/v1/auth/register", {"password": PASSWORD})):
        known = await served.ask("POST", path, {"email": AMINA, **extra})
        strange = await served.ask("POST", path, {"email": "nobody@example.com", **extra})
        assert (known.status, shape(known.body)) == (strange.status, shape(strange.body))
    known = await served.ask("POST", "/v1/auth/login", {"email": AMINA, "password": "wrong wrong"})
    strange = await served.ask("POST", "/v1/auth/login", {"email": "nobody@example.com", "password": "wrong wrong"})
    assert (known.status, known.body) == (strange.status, strange.body) == (401, strange.body)


async def test_registering_again_does_not_change_the_password(served: House) -> None:
    first = await register(served)
    again = await register(served, password="another long one")
    assert again["person"] == first["person"]
    assert (await served.ask("POST", "/v1/auth/login", {"email": AMINA, "password": "another long one"})).status == 401
    assert (await served.ask("POST", "/v1/auth/login", {"email": AMINA, "password": PASSWORD})).status == 200


@pytest.mark.parametrize("password", ["short", "password123", "aaaaaaaaaaaa", "my amina password"])
async def test_a_weak_password_is_refused(served: House, password: str) -> None:
    answer = await served.ask("POST", "/v1/auth/register", {"email": AMINA, "password": password})
    assert answer.code == "weak_password"


async def test_guessing_passwords_of_one_account_is_slowed_down(served: House) -> None:
    tries = [served.ask("POST", "/v1/auth/login", {"email": AMINA, "password": "wrong wrong"}) for _ in range(12)]
    statuses = sorted(answer.status for answer in await asyncio.gather(*tries))
    assert statuses == [401] * 10 + [429] * 2


async def test_an_account_of_one_clinic_is_nobody_in_another(served: House) -> None:
    first = await register(served)
    other = await served.ask("POST", "/v1/auth/login", {"email": AMINA, "password": PASSWORD}, host="b.localhost")
    assert other.status == 401
    assert (await served.sign_in(AMINA, host="b.localhost"))["person"] != first["person"]


async def test_a_refresh_token_is_replaced_by_every_use(served: House) -> None:
    tokens = [await served.sign_in(AMINA)]
    for _ in range(3):
        served.clock.turn(minutes=9)
        tokens.append(await served.refresh(tokens[-1]))
    assert len({each["refresh_token"] for each in tokens}) == 4
    assert len({each["session"] for each in tokens}) == 1


async def test_a_lost_answer_is_given_again_for_ten_seconds(served: House) -> None:
    first = await served.sign_in(AMINA)
    second = await served.refresh(first)
    served.clock.turn(seconds=10)
    assert (await served.refresh(first))["refresh_token"] == second["refresh_token"]
    assert (await served.refresh(second))["session"] == first["session"]


async def test_twenty_parallel_refreshes_keep_one_session(served: House) -> None:
    first = await served.sign_in(AMINA)
    answers = await asyncio.gather(*(served.refresh(first) for _ in range(20)))
    assert len({each["refresh_token"] for each in answers}) == 1
    assert {each["session"] for each in answers} == {first["session"]}
    assert (await served.refresh(answers[0]))["session"] == first["session"]


async def test_a_spent_token_ends_the_session_and_warns(served: House) -> None:
    first = await served.sign_in(AMINA)
    second = await served.refresh(first)
    served.clock.turn(seconds=11)
    stolen = await served.ask("POST", "/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert stolen.code == "session_ended"
    assert (await served.ask("POST", "/v1/auth/refresh", {"refresh_token": second["refresh_token"]})).status == 401
    assert (await served.ask("GET", "/v1/me", token=second["access_token"])).code == "session_ended"
    assert served.post.letters[-1].text == "token_reused"
    async with served.db.platform() as connection:
        assert await connection.fetchval("SELECT count(*) FROM outbox WHERE type = 'user.token_reused'") == 1


async def test_grace_is_for_the_immediate_predecessor_only(served: House) -> None:
    first = await served.sign_in(AMINA)
    second = await served.refresh(first)
    await served.refresh(second)
    answer = await served.ask("POST", "/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert answer.code == "session_ended"


async def test_a_wrong_secret_ends_nothing(served: House) -> None:
    first = await served.sign_in(AMINA)
    number = first["refresh_token"].partition(".")[0]
    for forged in (f"{number}.{'A' * 43}", f"{uuid4().hex}.{'A' * 43}", "x", "", "a.b.c"):
        assert (await served.ask("POST", "/v1/auth/refresh", {"refresh_token": forged})).status == 401
    assert (await served.refresh(first))["session"] == first["session"]


async def test_a_session_ends_after_a_month_of_silence(served: House) -> None:
    first = await served.sign_in(AMINA)
    served.clock.turn(days=30)
    answer = await served.ask("POST", "/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert answer.status == 401


async def test_logging_out_everywhere_ends_every_session_at_once(served: House) -> None:
    first, second = await served.sign_in(AMINA), await served.sign_in(AMINA)
    out = await served.ask("POST", "/v1/auth/logout-all", token=second["access_token"])
    assert out.status == 204
    for each in (first, second):
        assert (await served.ask("GET", "/v1/me", token=each["access_token"])).code == "session_ended"
        assert (await served.ask("POST", "/v1/auth/refresh", {"refresh_token": each["refresh_token"]})).status == 401


async def test_one_of_ones_sessions_can_be_ended_but_nobody_elses(served: House) -> None:
    phone, laptop = await served.sign_in(AMINA), await served.sign_in(AMINA)
    stranger = await served.sign_in("omar@example.com")
    path = f"/v1/me/sessions/{phone['session']}"
    assert (await served.ask("DELETE", path, token=stranger["access_token"])).status == 404
    listed = await served.ask("GET", "/v1/me/sessions", token=laptop["access_token"])
    assert [each["current"] for each in listed.body].count(True) == 1
    assert (await served.ask("DELETE", path, token=laptop["access_token"])).status == 204
    assert (await served.ask("GET", "/v1/me", token=phone["access_token"])).status == 401
    assert (await served.ask("GET", "/v1/me", token=laptop["access_token"])).status == 200


async def test_a_new_password_ends_the_other_sessions(served: House) -> None:
    await register(served)
    other = await served.sign_in(AMINA)
    login = await served.ask("POST", "/v1/auth/login", {"email": AMINA, "password": PASSWORD})
    token = login.body["access_token"]
    wish = {"password": "a different sentence"}
    assert (await served.ask("PUT", "/v1/me/password", wish, token=token)).code == "sign_in_again"
    wrong = await served.ask("PUT", "/v1/me/password", {**wish, "current": "not this one"}, token=token)
    assert wrong.code == "wrong_credentials"
    assert (await served.ask("PUT", "/v1/me/password", {**wish, "current": PASSWORD}, token=token)).status == 204
    assert (await served.ask("GET", "/v1/me", token=other["access_token"])).status == 401
    assert (await served.ask("GET", "/v1/me", token=token)).status == 200


async def test_a_browser_keeps_its_token_in_a_cookie_that_other_sites_cannot_use(served: House) -> None:
    code = {**await served.code(AMINA), "keep": "cookie"}
    host = f"a.localhost:{served.client.port}"
    ours = {"Origin": f"http://{host}"}
    signed_in = await served.ask("POST", "/v1/auth/otp/verify", code, host=host, headers=ours)
    assert signed_in.body["refresh_token"] is None
    morsel = signed_in.cookies["wadud-refresh"]
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Lax", "/v1/auth")
    sent = {"Cookie": f"wadud-refresh={morsel.value}"}
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        stolen = await served.ask("POST", "/v1/auth/refresh", host=host, headers={**sent, **origin})
        assert stolen.code == "bad_origin"
    again = await served.ask("POST", "/v1/auth/refresh", host=host, headers={**sent, **ours})
    assert again.status == 200
    assert again.cookies["wadud-refresh"].value != morsel.value


async def test_over_https_the_cookie_is_bound_to_the_host(served: House) -> None:
    code = {**await served.code(AMINA), "keep": "cookie"}
    answer = await served.ask("POST", "/v1/auth/otp/verify", code, headers={"Origin": "https://a.localhost"})
    morsel = answer.cookies["__Host-wadud-refresh"]
    assert (morsel["secure"], morsel["path"], morsel["domain"]) == (True, "/", "")


async def test_plain_http_from_elsewhere_gets_no_cookie(served: House) -> None:
    async with served.db.platform() as connection:
        await connection.execute("UPDATE tenant SET hosts = '{clinic.example}' WHERE slug = 'a'")
    code = {**await served.code(AMINA, host="clinic.example"), "keep": "cookie"}
    answer = await served.ask(
        "POST", "/v1/auth/otp/verify", code, host="clinic.example", headers={"Origin": "http://clinic.example"}
    )
    assert answer.code == "https_required"
