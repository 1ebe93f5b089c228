"""What the settings mean for the relay: its credentials, its addresses and its limits."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from backplane.addresses import every_address
from backplane.settings import Settings
from backplane.startup import StartError, why
from backplane.tokens import private_key
from turn.credentials import Credentials, Secrets
from turn.node import RelayConfig
from turn.peers import PeerPolicy
from turn.relay import TurnSettings
from turn.stun import Address

_UNLIMITED = 2**31
_LOOPBACK = ("127.0.0.1", "::1")


def kept_secrets(settings: Settings) -> Secrets:
    """Those of time-limited credentials: given, or one of our own that outlives restarts. StartError when that cannot
    be kept."""
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        current = settings.relay_secret or private_key(settings.data / "relay.key").hex()
        return Secrets(current, settings.relay_secret_previous)
    except OSError as error:
        raise StartError(why(error, str(settings.data), "--data")) from None
    except ValueError as error:
        raise StartError(str(error)) from None


def users_of(settings: Settings) -> dict[str, str]:
    """Lasting credentials, name to password."""
    return dict(line.split(":", 1) for line in settings.relay_users)


def _node(text: str) -> tuple[str, int, int]:
    """Host, first and last port of an entry of `Settings.relay_nodes`."""
    host, _, ports = text.rpartition(":")
    first, _, last = ports.partition("-")
    return host.strip("[]"), int(first), int(last or first)


def reaches_nobody(settings: Settings) -> bool:
    """Whether a relay without media of its own would lead nowhere."""
    return not (settings.relay_nodes or settings.relay_allow or settings.relay_peers == "public")


def relay_config(
    settings: Settings, secrets_: Secrets, advertised: Sequence[str], media: Iterable[Address] = ()
) -> RelayConfig:
    """``advertised``: our addresses as clients know them, best first. ``media``: where our own media are received.
    StartError when the nodes cannot be relayed to."""
    relayed: dict[int, str] = {}
    for host in advertised:
        relayed.setdefault(ip_address(host).version, host)
    nodes = [(host, port) for host, first, last in map(_node, settings.relay_nodes) for port in range(first, last + 1)]
    try:
        PeerPolicy(nodes=nodes)
    except ValueError as error:
        raise StartError(f"--relay-nodes: {error}.") from None
    limits = TurnSettings(
        answer_binding=settings.stun_alternate is not None,
        quota=settings.relay_quota or _UNLIMITED,
        quota_address=settings.relay_quota_address or _UNLIMITED,
        bandwidth_bps=settings.relay_bandwidth_bps,
    )
    return RelayConfig(
        credentials=Credentials(settings.relay_realm, users_of(settings), secrets_),
        relayed=tuple(relayed.values()),
        ports=settings.relay_ports,
        own_addresses=(*_LOOPBACK, *advertised),
        machine=every_address,
        media=tuple(media),
        nodes=tuple(nodes),
        public=settings.relay_peers == "public",
        allow=settings.relay_allow,
        settings=limits,
        requests_per_s=1000 if settings.relay_quota_address else 1_000_000,
    )
