"""The hostile networks are as hostile as they say: what each gate lets through, and that nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from tests.network.internet import (
    IPV6_ONLY,
    MTU_1280,
    MTU_1280_SILENT,
    ONLY_TCP_443,
    OPEN,
    OUTSIDE,
    OUTSIDE_V6,
    SERVER,
    SERVER_OTHER,
    SERVER_V6,
    SYMMETRIC_NAT,
    UDP_BLOCKED,
    Gate,
    Internet,
)
from tests.support.namespaces import Namespace, existing, namespaces

pytestmark = [pytest.mark.alone, pytest.mark.network]  # they count what there is on the machine

PATIENCE_S = 0.25  # a packet takes microseconds here
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14  # linux/in.h


@contextmanager
def udp(namespace: Namespace, address: str, port: int = 0) -> Iterator[socket.socket]:
    with namespace.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as made:
        made.bind((address, port))
        made.settimeout(PATIENCE_S)
        yield made


def arrives(sender: socket.socket, receiver: socket.socket, to: tuple[str, int], size: int = 20) -> str | None:
    """Who sent, as the receiver sees it: ``host:port``; None when nothing comes."""
    with suppress(OSError):  # told at once that it cannot be sent
        sender.sendto(bytes(size), to)
    try:
        data, source = receiver.recvfrom(65536)
    except TimeoutError:
        return None
    assert len(data) == size
    return f"{source[0]}:{source[1]}"


def connects(inside: Namespace, server: Namespace, address: str, port: int) -> str:
    """``yes``, or how a TCP connection fails: ``silence`` or ``refused``."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.socket(family, socket.SOCK_STREAM) as listener, inside.socket(family, socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        client.settimeout(PATIENCE_S)
        try:
            client.connect((address, port))
        except TimeoutError:
            return "silence"
        except OSError:
            return "refused"
        return "yes"


def answers_ping(inside: Namespace, address: str) -> bool:
    with inside.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as ping:
        ping.settimeout(PATIENCE_S)
        ping.sendto(bytes.fromhex("0800f7fe00010000"), (address, 0))
        try:
            return ping.recv(100)[20] == 0
        except TimeoutError:
            return False


def test_an_open_network_passes_everything_outwards(world: Internet) -> None:
    with world.behind(OPEN) as inside, udp(world.server, SERVER, 443) as server, udp(inside, "0.0.0.0") as client:
        mapped = arrives(client, server, (SERVER, 443))
        assert mapped is not None
        host, _, port = mapped.partition(":")
        assert arrives(server, client, (host, int(port))) == f"{SERVER}:443"
        assert connects(inside, world.server, SERVER, 3478) == "yes"
        assert answers_ping(inside, SERVER)
    with udp(world.server, SERVER, 443) as server, udp(world.outside, OUTSIDE) as client:
        assert arrives(client, server, (SERVER, 443)) is not None


def test_udp_blocked_passes_tcp_on_any_port_and_nothing_else(world: Internet) -> None:
    with world.behind(UDP_BLOCKED) as inside, udp(inside, "0.0.0.0") as client:
        for port in (443, 3478, 50000):
            with udp(world.server, SERVER, port) as server:
                assert arrives(client, server, (SERVER, port)) is None
            assert connects(inside, world.server, SERVER, port) == "yes"
        assert not answers_ping(inside, SERVER)


def test_only_tcp_443_drops_all_else_without_a_word(world: Internet) -> None:
    with (
        world.behind(ONLY_TCP_443) as inside,
        udp(inside, "0.0.0.0") as client,
        udp(world.server, SERVER, 443) as server,
    ):
        assert connects(inside, world.server, SERVER, 443) == "yes"
        for port in (80, 3478, 8080):
            assert connects(inside, world.server, SERVER, port) == "silence"
        assert arrives(client, server, (SERVER, 443)) is None
        assert not answers_ping(inside, SERVER)


def test_a_symmetric_translator_maps_by_destination_and_lets_no_stranger_in(world: Internet) -> None:
    with (
        world.behind(SYMMETRIC_NAT) as inside,
        udp(world.server, SERVER, 3478) as first,
        udp(world.server, SERVER_OTHER, 3478) as second,
        udp(world.server, SERVER, 3479) as third,
        udp(inside, "0.0.0.0") as client,
        udp(inside, "0.0.0.0") as neighbour,
    ):
        own = client.getsockname()[1]
        seen = [arrives(client, each, each.getsockname()) for each in (first, second, third)]
        assert None not in seen
        assert len(set(seen)) == 3, "another mapping for another address, and for another port"
        ports = [int(str(each).partition(":")[2]) for each in seen]
        assert own not in ports
        host = str(seen[0]).partition(":")[0]
        assert arrives(first, client, (host, ports[0])) == f"{SERVER}:3478"
        assert arrives(second, client, (host, ports[0])) is None, "no stranger comes in through a mapping"
        assert arrives(third, client, (host, ports[0])) is None
        assert arrives(neighbour, client, (host, ports[0])) is None, "nobody inside comes back in"
        assert arrives(client, first, first.getsockname()) == seen[0], "a mapping stays"


