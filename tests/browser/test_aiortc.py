"""A foreign implementation in the call: aiortc (its own ICE, DTLS, SRTP, SDP and codecs) with Chromium, both ways."""

from __future__ import annotations

import asyncio
import fractions
import time
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiortc import (
    AudioStreamTrack,
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from av import AudioFrame, VideoFrame
from playwright.async_api import Browser

from tests.browser.parties import chromium_page, hears, join, new_room, new_token, report, sees, until

pytestmark = [
    pytest.mark.alone,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


class Tone(AudioStreamTrack):
    """A 440 Hz tone, 48 kHz mono."""

    _sample = 0
    _start = 0.0

    async def recv(self) -> AudioFrame:
        count = 960
        self._start = self._start or time.monotonic()
        await asyncio.sleep(max(0.0, self._start + self._sample / 48000 - time.monotonic()))
        wave = (np.sin(2 * np.pi * 440 * (np.arange(count) + self._sample) / 48000) * 12000).astype(np.int16)
        frame = AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._sample, fractions.Fraction(1, 48000)
        self._sample += count
        return frame


class Colours(VideoStreamTrack):
    """Moving bright bars, 320 by 180."""

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        shift = pts // 3000
        picture = np.zeros((180, 320, 3), np.uint8)
        picture[:, (np.arange(320) + shift * 8) % 320 < 160] = (250, 120 + shift % 100, 40)
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Receiver:
    """Decodes what arrives: energy of sounds, different pictures."""

    def __init__(self) -> None:
        self.energy = 0.0
        self.pictures: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def on_track(self, track: MediaStreamTrack) -> None:
        task = asyncio.create_task(self._listen(track) if track.kind == "audio" else self._watch(track))
        self._tasks.add(task)

    async def _listen(self, track: MediaStreamTrack) -> None:
        while True:
            frame = await track.recv()
            self.energy += float(np.mean((frame.to_ndarray().astype(np.float64) / 32768) ** 2))

    async def _watch(self, track: MediaStreamTrack) -> None:
        while True:
            frame = await track.recv()
            picture = frame.to_ndarray(format="gray")
            if picture.max() > 60:
                self.pictures.add(hash(picture[::8, ::8].tobytes()))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
async def test_chromium_and_aiortc_hear_and_see_each_other(server: str, chromium: Browser, codec: str) -> None:
    room = (await new_room(server))["room"]
    token = await new_token(server, room, "Robot")
    peer = RTCPeerConnection(RTCConfiguration(bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    receiver = Receiver()
    peer.on("track", receiver.on_track)
    peer.addTransceiver(Tone(), direction="sendonly")
    camera = peer.addTransceiver(Colours(), direction="sendonly")
    wanted = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType in (codec, "video/rtx")]
    camera.setCodecPreferences(wanted)
    for kind in ("audio", "audio", "audio", "video", "video"):
        peer.addTransceiver(kind, direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    offer: dict[str, Any] = {
        "type": "join",
        "id": 1,
        "token": token,
        "offer": peer.localDescription.sdp,
        "tracks": [
            {"mid": peer.getTransceivers()[0].mid, "source": "microphone", "muted": False},
            {"mid": camera.mid, "source": "camera", "muted": False},
        ],
    }
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{server}/v1/signal", protocols=["wadud.v1"]) as socket,
    ):
        await socket.send_json(offer)
        joined = await socket.receive_json()
        assert joined["type"] == "joined", joined
        await peer.setRemoteDescription(RTCSessionDescription(joined["answer"], "answer"))
        try:
            async with chromium_page(chromium, server) as alice:
                await join(alice, server, room, "Alice", videoCodec=codec.removeprefix("video/"))
                value = await until(
                    lambda: report(alice),
                    lambda r: hears(r) and sees(r, "Robot/camera"),
                    "Chromium hears and sees aiortc",
                )
                assert {v["codec"].lower() for v in value["video"] if v["decoded"]} == {codec.lower()}

                async def received() -> tuple[float, int]:
                    return receiver.energy, len(receiver.pictures)

                await until(received, lambda got: got[0] > 0.001 and got[1] >= 15, "aiortc hears and sees Chromium")
        finally:
            receiver.stop()
            await peer.close()
