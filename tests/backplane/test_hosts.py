"""What a Host header may be, and where links lead."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from backplane.hosts import Host, PublicUrls, asked_host, is_own_path, parsed_host
from backplane.http_server import Runner
from backplane.metrics import Metrics
from backplane.proxies import TrustedProxies
from backplane.web import Problem, Readiness, application

Client = TestClient[web.Request, web.Application]


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("call.example.org", Host("call.example.org")),
        ("Call.Example.ORG.", Host("call.example.org")),
        ("call.example.org:8443", Host("call.example.org", 8443)),
        ("call.example.org:", Host("call.example.org")),  # RFC 3986: the port may be empty
        ("wadud_app:8080", Host("wadud_app", 8080)),
        ("127.0.0.1:80", Host("127.0.0.1", 80)),
        ("[2001:DB8:0::1]:443", Host("[2001:db8::1]", 443)),
        ("xn--mgbh0fb.example", Host("xn--mgbh0fb.example")),
    ],
)
def test_a_host_and_its_port_are_read(text: str, host: Host) -> None:
    assert parsed_host(text) == host
    assert parsed_host(str(host)) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "call.example.org:x@evil.example",
        "call.example.org:80@evil.example",
        "u@call.example.org",
        "call.example.org/x",
        "call.example.org?x",
        "call.example.org#x",
        "call.example.org\\evil.example",
        "call.example.org evil.example",
        "call.example.org,evil.example",
        "call.example.org:80:80",
        "call.example.org:0",
        "call.example.org:65536",
        "call.example.org:+80",
        "call.example.org:٨٠",
        "call..example.org",
        ".example.org",
        "-call.example.org",
        "call.example.org..",
        "%63all.example.org",
        "cäll.example.org",
        "call.example.org\n",
        "\udcff",
        "a" * 64 + ".example",
        "a." * 127 + "ab",
        "[::1",
        "::1",
        "[::1]x",
        "[::1%25eth0]",
        "[127.0.0.1]",
        "[abc]",
        "2130706433",  # browsers take these for 127.0.0.1
        "0x7f.1",
        "127.1",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.2.3.4",
    ],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parsed_host(text)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async def tell(request: web.Request) -> web.Response:
        return web.Response(text=str(asked_host(request)))

    app = application(Metrics(), Readiness(lambda: {}), TrustedProxies(("127.0.0.0/8",)))
    app.router.add_get("/tell", tell)
    async with TestClient(_Served(app)) as client:
        yield client


class _Served(TestServer):
    """Behind the border, as `server.main` serves."""

    async def _make_runner(self, **_: object) -> web.BaseRunner:
        return Runner(self.app, shutdown_timeout=1)


async def test_a_bad_host_gets_no_further_than_the_border(client: Client) -> None:
    answer = await client.get("/tell", headers={"Host": "call.example.org:x@evil.example"})
    assert (answer.status, (await answer.json())["code"]) == (400, "bad_host")


async def test_what_a_trusted_proxy_forwards_is_read_as_strictly(client: Client) -> None:
    good = {"X-Forwarded-Host": "evil.example, call.example.org"}
    assert await (await client.get("/tell", headers=good)).text() == "call.example.org"
    bad = {"X-Forwarded-Host": "call.example.org:x@evil.example"}
    assert (await client.get("/tell", headers=bad)).status == 400


def test_a_second_host_and_a_target_elsewhere_are_refused() -> None:
    two = make_mocked_request("GET", "/", headers=[("Host", "a.example"), ("Host", "b.example")])  # type: ignore[arg-type]
    with pytest.raises(Problem):
        asked_host(two)
    with pytest.raises(Problem):
        asked_host(make_mocked_request("GET", "http://b.example/", headers={"Host": "a.example"}))
    same = make_mocked_request("GET", "http://a.example/", headers={"Host": "a.example:8080"})
    assert asked_host(same) == Host("a.example", 8080)


@pytest.mark.parametrize(
    ("base", "hosts", "url"),
    [
        ("https://call.example.org", (), "https://city.call.example.org"),
        ("https://call.example.org:8443", (), "https://city.call.example.org:8443"),
        ("https://call.example.org:8443", ("city.example", "b.example"), "https://city.example:8443"),
        ("https://203.0.113.5", (), "https://203.0.113.5"),
        ("http://127.0.0.1:8080", (), "http://city.localhost:8080"),
        ("http://[::1]:8080", (), "http://city.localhost:8080"),
    ],
)
def test_links_to_a_clinic_come_from_settings(base: str, hosts: tuple[str, ...], url: str) -> None:
    assert PublicUrls(base).of_clinic("city", hosts) == url


@pytest.mark.parametrize(
    ("asked", "origin"),
    [
        ("call.example.org", "https://call.example.org"),
        ("city.call.example.org", "https://city.call.example.org"),
        ("city.example", "https://city.example"),
        ("city.example:81", "https://city.example"),
        ("evil.example", "https://city.example"),
        ("town.call.example.org", "https://city.example"),
        ("localhost:9", "http://localhost:9"),
    ],
)
def test_a_browser_comes_back_to_where_it_was_only_if_that_is_ours(asked: str, origin: str) -> None:
    request = make_mocked_request("GET", "/", headers={"Host": asked})
    assert PublicUrls("https://call.example.org").of_page(request, "city", ("city.example",)) == origin


@pytest.mark.parametrize("path", ["/", "/visits", "/visits/1?x=//y&z=%2F", "/a/b/", "/doctors/a.b", "/.well-known/x"])
def test_a_path_of_ours_may_be_returned_to(path: str) -> None:
    assert is_own_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "visits",
        "//evil.example/x",
        "/.//evil.example/x",
        "/..//evil.example/x",
        "/%2e//evil.example/x",
        "/a/../..//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/x\n",
        "https://evil.example/",
        "/x#y",
        "/é",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_none(path: str) -> None:
    assert not is_own_path(path)


READS_HOST = re.compile(r"""\brequest\.(?:host|url|forwarded)\b|headers(?:\.get(?:all)?\(|\[)"(?:Host|Forwarded)\"""")
READS_FORWARDED = re.compile(r'"X-Forwarded-')


def test_only_the_border_reads_which_host_was_asked_for(root: Path) -> None:
    """``request.host``, ``request.url`` and the headers Host, Forwarded and X-Forwarded-*, in all that serves."""
    allowed = {"backplane/hosts.py": READS_HOST, "backplane/proxies.py": READS_FORWARDED}
    found = [
        f"{name}:{number} {line.strip()}"
        for package in ("backplane", "booking", "live", "server", "signalling", "sfu", "turn")
        for path in (root / package).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for pattern in (READS_HOST, READS_FORWARDED)
        if pattern.search(line) and allowed.get(name := str(path.relative_to(root))) is not pattern
    ]
    assert found == []
