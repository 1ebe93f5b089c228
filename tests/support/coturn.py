"""Debian's coturn, the relay that everybody knows: the foreign one in tests of ours."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.namespaces import Namespace

USER, PASSWORD, REALM = "somebody", "secret", "coturn.test"
_START_S = 10.0


def certificate(directory: Path, name: str, address: str) -> tuple[Path, Path]:
    """A self-signed certificate for a host name and an address, and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = directory / "certificate.pem", directory / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


@asynccontextmanager
async def running_coturn(directory: Path, within: Namespace, name: str, address: str, port: int) -> AsyncIterator[None]:
    """coturn in a namespace, with TLS on the port and all else on 3478, for `USER` and `PASSWORD`."""
    directory.mkdir()
    chain, key = certificate(directory, name, address)
    command = ["turnserver", "-n", "--log-file", "stdout", "--no-cli", "--no-dtls", "--lt-cred-mech"]
    command += ["--listening-ip", address, "--listening-port", "3478", "--tls-listening-port", str(port)]
    command += ["--realm", REALM, "--user", f"{USER}:{PASSWORD}", "--cert", str(chain), "--pkey", str(key)]
    command += ["--userdb", str(directory / "users"), "--pidfile", str(directory / "pid")]
    log = directory / "coturn.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*within.argv(*command), stdout=output, stderr=output)
    try:
        async with asyncio.timeout(_START_S):
            while not _listens(within, address, port):  # its log comes in blocks of 4 KiB
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _listens(within: Namespace, address: str, port: int) -> bool:
    with within.socket(kind=socket.SOCK_STREAM) as probe:
        return probe.connect_ex((address, port)) == 0
