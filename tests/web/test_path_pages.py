"""The call page and the way that media take: the relay is used when one is given, and the person is told in words."""

import asyncio
import json
from typing import Any

import pytest

from tests.web.conftest import LOOKS, Visit, Visitor
from tests.web.test_pages import overflows, violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

ALLOCATE_REQUEST = b"\x00\x03"  # RFC 8656 section 18.1

STATISTICS = """(() => {
  window.local = null;
  RTCPeerConnection.prototype.getStats = async () => new Map(local ? [
    ['T', { type: 'transport', selectedCandidatePairId: 'P' }],
    ['P', { type: 'candidate-pair', localCandidateId: 'L', currentRoundTripTime: 0.1 }],
    ['L', { type: 'local-candidate', ...local }],
  ] : []);
})()"""

WAYS: list[tuple[dict[str, Any], str, str]] = [
    (
        {"candidateType": "host", "protocol": "udp", "address": "198.51.100.7"},
        "Directly over UDP · IPv4",
        "براہِ راست، UDP کے ذریعے · IPv4",
    ),
    (
        {"candidateType": "host", "protocol": "tcp", "address": "2001:db8::7"},
        "Directly over TCP (your network blocks UDP) · IPv6",
        "براہِ راست، TCP کے ذریعے (آپ کا نیٹ ورک UDP کو روکتا ہے) · IPv6",
    ),
    (
        {"candidateType": "relay", "relayProtocol": "tls", "address": "198.51.100.7"},
        "Through our relay over TLS (your network lets little else through) · IPv4",
        "ہمارے ریلے سے، TLS کے ذریعے (آپ کا نیٹ ورک اس کے سوا کم ہی گزرنے دیتا ہے) · IPv4",
    ),
]


class Relay(asyncio.DatagramProtocol):
    """Hears that somebody wants an allocation, and keeps silent."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data.startswith(ALLOCATE_REQUEST):
            self.asked.set()


async def text_of(visitor: Visitor, testid: str) -> str:
    text: str = await visitor.of(testid).inner_text()
    return text


async def test_the_page_turns_to_the_relay_that_the_server_names(visit: Visit) -> None:
    visitor = await visit()
    transport, relay = await asyncio.get_running_loop().create_datagram_endpoint(Relay, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    urls = [f"turn:127.0.0.1:{port}?transport=udp"]
    visitor.server.ice_servers = [{"urls": urls, "username": "1:x", "credential": "x"}]
    try:
        await visitor.open_call()
        async with asyncio.timeout(10):
            await relay.asked.wait()
    finally:
        transport.close()
    assert visitor.server.relay_asked_with == ["Bearer token"]
    assert len(visitor.server.of_type("join")) == 1


@LOOKS
async def test_who_waits_for_longer_than_three_seconds_is_told_of_the_restrictive_network(
    visit: Visit, language: str, theme: str, viewport: dict[str, int]
) -> None:
    visitor = await visit(viewport=viewport, color_scheme=theme, reduced_motion="reduce")
    await visitor.open_call(language)
    assert await visitor.of("banner-workaround").count() == 0
    await visitor.see("banner-workaround")
    text = await text_of(visitor, "banner-workaround")
    assert ("restrictive" if language == "en" else "پابندیاں") in text
    await visitor.page.locator("#polite").get_by_text(text).wait_for()
    assert await violations(visitor) == []
    assert not await overflows(visitor)


@LOOKS
async def test_the_quality_panel_says_by_which_way_media_go(
    visit: Visit, language: str, theme: str, viewport: dict[str, int]
) -> None:
    visitor = await visit(before=STATISTICS, viewport=viewport, color_scheme=theme, reduced_motion="reduce")
    await visitor.open_call(language)
    await visitor.of("quality").click()
    await visitor.see("quality-path")
    assert await text_of(visitor, "quality-path") == ("Not found yet" if language == "en" else "ابھی نہیں ملا")
    for local, english, urdu in WAYS:
        await visitor.page.evaluate(f"window.local = {json.dumps(local)}")
        await visitor.page.get_by_text(english if language == "en" else urdu, exact=True).wait_for()
        assert not await overflows(visitor)
    assert await violations(visitor) == []
    assert await visitor.page.evaluate("wadud.path.protocol") == "tls"
