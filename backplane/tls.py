"""TLS for servers from certificate files, read again when they change.

Every connection asks for `ServerTls.context` when it begins. A new pair is loaded into a context of its own first, so a
half-written or mismatched one changes nothing: connections that are open keep the context that they began with, new
ones get the last that was whole. Renewal tools replace links or files, which shows in inode, size or time of change.

TLS 1.2 with forward secrecy and authenticated encryption at least (RFC 9325 section 4). ALPN (RFC 7301): ``stun.turn``
(RFC 7443), which nobody offers who does not mean it, before ``http/1.1``; whoever offers neither is served all the same
and told apart by the first bytes.
"""

import asyncio
import ipaddress
import os
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

from backplane.certificates import self_signed
from backplane.logs import Log

ALPN_HTTP: Final = "http/1.1"
ALPN_TURN: Final = "stun.turn"
POLL_S: Final = 5.0
_RENEW_BEFORE_S: Final = 30 * 86400
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are good as they are
_log = Log(__name__)

Signature = tuple[tuple[int, int, int, int], ...]


class TlsError(Exception):
    """The certificate cannot be used. The text says why."""


class ServerTls:
    """The certificate and key of one server. ``key`` None: in the file of the certificate.

    ``counters``: reloads and failures of such.

    Raises:
        TlsError: the files cannot be read or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        self._certificate = certificate
        self._key = key
        self.counters: Counter[str] = Counter({"reloaded": 0, "reload_failed": 0})
        self._signature = self._look()
        try:
            self.context = server_context(certificate, key)
        except (OSError, ValueError) as error:
            raise TlsError(_why(error, certificate, key)) from None

    def reload_when_changed(self) -> bool:
        """Look at the files; True when the next connection gets a new certificate. Never raises for a broken pair."""
        seen = self._look()
        if seen == self._signature:
            return False
        self._signature = seen  # before loading: what is written meanwhile shows at the next look
        return self.reload()

    def reload(self) -> bool:
        """Load the files, changed or not; the old pair stays when the new one cannot be used."""
        try:
            self.context = server_context(self._certificate, self._key)
        except (OSError, ValueError):
            self.counters["reload_failed"] += 1
            _log.warning("certificate not reloaded", kind="tls")
            return False
        self.counters["reloaded"] += 1
        _log.info("certificate reloaded", kind="tls")
        return True

    async def watch(self, every_s: float = POLL_S) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            self.reload_when_changed()

    def _look(self) -> Signature:
        found = []
        for path in (self._certificate, self._key or self._certificate):
            try:
                status = os.stat(path)  # noqa: PTH116 - follows the links that renewal tools swap
                found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
            except OSError:
                found.append((0, 0, 0, 0))
        return tuple(found)


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """A context for accepted connections. OSError (ssl.SSLError is one) or ValueError when the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN_TURN, ALPN_HTTP])
    context.load_cert_chain(certificate, key, password=_no_password)
    return context


def _no_password() -> str:
    """Without this, OpenSSL would ask on the terminal."""
    raise ValueError("the private key is encrypted")


def _why(error: Exception, certificate: Path, key: Path | None) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{key or certificate} is not the private key of {certificate}."
        return f"{certificate} and {key or 'the key in it'} are not a certificate and its private key in PEM form."
    if isinstance(error, OSError):
        unread = next((path for path in (certificate, key) if path and not os.access(path, os.R_OK)), certificate)
        return f"{unread} cannot be read ({os.strerror(error.errno or 0)})."
    return f"{key or certificate}: the private key is encrypted. Give it without a passphrase, readable to us only."


def try_out_certificate(data: Path, names: Sequence[str], now: float) -> tuple[Path, Path]:
    """A certificate of our own making and its key, kept in ``data`` so that a browser's exception outlives a restart.

    ``names``: host names and addresses that it must be good for. A new one is made when they are not all in it or when
    it ends within a month. ``now``: unix seconds. OSError when ``data`` cannot be written.
    """
    folder = data / "tls"
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    wanted = [name for name in dict.fromkeys((*names, "localhost", "127.0.0.1", "::1")) if not _wildcard(name)]
    if not (key.exists() and _covers(certificate, wanted, now)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made, private = self_signed(now, wanted)
        _write(key, private)
        _write(certificate, made)
    return certificate, key


def _wildcard(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return not name


def _covers(path: Path, names: Sequence[str], now: float) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    good_for = {str(name.value) for name in known}
    return certificate.not_valid_after_utc.timestamp() - now > _RENEW_BEFORE_S and good_for >= set(names)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, readable to us only."""
    beside = path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.replace(path)