def test_an_ordinary_translator_keeps_the_port_for_all_destinations(world: Internet) -> None:
    """The probe of the symmetric one can tell the difference."""
    with (
        world.behind(OPEN) as inside,
        udp(world.server, SERVER, 3478) as first,
        udp(world.server, SERVER_OTHER, 3478) as second,
        udp(inside, "0.0.0.0") as client,
    ):
        assert arrives(client, first, first.getsockname()) == arrives(client, second, second.getsockname())


def test_an_ipv6_only_network_knows_no_ipv4(world: Internet) -> None:
    with (
        world.behind(IPV6_ONLY) as inside,
        udp(world.server, SERVER_V6, 443) as server,
        udp(inside, "::") as client,
        inside.socket(socket.AF_INET) as old,
    ):
        assert arrives(client, server, (SERVER_V6, 443)) is not None
        assert connects(inside, world.server, SERVER_V6, 443) == "yes"
        with pytest.raises(OSError, match="unreachable"):
            old.sendto(b"", (SERVER, 443))
    with udp(world.server, SERVER_V6, 443) as server, udp(world.outside, OUTSIDE_V6) as client:
        assert arrives(client, server, (SERVER_V6, 443)) is not None


@pytest.mark.parametrize(("gate", "learnt"), [(MTU_1280, 1280), (MTU_1280_SILENT, 1500)])
def test_a_narrow_link_passes_1280_octets_and_tells_or_swallows_more(world: Internet, gate: Gate, learnt: int) -> None:
    with (
        world.behind(gate) as inside,
        udp(world.server, SERVER, 443) as server,
        udp(inside, "0.0.0.0") as client,
    ):
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        mapped = arrives(client, server, (SERVER, 443), 1280 - 28)
        assert mapped is not None
        back = (mapped.partition(":")[0], int(mapped.partition(":")[2]))
        assert arrives(server, client, back, 1280 - 28) is not None
        assert arrives(client, server, (SERVER, 443), 1280 - 27) is None
        assert arrives(server, client, back, 1280 - 27) is None
        assert path_mtu(inside, SERVER) == learnt
        assert path_mtu(world.server, back[0]) == learnt
        assert bulk(inside, world.server, SERVER), "pages load"


def path_mtu(namespace: Namespace, address: str) -> int:
    with namespace.socket() as probe:
        probe.connect((address, 9))
        return probe.getsockopt(socket.IPPROTO_IP, IP_MTU)


def bulk(inside: Namespace, server: Namespace, address: str, size: int = 200_000) -> bool:
    """So many octets come down over TCP."""
    with server.socket(kind=socket.SOCK_STREAM) as listener, inside.socket(kind=socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, 8443))
        listener.listen()
        client.settimeout(2)
        client.connect((address, 8443))
        with closing(listener.accept()[0]) as accepted:
            accepted.setblocking(False)
            sent = got = 0
            while got < size:
                if sent < size:
                    with suppress(BlockingIOError):
                        sent += accepted.send(bytes(size - sent))
                try:
                    got += len(client.recv(65536))
                except TimeoutError:
                    return False
    return True


def test_nothing_of_it_is_seen_outside_and_nothing_stays(world: Internet) -> None:
    def ours() -> list[str]:
        return [name for name in existing() if f"-{os.getpid()}-" in name]

    def own_network() -> list[str]:
        commands = (["ip", "-br", "addr"], ["ip", "route"], ["nft", "list", "ruleset"])
        return [subprocess.run(each, capture_output=True, text=True, check=True).stdout for each in commands]

    before, names = own_network(), ours()
    with world.behind(UDP_BLOCKED) as inside:
        sleeper = subprocess.Popen(inside.argv("sleep", "1000"))
        while not inside.programs():
            assert sleeper.poll() is None
        assert own_network() == before
        assert len(ours()) == len(names) + 2
        assert inside.programs() == [sleeper.pid]
    assert sleeper.wait() == -signal.SIGKILL
    assert ours() == names
    assert own_network() == before


def test_the_network_of_a_killed_run_is_removed_with_its_programs_by_the_next(world: Internet) -> None:
    script = (
        "import os, signal, subprocess\n"
        "from tests.support.namespaces import namespaces\n"
        "with namespaces('orphan') as (orphan,):\n"
        "    sleeper = subprocess.Popen(orphan.argv('sleep', '1000'), stdout=-3, stderr=-3)\n"
        "    while orphan.programs() != [sleeper.pid]: pass\n"
        "    print(orphan.name, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    orphan = Namespace(done.stdout.strip())
    assert orphan.name in existing(), done.stderr
    assert len(orphan.programs()) == 1
    [sleeper] = orphan.programs()
    with namespaces("next"):
        assert orphan.name not in existing()
    assert not is_running(sleeper)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
