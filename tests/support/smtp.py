"""A real SMTP server for tests, in the loop of the test: it keeps what it is given, and may refuse or hang up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class SmtpServer:
    """``replies``: answers to the next messages in place of an acceptance; ``delay``: awaited before each answer."""

    port: int = 0
    received: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    connections: int = 0
    replies: list[str] = field(default_factory=list)
    hang_up_after_data: bool = False
    _server: asyncio.Server | None = None
    _open: set[SMTP] = field(default_factory=set)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Hangs up on everybody and takes nobody."""
        if self._server is not None:
            self._server.close()
            self.hang_up()
            await self._server.wait_closed()
            self._server = None

    def hang_up(self) -> None:
        for protocol in self._open:
            if protocol.transport is not None:
                protocol.transport.abort()
        self._open.clear()

    def _connected(self) -> SMTP:
        self.connections += 1
        protocol = SMTP(self, hostname="test", enable_SMTPUTF8=True)
        self._open.add(protocol)
        return protocol

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.replies:
            return self.replies.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        self.received.append(cast(EmailMessage, message_from_bytes(content, policy=policy.default)))
        self.recipients += envelope.rcpt_tos
        if self.hang_up_after_data and server.transport is not None:
            server.transport.abort()
        return "250 kept"


@pytest_asyncio.fixture
async def smtp_server() -> AsyncIterator[SmtpServer]:
    server = SmtpServer()
    await server.start()
    yield server
    await server.stop()
