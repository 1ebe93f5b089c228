"""Ports at which a relay reaches peers that are not known media: media ports of strangers, and no service.

A relay hides who talks, so one that reaches every port is an open proxy: for mail, for guessing passwords, for queries
to servers that answer with far more than they were asked. What a peer of a call listens on is, as a rule, a port that
its system chose. So with TCP (RFC 6062) only ports are open from which systems choose (Linux from 32768, others from
49152, RFC 6335 section 6), and with UDP, where media servers have fixed ports of their own, all but those of
`CLOSED`. In both directions: what comes from a closed port is no media either.

Of the ports that systems choose from, as few are closed as can be: whoever gets one of them is not reached.

Two of the fixed ones are left open for UDP on purpose. 443: media servers, our own among them, are put there to be
reached from strict networks; QUIC, which lives there too, sends three times what it got at most before an address is
proved (RFC 9000 section 8.1). 3478: media servers are there as well, and an answer to a STUN request is hardly longer
than the request. With TCP both are closed: behind 443 is the web, behind 3478 the next relay.
"""

from typing import Final

PORTS: Final = 65536
FIRST_TCP: Final = 32768
MEDIA_BELOW_1024: Final = frozenset({443})
NODES_BELOW_1024: Final = range(443, 443 + 16)  # of a server of ours with so many workers, each on a port of its own

CLOSED: Final = {
    1080: "SOCKS proxies",
    1194: "OpenVPN",
    1434: "Microsoft SQL Server's browser: amplifies",
    1645: "RADIUS, the older number",
    1646: "RADIUS accounting, the older number",
    1701: "L2TP: amplifies",
    1718: "H.323 gatekeeper discovery",
    1719: "H.323 gatekeepers",
    1812: "RADIUS",
    1813: "RADIUS accounting",
    1900: "SSDP: amplifies",
    2049: "NFS",
    2123: "GTP-C, inside of mobile networks",
    2152: "GTP-U, inside of mobile networks",
    2302: "game servers (DayZ, Arma): amplify",
    3074: "game consoles: a target of floods",
    3128: "web proxies",
    3283: "Apple Remote Desktop: amplifies",
    3389: "RDP: amplifies, and passwords are guessed there",
    3391: "RDP gateways",
    3702: "WS-Discovery: amplifies",
    4500: "IPsec behind NAT",
    4789: "VXLAN, inside of data centres",
    5060: "SIP: calls at somebody else's cost",
    5061: "SIP over TLS",
    5093: "Sentinel licence servers: amplify",
    5351: "NAT-PMP and PCP: open ports in routers",
    5353: "mDNS: amplifies",
    5355: "LLMNR",
    5632: "pcAnywhere",
    5683: "CoAP: amplifies",
    5684: "CoAP over DTLS",
    6081: "Geneve, inside of data centres",
    6881: "BitTorrent's hash table: amplifies",
    7777: "game servers: amplify",
    9987: "TeamSpeak: amplifies",
    10001: "Ubiquiti's discovery: amplifies",
    10074: "Mitel gateways: amplify without measure",
    11211: "memcached: amplifies, more than anything else",
    17185: "VxWorks' debugger",
    19132: "Minecraft",
    25565: "Minecraft",
    26000: "Quake: amplifies",
    27005: "Steam: amplifies",
    27015: "Steam: amplifies",
    27036: "Steam: amplifies",
    27960: "Quake 3: amplifies",
    28015: "Rust (the game)",
    30120: "FiveM: amplifies",
    30718: "Lantronix's set-up",
    32410: "Plex discovery: amplifies",
    32412: "Plex discovery: amplifies",
    32413: "Plex discovery: amplifies",
    32414: "Plex discovery: amplifies",
    33848: "Jenkins' discovery: amplifies",
    37020: "Hikvision's discovery: amplifies",
    37810: "video recorders (DHCPDiscover): amplify",
    41794: "Crestron's discovery: amplifies",
    47808: "BACnet: amplifies",
}
"""Port -> what listens there."""


def is_open(port: int, *, tcp: bool = False) -> bool:
    """Whether a peer may have that port. Never for 0."""
    if tcp:
        return FIRST_TCP <= port < PORTS and port not in CLOSED
    return port in MEDIA_BELOW_1024 or (1024 <= port < PORTS and port not in CLOSED)


def may_be_ours(port: int) -> bool:
    """Whether a server of ours may be said to receive media there."""
    return port in NODES_BELOW_1024 or is_open(port)


def port_set() -> bytes:
    """The open ports for UDP, as `rtc._worker.Worker.configure_relay` wants them."""
    found = bytearray(PORTS // 8)
    for port in range(PORTS):
        if is_open(port):
            found[port >> 3] |= 1 << (port & 7)
    return bytes(found)
