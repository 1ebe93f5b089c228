"""Relay credentials: who gets them, until when, and by which addresses."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from backplane.proxies import TrustedProxies
from backplane.web import Readiness
from server import ice_servers
from server.application import build
from server.ice_servers import OfferedRelay, RelayAccess, RelayAddresses, server_name, subject_of
from tests.signalling.fakes import World

Client = TestClient[Any, Any]
EVERYWHERE = RelayAddresses(("198.51.100.7", "2001:db8::7"), (443,), 443, 443)


def issue(subject: str, expires_at: int) -> tuple[str, str]:
    """As the relay makes them, with a secret of the test."""
    username = f"{expires_at}:{subject}"
    return username, base64.b64encode(hmac.digest(b"secret", username.encode(), hashlib.sha1)).decode()


@pytest.fixture
def access(world: World) -> RelayAccess:
    return RelayAccess(world.calls, OfferedRelay(EVERYWHERE, issue))


@asynccontextmanager
async def serving(world: World, access: RelayAccess, pages: Path) -> AsyncIterator[Client]:
    proxies = TrustedProxies(["127.0.0.1"])
    app = build(world.calls, world.metrics, Readiness(lambda: {}), pages, proxies, relay_access=access)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
async def client(world: World, access: RelayAccess, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(world, access, tmp_path) as client:
        yield client


def issued(world: World, lifetime_s: int = 3600, room: str = "room") -> tuple[str, str, int]:
    """A token, its jti and its end."""
    token, claims = world.tokens.issue(
        room=room,
        identity="guest-1",
        name="Bilal",
        role="guest",
        rights=["publish"],
        now=world.wall,
        lifetime_s=lifetime_s,
    )
    return token, claims.jti, claims.exp


async def ask(client: Client, token: str | None, **headers: str) -> tuple[int, dict[str, Any]]:
    bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
    answer = await client.post("/v1/ice-servers", headers={**bearer, **headers})
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status, await answer.json()


async def test_who_may_join_gets_every_way_to_the_relay_with_a_password_of_the_shared_secret(
    client: Client, world: World
) -> None:
    token, jti, exp = issued(world)
    status, answer = await ask(client, token, Host="call.example:443")
    assert status == 200
    assert answer == {
        "ice_servers": [
            {
                "urls": [
                    "turn:198.51.100.7:443?transport=udp",
                    "turn:[2001:db8::7]:443?transport=udp",
                    "turn:198.51.100.7:443?transport=tcp",
                    "turn:[2001:db8::7]:443?transport=tcp",
                    "turns:call.example:443?transport=tcp",
                ],
                "username": f"{exp}:{jti}",
                "credential": issue(jti, exp)[1],
            }
        ],
        "expires_at": exp,
        "lifetime_s": 3600,
    }


@pytest.mark.parametrize("lifetime_s, expected_s", [(600, 600), (6 * 3600, 6 * 3600), (7 * 24 * 3600, 6 * 3600)])
async def test_credentials_end_with_the_token_and_after_six_hours_at_the_latest(
    client: Client, world: World, lifetime_s: int, expected_s: int
) -> None:
    _, answer = await ask(client, issued(world, lifetime_s)[0])
    assert (answer["lifetime_s"], answer["expires_at"]) == (expected_s, int(world.wall) + expected_s)
    assert answer["ice_servers"][0]["username"].startswith(f"{answer['expires_at']}:")


async def test_credentials_asked_for_later_end_no_later_than_the_token(client: Client, world: World) -> None:
    token, _, exp = issued(world)
    world.now += 3000
    _, answer = await ask(client, token)
    assert (answer["lifetime_s"], answer["expires_at"]) == (600, exp)


async def test_nobody_gets_credentials_without_a_token_that_opens_its_room_now(client: Client, world: World) -> None:
    async def refused(token: str | None, **headers: str) -> str:
        status, problem = await ask(client, token, **headers)
        assert status == 401
        return str(problem["code"])

    assert await refused(None) == "token_required"
    assert await refused(None, Authorization="Basic YTpi") == "token_required"
    assert await refused("x") == "bad_token"
    revoked, jti, exp = issued(world)
    world.calls.revoke(jti, exp, world.now)
    assert await refused(revoked) == "token_revoked"
    put_out = issued(world, room="visit")[0]
    world.calls.put_out("visit", "guest-1", world.now)
    assert await refused(put_out) == "token_revoked"
    expired, _, _ = issued(world)
    world.now += 3600
    assert await refused(expired) == "token_expired"


@pytest.mark.parametrize("relay", [None, OfferedRelay(RelayAddresses(()), issue)])
async def test_without_a_relay_the_list_is_empty(world: World, tmp_path: Path, relay: OfferedRelay | None) -> None:
    async with serving(world, RelayAccess(world.calls, relay), tmp_path) as client:
        status, answer = await ask(client, issued(world)[0])
    assert (status, answer["ice_servers"], answer["lifetime_s"]) == (200, [], 3600)


async def test_one_address_cannot_flood_it_and_a_draining_server_gives_none(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice_servers, "REQUESTS_PER_S", 0.0)
    monkeypatch.setattr(ice_servers, "REQUESTS_BURST", 3.0)
    token = issued(world)[0]
    one, other = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
    async with serving(world, RelayAccess(world.calls), tmp_path) as client:
        assert [(await ask(client, token, **one))[0] for _ in range(4)] == [200, 200, 200, 429]
        assert (await ask(client, token, **other))[0] == 200
        world.calls.drain(world.now)
        status, problem = await ask(client, token, **other)
    assert (status, problem["code"]) == (503, "draining")


@pytest.mark.parametrize(
    "asked, name",
    [
        ("call.example", "call.example"),
        ("Call.Example:8443", "call.example"),
        ("xn--mgbh0fb.example", "xn--mgbh0fb.example"),
        ("localhost:8080", "localhost"),
        ("198.51.100.7:8443", "198.51.100.7"),
        ("[2001:DB8::7]:8443", "2001:db8::7"),
        ("", None),
        ("call.example:x", None),
        ("call.example?transport=udp", None),
        ("a,b.example", None),
        ("-a.example", None),
        ("a..example", None),
        ("a_b.example", None),
        ("call.example\n", None),
        ("[::1%25eth0]", None),
        ("a" * 64 + ".example", None),
        ("a." * 130 + "example", None),
    ],
)
def test_only_a_name_or_address_from_the_host_header_gets_into_a_uri(asked: str, name: str | None) -> None:
    assert server_name(asked) == name


def test_without_a_usable_name_there_is_no_relay_over_tls_and_without_tls_none_at_all() -> None:
    addresses = RelayAddresses(("198.51.100.7",), tcp_port=443, tls_port=443)
    assert addresses.urls("t", "a_b") == ["turn:198.51.100.7:443?transport=tcp"]
    assert addresses.urls("t", "[2001:db8::7]:443")[-1] == "turns:[2001:db8::7]:443?transport=tcp"
    assert RelayAddresses(("198.51.100.7",), udp_ports=(443,)).urls("t", "call.example") == [
        "turn:198.51.100.7:443?transport=udp"
    ]


def test_of_many_addresses_the_one_that_was_reached_is_told_and_one_of_the_other_family() -> None:
    hosts = ("198.51.100.7", "192.168.1.5", "2001:db8::7", "2001:db8::8")
    addresses = RelayAddresses(hosts, udp_ports=(443,))

    def told(asked: str) -> list[str]:
        return [url.removeprefix("turn:").removesuffix(":443?transport=udp") for url in addresses.urls("t", asked)]

    assert told("call.example") == ["198.51.100.7", "[2001:db8::7]"]
    assert told("192.168.1.5:8443") == ["192.168.1.5", "[2001:db8::7]"]
    assert told("[2001:db8::8]") == ["[2001:db8::8]", "198.51.100.7"]
    assert told("203.0.113.9") == ["198.51.100.7", "[2001:db8::7]"]


def test_a_token_keeps_its_worker_and_tokens_spread_over_all() -> None:
    addresses = RelayAddresses(("198.51.100.7",), udp_ports=(443, 444, 445))
    told = [addresses.urls(f"token-{index}", "")[0] for index in range(300)]
    assert told == [addresses.urls(f"token-{index}", "")[0] for index in range(300)]
    assert min(told.count(url) for url in set(told)) > 60
    assert len(set(told)) == 3


def test_a_token_id_of_another_application_cannot_break_the_user_name() -> None:
    assert subject_of("hV2kQ8sLw0Zp3n_-") == "hV2kQ8sLw0Zp3n_-"
    for jti in ("a:b", "1795281600:x", "ﬁ", "a\n", " "):
        assert subject_of(jti).isalnum()
        assert len(subject_of(jti)) == 64
    assert subject_of("a:b") != subject_of("a:c")
    assert ice_servers.MAX_LIFETIME_S == 6 * 3600
