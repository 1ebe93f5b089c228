"""Fuzzes the TURN server: `python tests/fuzz/turn_fuzz.py --minutes 60` for a long run, `fuzz_one` for the bounded run
under pytest.

A round is a whole life of one server: some clients send real requests, mutated before or after they are signed (the
signed ones reach the transactions, the others must end at the check), and time goes on between. What must hold: nothing
raises and nothing is answered with 500; without the right password nobody gets more than a small error and changes
nothing; every address that is permitted is one that the policy allows; commands name living allocations only; in the
end nothing is left.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.turn.world import FOREIGN, FOREIGN_IPV6, MEDIA, UNIX, RecordingTcp, World
from turn import attributes as names
from turn.peers import Verdict
from turn.plane import Client
from turn.relay import TurnSettings
from turn.stun import MessageClass, StunError, build, decode_error, encode_uint32, encode_xor_address, parse

METHODS = (
    names.ALLOCATE,
    names.ALLOCATE,
    names.REFRESH,
    names.CREATE_PERMISSION,
    names.CHANNEL_BIND,
    names.CONNECT,
    names.CONNECTION_BIND,
)
HOSTS = (
    FOREIGN,
    FOREIGN,
    FOREIGN_IPV6,
    MEDIA[0],
    MEDIA[0],
    "127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::808:808",
    "8.8.4.4",
    "2002:a00:1::",
)
OUTGROWN = 64  # an answer to a stranger holds the realm and a phrase beside the nonce that the request brought
STRANGE = (b"", b"\0", bytes(4), b"\xff" * 4, bytes(8), b"\xff" * 8, bytes(20), b"\xff" * 20, b"x" * 300)


class Round:
    """One server and what was seen of it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tcp = RecordingTcp()
        settings = TurnSettings(quota=rng.choice((1, 5)), mobility=rng.random() < 0.8, max_allocations=6)
        self.world = World(settings, ports=(50000, 50007), tcp=self.tcp, seed=rng.getrandbits(32))
        self.world.sockets.taken = lambda address: rng.random() < 0.1
        self.clients = [
            self.world.client(1),
            self.world.client(2, host="2001:db8:5::1"),
            self.world.client(3, stream=1),
            self.world.client(4, stream=2),
        ]
        self.given: list[bytes] = [b""]  # tickets and tokens
        self.sent: list[tuple[Client, bytes]] = []

    def user(self, client: Client) -> tuple[str, bytes]:
        """Mostly the one that belongs to that client, with a credential of now."""
        number = client.port % 3 if self.rng.random() < 0.9 else self.rng.randrange(3)
        lives_s = self.rng.choice((1, 700, 4000))
        return self.world.visitor(("alice", "bob")[number - 1], lives_s) if number else self.world.user()

    def attributes(self, method: int, transaction: bytes) -> list[tuple[int, bytes]]:
        """Those of a request that makes sense, and perhaps some that do not."""
        rng = self.rng
        peer = (names.XOR_PEER_ADDRESS, encode_xor_address((rng.choice(HOSTS), rng.choice((0, 5000, 9))), transaction))
        found: list[tuple[int, bytes]] = []
        if method == names.ALLOCATE:
            found.append((names.REQUESTED_TRANSPORT, bytes((rng.choice((17,) * 8 + (6, 6, 132)), 0, 0, 0))))
            optional = (
                (names.EVEN_PORT, rng.choice((b"\0", b"\x80"))),
                (names.RESERVATION_TOKEN, rng.choice(self.given[-4:])),
                (names.REQUESTED_ADDRESS_FAMILY, bytes((rng.randrange(4), 0, 0, 0))),
                (names.ADDITIONAL_ADDRESS_FAMILY, bytes((rng.randrange(4), 0, 0, 0))),
                (names.DONT_FRAGMENT, b""),
            )
            found.extend(each for each in optional if rng.random() < 0.12)
            if rng.random() < 0.4:
                found.append((names.MOBILITY_TICKET, b""))
        elif method == names.REFRESH:
            if rng.random() < 0.3:
                found.append((names.MOBILITY_TICKET, rng.choice(self.given[-4:])))
            if rng.random() < 0.2:
                found.append((names.REQUESTED_ADDRESS_FAMILY, bytes((rng.randrange(4), 0, 0, 0))))
        elif method == names.CHANNEL_BIND:
            number = rng.choice((0x4000, 0x4001, 0x4FFF, 0x7FFF, rng.randrange(65536)))
            found += [(names.CHANNEL_NUMBER, number.to_bytes(2, "big") + b"\0\0"), peer]
        elif method == names.CONNECTION_BIND:
            found.append((names.CONNECTION_ID, encode_uint32(rng.randrange(3))))
        else:
            found += [peer] * rng.choice((0, 1, 1, 1, 3))
        if rng.random() < 0.3:
            found.append((names.LIFETIME, encode_uint32(rng.choice((0, 600, 3000, 2**32 - 1)))))
        for _ in range(rng.choice((0, 0, 0, 0, 0, 1, 3))):
            known = rng.choice((*sorted(names.UNDERSTOOD), names.MOBILITY_TICKET, 0x8000, 0x8099, 0x7FF0))
            found.insert(rng.randrange(len(found) + 1), (known, rng.choice(STRANGE)))
        return [each for each in found if each[0] != names.MESSAGE_INTEGRITY]

    def request(self, client: Client) -> tuple[bytes, bool]:
        """A message, and whether its password was wrong or it was changed after it was signed."""
        rng, world = self.rng, self.world
        method = rng.choice(METHODS)
        transaction = rng.randbytes(12)
        user = self.user(client)
        wrong = rng.random() < 0.05
        if wrong:
            user = (user[0], rng.randbytes(16))
        data = world.request(
            method,
            *self.attributes(method, transaction),
            user=user,
            transaction=transaction,
            fingerprint=rng.random() < 0.2,
        )
        if rng.random() < 0.8:
            return data, wrong
        return mutate(data, rng), True

    def step(self) -> bool:
        """One message; True when it was answered by success."""
        rng, world = self.rng, self.world
        if self.sent and rng.random() < 0.1:
            client, data = rng.choice(self.sent)
            forged = False
        else:
            client = rng.choice(self.clients)
            data, forged = self.request(client)
        commands, replies = len(world.plane.commands), len(world.plane.replies)
        table = len(world.server._relay.table)
        world.server.handle_request(client, data, world.now)
        answers = world.plane.replies[replies:]
        assert len(answers) <= 1
        for recipient, answer in answers:
            assert recipient == client
            self.check_answer(data, answer, forged)
        if forged and not self.proven(data):
            assert world.plane.commands[commands:] == []
            assert len(world.server._relay.table) == table
        elif not forged:
            self.sent.append((client, data))
        self.check_commands(commands)
        self.around()
        return bool(answers) and parse(answers[0][1]).kind is MessageClass.SUCCESS

    def proven(self, data: bytes) -> bool:
        """Whether a mutation left everything that is signed as it was."""
        try:
            message = parse(data)
        except StunError:
            return False
        return self.world.credentials.authenticate(message, self.world.now + UNIX - 1000) is not None

    def check_answer(self, request: bytes, answer: bytes, forged: bool) -> None:
        asked, parsed = parse(request), parse(answer)
        assert (parsed.method, parsed.transaction) == (asked.method, asked.transaction)
        code = parsed.attributes.get(names.ERROR_CODE)
        assert (code is not None) == (parsed.kind is MessageClass.ERROR)
        assert code is None or decode_error(code) != 500
        if forged and not self.proven(request):
            assert code is not None
            assert decode_error(code) in (400, 401)
            assert len(answer) <= len(request) + OUTGROWN
        for kind in (names.MOBILITY_TICKET, names.RESERVATION_TOKEN):
            if kind in parsed.attributes:
                self.given.append(parsed.attributes[kind])

    def check_commands(self, since: int) -> None:
        world = self.world
        alive = {each.number for each in world.server._relay.table}
        for name, number, *rest in world.plane.commands[since:]:
            assert name == "remove_allocation" or number in alive
            if name == "permit" and rest[1]:
                verdict = world.peers.decide(rest[0])
                assert verdict in ((Verdict.MEDIA_ONLY, Verdict.MEDIA_ELSEWHERE) if rest[2] else (Verdict.ALLOWED,))
            if name == "bind_channel":
                assert names.FIRST_CHANNEL <= rest[0] <= names.LAST_CHANNEL
                assert world.peers.reaches(*rest[1])

    def around(self) -> None:
        """What happens beside requests."""
        rng, world = self.rng, self.world
        chance = rng.random()
        if chance < 0.05:
            world.pass_time(rng.choice((0.5, 31.0, 41.0, 301.0, 601.0)))
        elif chance < 0.12:
            world.server.stream_closed(rng.randrange(4))
        elif chance < 0.13:
            world.server.revoke("alice")
            world.credentials.restore("alice")
        elif chance < 0.3 and self.tcp.pending:
            code = rng.choice((0, 0, 446, 447))
            self.tcp.pending.pop()(code, 0 if code else 1)
            self.tcp.waiting[1] = rng.randrange(1, 20)

    def end(self) -> None:
        """All runs out."""
        world = self.world
        world.pass_time(3601)
        assert world.server.allocations == 0
        assert all(pool.in_use == 0 for pool in world.pools.values())
        handed_over = {command[2] for command in world.plane.named("open_relayed")}
        assert set(world.sockets.open_fds) <= handed_over


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Changed bytes, swapped and cut pieces; sometimes with the length put right again."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.choice((0, 1, 4, 0x7F, 0x80, 0xFF))
            case 2:
                changed[at:at] = rng.choice((b"\0", b"\x00\x0d\x00\x04\0\0\0\0", b"\x80\x28\0\4abcd", rng.randbytes(4)))
            case 3:
                del changed[at : at + rng.choice((1, 4, 24))]
            case _:
                start = rng.randrange(len(changed) + 1)
                changed[at:at] = changed[start : start + rng.choice((4, 8, 24))]
    if len(changed) >= 20 and rng.random() < 0.7:
        changed += bytes(-len(changed) % 4)
        changed[2:4] = (len(changed) - 20 & 0xFFFF).to_bytes(2, "big")
    return bytes(changed)


