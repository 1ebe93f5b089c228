"""The certificate of our DTLS associations: self-signed, ECDSA on P-256, new with every start.

Nobody checks who signed it: each call's SDP carries its fingerprint over the signalling channel (RFC 8122, RFC 8827
section 6.5). Small, so that the ServerHello flight fits few datagrams.
"""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_LIFETIME = timedelta(days=365)
_BACKDATED = timedelta(days=1)  # peers whose clock is behind


def self_signed(now: float) -> tuple[bytes, bytes]:
    """Certificate and private key as PEM, valid around ``now`` (unix seconds)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wadud")])
    moment = datetime.fromtimestamp(now, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _BACKDATED)
        .not_valid_after(moment + _LIFETIME)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private
