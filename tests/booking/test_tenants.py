"""Clinics: found by host name, kept apart, their looks; and made by the platform."""

import pytest

from booking.refusals import Refusal
from booking.tenants import Tenants, check_colour, contrast, text_on
from tests.support.authenticator import Authenticator
from tests.support.identity import House

AMINA = "amina@example.com"


async def test_clinics_are_found_by_host_and_know_nothing_of_each_other(served: House) -> None:
    seen = {host: await served.ask("GET", "/v1/tenant", host=host) for host in ("a.localhost", "B.localhost:99")}
    assert [answer.body["name"] for answer in seen.values()] == ["Clinic A", "Clinic B"]
    assert (await served.ask("GET", "/v1/tenant", host="localhost")).body["slug"] == "platform"
    for host in ("c.localhost", "x.a.localhost", "_.localhost"):
        assert (await served.ask("GET", "/v1/tenant", host=host)).code == "unknown_clinic"
    admin = await served.with_role("boss@example.com", "clinic_admin")
    place = {"name": "Main", "timezone": "Asia/Karachi"}
    made = await served.ask("POST", "/v1/locations", place, token=admin["access_token"])
    assert made.status == 201
    assert (await served.ask("GET", "/v1/locations", host="b.localhost")).body == []
    other = await served.with_role("boss@example.com", "clinic_admin", host="b.localhost")
    path = f"/v1/locations/{made.body['id']}"
    for method, body in (("PUT", place), ("DELETE", None)):
        answer = await served.ask(method, path, body, token=other["access_token"], host="b.localhost")
        assert answer.code == "not_found"
    assert (await served.ask("PUT", path, {**place, "name": "East"}, token=admin["access_token"])).status == 200
    assert [each["name"] for each in (await served.ask("GET", "/v1/locations")).body] == ["East"]
    assert (await served.ask("DELETE", path, token=admin["access_token"])).status == 204


async def test_hosts_fall_back_to_the_default_clinic_as_set(served: House) -> None:
    async with served.db.platform() as connection:
        await connection.execute("UPDATE tenant SET hosts = '{care.example}' WHERE slug = 'b'")
    open_to_all = Tenants(served.db, served.clock, default="a")
    strict = Tenants(served.db, served.clock, base="book.example", default="a")
    for host, slug in (
        ("localhost", "a"),
        ("127.0.0.1:80", "a"),
        ("[::1]:80", "a"),
        ("any.example", "a"),
        ("care.example", "b"),
    ):
        assert (await open_to_all.at(host)).slug == slug
    for host, slug in (("book.example", "a"), ("b.book.example.", "b"), ("CARE.example", "b")):
        assert (await strict.at(host)).slug == slug
    for host in ("any.example", "evilbook.example", "z.book.example", "a.b.book.example"):
        with pytest.raises(Refusal):
            await strict.at(host)


async def test_a_clinic_shows_its_brand_and_unreadable_colours_are_refused(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    token = admin["access_token"]
    brand = {"colour": "#00695c", "logo": "/logo.png", "tagline": "Care"}
    changed = await served.ask("PATCH", "/v1/clinic", {"brand": brand, "name": "Noor"}, token=token)
    assert changed.status == 200
    seen = (await served.ask("GET", "/v1/tenant")).body
    assert (seen["name"], seen["brand"], seen["on_colour"]) == ("Noor", brand, "#ffffff")
    for colour in ("#ffff99", "#FFF", "red", "#12345g"):
        answer = await served.ask("PATCH", "/v1/clinic", {"brand": {"colour": colour}}, token=token)
        assert answer.code in ("bad_colour", "bad_request")
    for logo in ("javascript:alert(1)", "https://evil.example/x.png", "data:text/html;base64,AAAA"):
        answer = await served.ask("PATCH", "/v1/clinic", {"brand": {"logo": logo}}, token=token)
        assert answer.code == "bad_request"
    patient = await served.sign_in(AMINA)
    assert (await served.ask("PATCH", "/v1/clinic", {"name": "X"}, token=patient["access_token"])).code == "forbidden"


def test_contrast_is_that_of_the_guideline() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert (text_on("#ffeb3b"), text_on("#1a237e")) == ("#000000", "#ffffff")
    check_colour("#1976d2")


async def platform_admin(served: House) -> str:
    """An access token with a second factor: a passkey is one by itself."""
    host = f"localhost:{served.client.port}"
    admin = await served.with_role("root@example.com", "platform_admin", host="localhost")
    device = Authenticator("localhost", f"http://{host}")
    path, token = "/v1/auth/passkeys/register", admin["access_token"]
    begun = await served.ask("POST", f"{path}/start", token=token, host=host)
    body = {"id": begun.body["id"], "credential": device.make(begun.body["options"])}
    return str((await served.ask("POST", f"{path}/finish", body, token=token, host=host)).body["access_token"])


async def test_the_platform_makes_a_clinic_and_its_first_admin_comes_in(served: House) -> None:
    token = await platform_admin(served)
    body = {"slug": "noor", "name": "Noor", "admin_email": AMINA, "hosts": ["noor.example"]}
    made = await served.ask("POST", "/v1/tenants", body, token=token, host="localhost")
    assert made.status == 201, made.body
    assert (await served.ask("POST", "/v1/tenants", body, token=token, host="localhost")).code == "taken"
    body = {**body, "slug": "noor2"}
    assert (await served.ask("POST", "/v1/tenants", body, token=token, host="localhost")).code == "taken"
    link = served.post.last(AMINA)
    assert link.startswith("http://noor.example/invite#")
    amina = await served.sign_in(AMINA, host="noor.example")
    token_of_invite = {"token": link.partition("#")[2]}
    answer = await served.ask(
        "POST", "/v1/invites/accept", token_of_invite, token=amina["access_token"], host="noor.example"
    )
    assert answer.body == {"role": "clinic_admin"}
    listed = await served.ask("GET", "/v1/tenants", token=token, host="localhost")
    assert [each["slug"] for each in listed.body] == ["platform", "a", "b", "noor"]


async def test_a_clinic_admin_is_nobody_on_the_platform(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    body = {"slug": "noor", "name": "Noor", "admin_email": AMINA}
    assert (await served.ask("POST", "/v1/tenants", body, token=admin["access_token"])).code == "forbidden"
    assert (await served.ask("GET", "/v1/tenants", token=admin["access_token"])).code == "forbidden"
    assert (await served.ask("GET", "/v1/tenants", token=admin["access_token"], host="localhost")).code == "bad_token"


async def test_no_link_in_a_letter_repeats_the_host_that_was_asked_for(served: House) -> None:
    admin = await served.with_role("boss@example.com", "clinic_admin")
    invitation = {"email": "doctor@example.com", "role": "doctor"}
    for host, status in (("a.localhost:99", 201), ("a.localhost:x@evil.example", 400)):
        asked = await served.ask("POST", "/v1/invites", invitation, token=admin["access_token"], host=host)
        assert asked.status == status, asked.body
    assert served.post.last("doctor@example.com").startswith("http://a.localhost/invite#")