def fuzz_one(rng: random.Random, steps: int = 150) -> int:
    """One life of a server; how many requests succeeded."""
    life = Round(rng)
    succeeded = sum(life.step() for _ in range(steps))
    life.end()
    return succeeded


def fuzz_parse(rng: random.Random) -> bool:
    """One mutated message; True when it still is one. What parses is built again from its parts."""
    attributes = [(rng.choice(tuple(names.UNDERSTOOD)), rng.choice(STRANGE)) for _ in range(rng.randrange(8))]
    kind = rng.choice(tuple(MessageClass))
    method = rng.choice(METHODS)
    data = mutate(build(method, kind, rng.randbytes(12), attributes, fingerprint=rng.random() < 0.3), rng)
    try:
        message = parse(data)
        again = parse(build(message.method, message.kind, message.transaction, message.attributes.items()))
        assert again.attributes == message.attributes
        message.addresses()
    except StunError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument(
        "--seed", type=int, default=None, help="repeat a run; a random one is taken and printed without"
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
    end, rounds, succeeded = time.monotonic() + 60 * options.minutes, 0, 0
    print(f"seed {seed}")
    while time.monotonic() < end:
        rng = random.Random(f"{seed}:{rounds}")
        try:
            succeeded += fuzz_one(rng)
            fuzz_parse(rng)
        except Exception:
            print(f"failing round: {rounds}", file=sys.stderr)
            raise
        rounds += 1
    print(f"{rounds} servers, {succeeded} requests succeeded, nothing found")


if __name__ == "__main__":
    main()
