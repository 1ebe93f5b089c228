"""Whose X-Forwarded-* is believed."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from backplane.hosts import asked_host
from backplane.metrics import Metrics
from backplane.proxies import TrustedProxies, plain_address, same_origin
from backplane.web import Readiness, application, json_response


async def seen(trusted: tuple[str, ...], headers: dict[str, str] | list[tuple[str, str]]) -> list[str]:
    async def tell(request: web.Request) -> web.Response:
        return json_response([request.remote, request.scheme, str(asked_host(request)), same_origin(request)])

    app = application(Metrics(), Readiness(lambda: {}), TrustedProxies(trusted))
    app.router.add_get("/{any}", tell)
    async with TestClient(TestServer(app)) as client:
        answer: list[str] = await (await client.get("/x", headers=headers)).json()
        return answer


FORWARDED = {
    "X-Forwarded-For": "1.1.1.1, 203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "clinic.example",
}


async def test_nobody_is_believed_by_default() -> None:
    remote, scheme, host, _ = await seen((), FORWARDED)
    assert (remote, scheme) == ("127.0.0.1", "http")
    assert host.startswith("127.0.0.1:")


async def test_a_peer_that_is_no_proxy_of_ours_is_not_believed() -> None:
    assert (await seen(("10.0.0.0/8",), FORWARDED))[:2] == ["127.0.0.1", "http"]


async def test_a_trusted_peer_tells_client_scheme_and_host() -> None:
    own = {**FORWARDED, "Origin": "https://clinic.example"}
    assert await seen(("127.0.0.0/8",), own) == ["203.0.113.9", "https", "clinic.example", True]
    foreign = {**FORWARDED, "Origin": "http://clinic.example"}
    assert (await seen(("127.0.0.0/8",), foreign))[3] is False


@pytest.mark.parametrize(
    "hops, client",
    [
        (["9.9.9.9, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),  # the client wrote 9.9.9.9 itself
        (["9.9.9.9", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),  # in two header lines
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # all trusted: the farthest
        (["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),  # nothing is believed behind what is no address
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        ([""], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
async def test_the_rightmost_hop_that_is_not_trusted_is_the_client(hops: list[str], client: str) -> None:
    answer = await seen(("127.0.0.1", "10.0.0.0/8"), [("X-Forwarded-For", hop) for hop in hops])
    assert answer[0] == client


async def test_odd_schemes_are_left_out() -> None:
    assert (await seen(("127.0.0.1",), {"X-Forwarded-Proto": "gopher"}))[1] == "http"


def test_addresses() -> None:
    assert str(plain_address("fe80::1%eth0")) == "fe80::1"
    assert plain_address("unknown") is None
    with pytest.raises(ValueError):
        TrustedProxies(["10.0.0.1/8"])


@pytest.mark.parametrize(
    "origin, ours",
    [
        ("http://h:1", True),
        ("https://h:1", True),  # behind a TLS proxy that is not listed
        ("https://H:1", True),
        ("http://h", False),
        ("http://h:1.evil.example", False),
        ("null", False),
        ("", False),
        ("ftp://h:1", False),
    ],
)
def test_an_origin_is_ours_when_its_host_is_the_one_asked(origin: str, ours: bool) -> None:
    assert same_origin(make_mocked_request("POST", "/", headers={"Host": "h:1", "Origin": origin})) is ours
