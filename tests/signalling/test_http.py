"""The HTTP API and the pages, on a fake node."""

import base64
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from backplane.proxies import TrustedProxies
from backplane.web import Readiness
from booking.visits.room_names import VisitRoom, VisitRooms
from server.application import build
from signalling import http
from signalling.room_quotas import RoomLimits
from tests.signalling.fakes import World

WEB = Path(__file__).resolve().parents[2] / "web"
Client = TestClient[Any, Any]


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    app = build(world.calls, world.metrics, Readiness(lambda: {"takes_calls": not world.calls.draining}), WEB)
    async with TestClient(TestServer(app)) as client:
        yield client


async def make_room(client: Client, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/rooms", json=body)
    assert answer.status == 201
    made: dict[str, Any] = await answer.json()
    return made


async def make_token(client: Client, room: str, name: str = "Bilal", bearer: str | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    answer = await client.post(f"/v1/rooms/{room}/tokens", json={"name": name}, headers=headers)
    assert answer.status == 201
    made: dict[str, Any] = await answer.json()
    return made


async def test_a_room_has_a_name_nobody_guesses_and_a_link_to_it(client: Client) -> None:
    made = await make_room(client)
    assert re.fullmatch(r"[a-z2-7]{22}", made["room"])
    assert made["link"].endswith(f"/call/{made['room']}")
    assert made["link"].startswith("http://127.0.0.1:")
    assert (await client.get(f"/call/{made['room']}")).status == 200


async def test_a_room_is_made_without_a_body_too(client: Client) -> None:
    assert (await client.post("/v1/rooms")).status == 201


async def test_who_has_the_link_becomes_a_guest_and_the_maker_a_host(client: Client, world: World) -> None:
    made = await make_room(client, name="Dr Amina")
    guest = await make_token(client, made["room"])
    host = await make_token(client, made["room"], "Dr Amina", made["host_token"])
    assert guest["participant"]["role"] == "guest"
    assert "moderate" not in guest["participant"]["rights"]
    assert host["participant"]["role"] == "host"
    assert "moderate" in host["participant"]["rights"]
    claims = world.tokens.verify(made["host_token"], world.wall)
    assert (claims.role, claims.name, claims.room) == ("host", "Dr Amina", made["room"])
    assert guest["participant"]["identity"] != host["participant"]["identity"]
    assert guest["expires_at"] == world.tokens.verify(guest["token"], world.wall).exp


async def test_a_guest_token_makes_no_hosts(client: Client) -> None:
    made = await make_room(client)
    guest = await make_token(client, made["room"])
    assert (await make_token(client, made["room"], "X", guest["token"]))["participant"]["role"] == "guest"


async def test_the_host_of_one_room_is_nobody_in_another(client: Client) -> None:
    one, two = await make_room(client), await make_room(client)
    headers = {"Authorization": f"Bearer {one['host_token']}"}
    answer = await client.post(f"/v1/rooms/{two['room']}/tokens", json={"name": "X"}, headers=headers)
    assert (answer.status, (await answer.json())["code"]) == (403, "forbidden")


async def test_names_are_cleaned_and_never_empty(client: Client) -> None:
    room = (await make_room(client))["room"]
    assert (await make_token(client, room, " \u202e Bilal\u0000 "))["participant"]["name"] == "Bilal"
    assert (await make_token(client, room, "\u200b"))["participant"]["name"] == "Guest"
    assert len((await make_token(client, room, "x" * 500))["participant"]["name"]) == 64


async def test_a_mistyped_room_is_not_found(client: Client) -> None:
    answer = await client.post(f"/v1/rooms/{'a' * 22}/tokens", json={"name": "X"})
    assert (answer.status, answer.content_type) == (404, "application/problem+json")
    problem = await answer.json()
    assert (problem["code"], problem["status"]) == ("unknown_room", 404)


@pytest.mark.parametrize(
    "body, kind, status, code",
    [
        ("{", "application/json", 400, "bad_json"),
        ("[" * 10_000, "application/json", 422, "bad_request"),
        ("[]", "application/json", 422, "bad_request"),
        ("{}", "application/json", 422, "bad_request"),
        ('{"name":7}', "application/json", 422, "bad_request"),
        ('{"name":"x","role":"host"}', "application/json", 422, "bad_request"),
        ('{"name":"' + "x" * 501 + '"}', "application/json", 422, "bad_request"),
        ('{"name":"x"}', "text/plain", 415, "unsupported_media_type"),
        ("x" * 20_000, "application/json", 413, "request_entity_too_large"),
    ],
)
async def test_a_faulty_body_is_a_problem_with_a_code(
    client: Client, body: str, kind: str, status: int, code: str
) -> None:
    room = (await make_room(client))["room"]
    answer = await client.post(f"/v1/rooms/{room}/tokens", data=body, headers={"Content-Type": kind})
    assert (answer.status, (await answer.json())["code"]) == (status, code)


@pytest.mark.parametrize(
    "header, code", [("Bearer x", "bad_token"), ("Basic x", "token_required"), ("x", "token_required")]
)
async def test_a_bad_bearer_is_refused(client: Client, header: str, code: str) -> None:
    room = (await make_room(client))["room"]
    headers = {"Authorization": header}
    answer = await client.post(f"/v1/rooms/{room}/tokens", json={"name": "X"}, headers=headers)
    assert (answer.status, (await answer.json())["code"]) == (401, code)


async def test_tokens_of_other_algorithms_are_refused(client: Client, world: World) -> None:
    made = await make_room(client)
    payload = made["host_token"].split(".")[1]
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    for token in (f"{header}.{payload}.", f"{header}.{payload}", "a.b.c", "...", ""):
        headers = {"Authorization": f"Bearer {token}"}
        answer = await client.post(f"/v1/rooms/{made['room']}/tokens", json={"name": "X"}, headers=headers)
        assert answer.status == 401


async def revoke(client: Client, bearer: str | None, **body: Any) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    answer = await client.post("/v1/tokens/revoke", json=body, headers=headers)
    return answer.status, await answer.json()


async def test_a_host_revokes_a_token_by_its_id(client: Client, world: World) -> None:
    made = await make_room(client)
    guest = await make_token(client, made["room"])
    inside = world.client()
    inside.say("join", token=guest["token"], offer="v=0", tracks=[])
    assert await revoke(client, made["host_token"], jti=guest["jti"]) == (200, {"put_out": 1, "host_token": None})
    assert inside.link.last["reason"] == "revoked"
    assert (await revoke(client, guest["token"], token=guest["token"]))[0] == 401


async def test_everybody_may_revoke_their_own_token_only(client: Client) -> None:
    made = await make_room(client)
    one, two = await make_token(client, made["room"]), await make_token(client, made["room"])
    assert (await revoke(client, one["token"], token=two["token"]))[1]["code"] == "forbidden"
    assert (await revoke(client, one["token"], jti=two["jti"]))[1]["code"] == "forbidden"
    assert (await revoke(client, one["token"], room=made["room"]))[1]["code"] == "forbidden"
    assert (await revoke(client, one["token"], token=one["token"]))[0] == 200


async def test_a_host_revokes_the_room_and_gets_a_new_token(client: Client, world: World) -> None:
    made = await make_room(client, name="Dr Amina")
    guest = await make_token(client, made["room"])
    status, answer = await revoke(client, made["host_token"], room=made["room"])
    assert (status, answer["put_out"]) == (200, 0)
    for old in (made["host_token"], guest["token"]):
        assert (await revoke(client, old, room=made["room"]))[1]["code"] == "token_revoked"
    again = await make_token(client, made["room"], "Dr Amina", answer["host_token"])
    assert again["participant"]["role"] == "host"


async def test_a_host_has_no_say_over_other_rooms(client: Client) -> None:
    one, two = await make_room(client), await make_room(client)
    guest = await make_token(client, two["room"])
    assert (await revoke(client, one["host_token"], room=two["room"]))[0] == 403
    assert (await revoke(client, one["host_token"], token=guest["token"]))[0] == 403


async def test_a_stranger_who_learnt_a_tokens_id_cannot_revoke_it(client: Client, world: World) -> None:
    """Whoever asks gets a host token of some room, and a token's id is in the clear in the user name of its relay."""
    stranger, visit = await make_room(client), VisitRooms(world.calls.tokens.key).name(VisitRoom(1000, UUID(int=7), 1))
    for room in ("a room of an application", visit):
        token, claims = world.tokens.issue(
            room=room, identity="Amina", name="Amina", role="guest", rights=["publish"], now=world.wall
        )
        inside = world.client()
        inside.say("join", token=token, offer="v=0", tracks=[])
        assert (await revoke(client, stranger["host_token"], jti=claims.jti))[1]["put_out"] == 0
        assert inside.say("ping")["type"] == "pong"
        assert world.calls.verify(token) == claims
        assert ("refuse", claims.jti) not in world.relay.told, "nor what goes through the relay"


async def test_a_stranger_cannot_take_the_relay_from_whoever_comes_with_an_id(client: Client, world: World) -> None:
    """Applications that sign their own tokens may count them, and a relay that is refused stays refused. Whose id the
    moderator names is cut off also before they are in the room."""
    made, stranger = await make_room(client), await make_room(client)
    assert (await revoke(client, stranger["host_token"], jti="1001"))[0] == 200
    guest = await make_token(client, made["room"])
    world.calls.verify(guest["token"])  # as for the relay's credentials
    assert (await revoke(client, stranger["host_token"], jti=guest["jti"]))[0] == 200
    assert world.relay.told == []
    assert (await revoke(client, made["host_token"], jti=guest["jti"]))[0] == 200
    assert world.relay.told == [("refuse", guest["jti"])]


async def test_the_room_of_a_visit_is_the_appointments_to_revoke(client: Client, world: World) -> None:
    """A doctor's token of ten minutes must not become one of a week."""
    room = VisitRooms(world.calls.tokens.key).name(VisitRoom(1000, UUID(int=7), 1))
    now = world.calls.wall_clock()

    def issue(identity: str, role: str, *rights: str) -> tuple[str, str]:
        token, claims = world.calls.tokens.issue(
            room=room, identity=identity, name="X", role=role, rights=rights, now=now, lifetime_s=600
        )
        return token, claims.jti

    host, own = issue(f"doctor-{UUID(int=1).hex}", "host", "publish", "subscribe", "moderate")
    guest, jti = issue(f"patient-{UUID(int=2).hex}", "guest", "publish", "subscribe")
    made = await make_room(client)
    for bearer in (host, guest, made["host_token"]):
        status, problem = await revoke(client, bearer, room=room)
        assert (status, problem["code"]) == (403, "visit_room")
        assert "appointment" in problem["detail"]
    for what in ({"jti": jti}, {"token": guest}):
        assert (await revoke(client, host, **what))[1]["code"] == "visit_room"
    inside = world.client()
    inside.say("join", token=guest, offer="v=0", tracks=[])
    assert inside.link.last["type"] != "error"  # nothing was revoked
    answer = await client.post(
        f"/v1/rooms/{room}/tokens", json={"name": "X"}, headers={"Authorization": f"Bearer {host}"}
    )
    assert (answer.status, (await answer.json())["code"]) == (404, "unknown_room")
    assert await revoke(client, host, jti=own) == (200, {"put_out": 0, "host_token": None})
    assert (await revoke(client, host, jti=own))[1]["code"] == "token_revoked"


async def test_a_revocation_names_one_thing_and_its_asker(client: Client) -> None:
    made = await make_room(client)
    assert (await revoke(client, None, room=made["room"]))[1]["code"] == "token_required"
    assert (await revoke(client, made["host_token"]))[0] == 422
    assert (await revoke(client, made["host_token"], room=made["room"], jti="x"))[0] == 422


async def test_a_revocation_that_cannot_be_kept_is_refused(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make_room(client)
    monkeypatch.setattr("backplane.tokens.MAX_REVOCATIONS", 0)
    status, problem = await revoke(client, made["host_token"], room=made["room"])
    assert (status, problem["code"]) == (503, "not_kept")


async def test_one_address_cannot_flood_the_api(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr(http, "time", SimpleNamespace(monotonic=lambda: now[0]))  # a slow machine is no slow client
    burst = int(http.REQUESTS_BURST)
    statuses = [(await client.post("/v1/rooms")).status for _ in range(burst + 200)]
    assert statuses == [201] * burst + [429] * 200
    now[0] += 1.5 / http.REQUESTS_PER_S  # no rounding makes less than one of it
    assert [(await client.post("/v1/rooms")).status for _ in range(2)] == [201, 429]
    assert (await client.get("/healthz")).status == 200


async def test_one_address_gets_so_many_rooms_and_tokens_in_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr(http, "time", SimpleNamespace(monotonic=lambda: now[0]))
    app = build(world.calls, world.metrics, Readiness(lambda: {}), WEB, tokens_per_minute=6)
    async with TestClient(TestServer(app)) as client:
        room = (await make_room(client))["room"]
        for _ in range(5):
            await make_token(client, room)
        answer = await client.post(f"/v1/rooms/{room}/tokens", json={"name": "Bilal"})
        assert (answer.status, (await answer.json())["code"]) == (429, "rate_limited")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await client.post("/v1/rooms")).status == 429
        now[0] += 10.01
        await make_token(client, room)
        assert (await client.post("/v1/rooms")).status == 429


async def test_who_has_as_many_rooms_as_one_may_is_told_before_another_is_made(world: World) -> None:
    world = World(world.tokens.revocations, RoomLimits(rooms=3, rooms_per_address=2))
    app = build(world.calls, world.metrics, Readiness(lambda: {}), WEB)
    async with TestClient(TestServer(app)) as client:
        for room in ("one", "two"):
            world.joined(address="127.0.0.1", room=room)
        answer = await client.post("/v1/rooms")
        problem = await answer.json()
        assert (answer.status, answer.content_type) == (429, "application/problem+json")
        assert (problem["code"], answer.headers["Retry-After"]) == ("too_many_rooms", "60")
        assert "End one" in problem["detail"]
        world.joined(address="127.0.0.2", room="three")
        world.clients[0].say("leave")
        await make_room(client)
        world.joined("Bilal", address="127.0.0.2", room="four")
        answer = await client.post("/v1/rooms")
        assert (answer.status, (await answer.json())["code"]) == (503, "rooms_taken")
        assert answer.headers["Retry-After"] == "60"


async def test_health_readiness_and_metrics(client: Client, world: World) -> None:
    assert (await (await client.get("/healthz")).json()) == {"status": "ok"}
    ready = await client.get("/readyz")
    assert (ready.status, await ready.json()) == (200, {"status": "ready", "checks": {"takes_calls": True}})
    world.joined("Amina", room="a-room-name")
    text = await (await client.get("/metrics")).text()
    assert 'wadud_joins_total{outcome="ok"} 1.0' in text
    assert "Amina" not in text
    assert "a-room-name" not in text
    world.calls.drain(world.now)
    assert (await client.get("/readyz")).status == 503
    assert (await client.post("/v1/rooms")).status == 503
    assert (await client.get("/healthz")).status == 200


@pytest.mark.parametrize("path", ["/", "/call/abc", "/healthz", "/nothing", "/static/src/client/index.js"])
async def test_every_answer_carries_the_security_headers(client: Client, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.search(r"connect-src 'self' ws://127.0.0.1:\d+ wss://127.0.0.1:\d+;", policy)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "camera=(self)" in headers["Permissions-Policy"]
    assert "aiohttp" not in headers["Server"]


async def test_a_strange_host_header_does_not_reach_the_policy(client: Client) -> None:
    headers = (await client.get("/", headers={"Host": "x; script-src *"})).headers
    assert "script-src *" not in headers["Content-Security-Policy"]


async def test_other_methods_are_named(client: Client) -> None:
    answer = await client.put("/v1/rooms")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert (await answer.json())["code"] == "method_not_allowed"


async def test_behind_a_trusted_proxy_links_and_limits_are_those_of_the_visitor(world: World) -> None:
    readiness = Readiness(lambda: {})
    app = build(world.calls, world.metrics, readiness, WEB, TrustedProxies(["127.0.0.1"]), tokens_per_minute=20)
    async with TestClient(TestServer(app)) as client:

        async def make(visitor: str) -> ClientResponse:
            headers = {"X-Forwarded-For": visitor, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "call.example"}
            return await client.post("/v1/rooms", headers=headers)

        assert (await (await make("203.0.113.1")).json())["link"].startswith("https://call.example/call/")
        while (await make("203.0.113.1")).status != 429:
            pass
        assert (await make("203.0.113.2")).status == 201
