"""Debian's Firefox ESR, driven over WebDriver BiDi (W3C), which it speaks itself: no driver program, no patched build.

Only what the call tests need: start with fake camera and microphone, open a page, evaluate a promise in it, end.
"""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import AddrInfoType

from tests.support.namespaces import Namespace

PREFERENCES: dict[str, object] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.getusermedia.insecure.enabled": True,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.gmp-manager.updateEnabled": False,
    "app.update.enabled": False,
    "app.normandy.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.healthreport.uploadEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "extensions.update.enabled": False,
    "services.settings.server": "data:,",
}


class FirefoxError(Exception):
    """The browser refused a command, or the page's script threw."""


def _plain(value: dict[str, Any]) -> Any:
    """A BiDi remote value as plain Python (script.RemoteValue)."""
    kind = value.get("type")
    if kind in ("undefined", "null"):
        return None
    if kind == "array":
        return [_plain(item) for item in value.get("value", [])]
    if kind == "object":
        return {key: _plain(item) for key, item in value.get("value", [])}
    return value.get("value")


class Firefox:
    """One headless browser with one tab; ``within`` a namespace it has that network only. Any certificate will do, for
    pages and for TURN over TLS."""

    def __init__(self, profile: Path, within: Namespace | None = None) -> None:
        self._profile = profile
        self._within = within
        self._next = 0

    async def __aenter__(self) -> Firefox:
        lines = [f"user_pref({_js(name)}, {_js(value)});" for name, value in PREFERENCES.items()]
        (self._profile / "user.js").write_text("\n".join(lines))
        command = ["firefox-esr", "--headless", "--no-remote", "--profile", str(self._profile)]
        command += ["--remote-debugging-port", "0", "about:blank"]
        self._process = await asyncio.create_subprocess_exec(
            *(command if self._within is None else self._within.argv(*command)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(self._profile), "PATH": "/usr/bin:/bin", "MOZ_CRASHREPORTER_DISABLE": "1"},
        )
        try:
            address = await asyncio.wait_for(self._listening(), 60)
            self._drain = asyncio.create_task(self._discard())
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=self._new_socket))
            self._socket = await self._http.ws_connect(f"{address}/session", max_msg_size=1 << 26)
            await self.command("session.new", {"capabilities": {"alwaysMatch": {"acceptInsecureCerts": True}}})
            tree = await self.command("browsingContext.getTree", {})
            self._tab = tree["contexts"][0]["context"]
        except BaseException:
            self._process.kill()
            raise
        return self

    def _new_socket(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        if self._within is None:
            made = socket.socket(family, kind, protocol)
        else:
            made = self._within.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    async def _listening(self) -> str:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            if found := re.search(rb"BiDi listening on (ws://\S+)", line):
                return found[1].decode()
        raise FirefoxError("the browser ended before it listened")

    async def _discard(self) -> None:
        assert self._process.stderr is not None
        while await self._process.stderr.readline():
            pass

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._http.close()
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._drain.cancel()

    async def command(self, method: str, params: dict[str, Any], timeout: float = 60) -> dict[str, Any]:
        """Send one command; its result. FirefoxError with the browser's words when it fails."""
        self._next += 1
        number = self._next
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(timeout):
            while True:
                answer = await self._socket.receive_json()
                if answer.get("id") != number:
                    continue
                if answer["type"] == "error":
                    raise FirefoxError(f"{method}: {answer['error']}: {answer['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    async def goto(self, url: str) -> None:
        await self.command("browsingContext.navigate", {"context": self._tab, "url": url, "wait": "complete"})

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        result = await self.command(
            "script.evaluate",
            {
                "expression": expression,
                "target": {"context": self._tab},
                "awaitPromise": True,
                "userActivation": True,
                "serializationOptions": {"maxObjectDepth": 8},
            },
        )
        if result["type"] == "exception":
            raise FirefoxError(result["exceptionDetails"]["text"])
        return _plain(result["result"])


def _js(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else f'"{value}"'
