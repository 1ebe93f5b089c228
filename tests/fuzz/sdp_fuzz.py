"""Fuzzes offers: `python tests/fuzz/sdp_fuzz.py --minutes 60` for a long run, `--coverage` to let atheris guide it,
`fuzz_one` for the bounded run under pytest.

What must hold for any text: `parse` raises nothing but SdpError; an offer that is answered gives an answer that parses,
keeps every m-line in its place and fits what the worker takes; the same holds when the offer comes as a renegotiation.
Mutations know the grammar (lines and fields of real offers are swapped, doubled, dropped, spliced) besides flipping
characters. A failing text is written to a file and named.
"""

import argparse
import importlib
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__" and "--coverage" in sys.argv:
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

    with atheris.instrument_imports(include=["rtc"]):
        importlib.import_module("rtc.sdp_answer")

from rtc import sdp
from rtc.ice import host_candidates, make_credentials
from rtc.sdp import SdpError, parse
from rtc.sdp_answer import LineRole, LocalSide, Negotiated, negotiate
from rtc.sdp_codecs import MAX_WORKER_CODECS

SEEDS = Path(__file__).resolve().parents[1] / "rtc" / "sdp"
LOCAL = LocalSide(1, bytes(32), host_candidates([("192.0.2.9", 5000), ("2001:db8::9", 5000)]), "fuzz")
HOSTILE = [
    "",
    " ",
    "0",
    "-1",
    "65536",
    "4294967296",
    "99999999999999999999999999",
    "٣",
    "a=",
    "*",
    "\t",
    "\0",
    "é",
    "/",
    ":",
    ";",
    "=",
    "x" * 300,
    "sendonly",
    "inactive",
    "m=video 0 UDP/TLS/RTP/SAVPF 96",
    "a=bundle-only",
    "a=mid:0",
    "a=simulcast:send q;h;f",
    "a=rtcp-fb:* nack",
    "a=ssrc-group:SIM",
    "a=ssrc-group:FID 1",
    "a=extmap:1/sendonly urn:x",
    "a=group:BUNDLE",
]


def seeds() -> list[str]:
    return [path.read_bytes().decode() for path in sorted(SEEDS.rglob("*.sdp")) if path.stat().st_size < 14_000]


def mutate(text: str, corpus: list[str], rng: random.Random) -> str:
    """A few random changes."""
    lines = text.replace("\r\n", "\n").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3, 8, 30))):
        at = rng.randrange(len(lines))
        match rng.randrange(9):
            case 0:
                lines.insert(at, rng.choice(HOSTILE))
            case 1:
                lines.insert(at, rng.choice(lines))
            case 2 if len(lines) > 1:
                del lines[at]
            case 3:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case 4:
                fields = lines[at].split(" ")
                fields[rng.randrange(len(fields))] = rng.choice(HOSTILE)
                lines[at] = " ".join(fields)
            case 5:
                donor = rng.choice(corpus).replace("\r\n", "\n").split("\n")
                start = rng.randrange(len(donor))
                lines[at:at] = donor[start : start + rng.choice((1, 3, 40))]
            case 6 if lines[at]:
                position = rng.randrange(len(lines[at]))
                lines[at] = lines[at][:position] + chr(rng.randrange(256)) + lines[at][position + 1 :]
            case 7:
                lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
            case _:
                lines[at] = lines[at].replace(rng.choice("0123456789"), rng.choice("0123456789"))
    return rng.choice(("\r\n", "\r\n", "\n")).join(lines)


def _respond(text: str, previous: Negotiated | None, rng: random.Random) -> Negotiated | None:
    """The negotiation of an acceptable text; AssertionError or anything but SdpError is a find."""
    try:
        offer = parse(text)
    except SdpError:
        return None
    mids = [media.mid for media in offer.media if media.mid]
    try:
        negotiated = negotiate(
            offer,
            LOCAL,
            new_credentials=lambda: make_credentials(0, rng.randbytes),
            new_ssrc=lambda: rng.getrandbits(32),
            publishing=mids[:2] if rng.random() < 0.5 else (),
            may_subscribe=rng.random() < 0.9,
            previous=previous,
        )
    except SdpError:
        return None
    reply = parse(negotiated.answer)
    assert len(negotiated.answer) <= sdp.MAX_BYTES
    assert len(reply.media) == len(offer.media) == len(negotiated.lines)
    carried = 0
    for offered, answered, line in zip(offer.media, reply.media, negotiated.lines):
        assert answered.kind == offered.kind
        assert answered.mid == offered.mid
        assert answered.rejected == (line.role is LineRole.REJECTED)
        assert len(line.codecs) <= MAX_WORKER_CODECS
        if line.role is LineRole.REJECTED:
            assert answered.mid not in reply.bundle
            continue
        carried += 1
        assert line.codecs
        assert answered.mid in reply.bundle
        assert {payload.number for payload in answered.payload_types} <= {p.number for p in offered.payload_types}
        assert (line.role is LineRole.SLOT) == bool(answered.ssrcs)
        assert not answered.direction.sends or offered.direction.receives
        assert not answered.direction.receives or offered.direction.sends
        for codec in line.codecs:
            assert 0 <= codec["payload_type"] <= 127
            assert 0 <= codec["variant"] <= 255
        for number in line.extensions.values():
            assert 1 <= int(str(number)) <= 14
    assert carried == len(reply.bundle) > 0
    return negotiated


def fuzz_one(corpus: list[str], rng: random.Random) -> bool:
    """One mutated offer, and another one after it; True when the first was answered."""
    text = rng.choice(corpus)
    first = mutate(text, corpus, rng)
    second = mutate(first if rng.random() < 0.5 else text, corpus, rng)
    stage = first
    try:
        negotiated = _respond(first, None, rng)
        stage = second
        _respond(second, negotiated, rng)
    except Exception:
        with tempfile.NamedTemporaryFile("w", suffix=".sdp", prefix="wadud-fuzz-", delete=False, newline="") as file:
            file.write(stage)
        print(f"failing offer kept in {file.name}", file=sys.stderr)
        raise
    return negotiated is not None


def run_by_coverage(minutes: float, seed: int) -> None:
    """The same checks with libFuzzer choosing what to keep; needs the package atheris. Does not return."""
    corpus = seeds()

    def test_one(data: bytes) -> None:
        _respond(data.decode(errors="replace"), None, random.Random(0))

    def custom_mutator(data: bytes, max_size: int, chance: int) -> bytes:
        return mutate(data.decode(errors="replace"), corpus, random.Random(chance)).encode(errors="replace")[:max_size]

    folder = Path(tempfile.mkdtemp(prefix="wadud-fuzz-"))
    for index, text in enumerate(corpus):
        (folder / f"{index}.sdp").write_bytes(text.encode())
    arguments = [
        f"-max_total_time={int(60 * minutes)}",
        f"-seed={seed}",
        "-max_len=65536",
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup([sys.argv[0], *arguments, str(folder)], test_one, custom_mutator=custom_mutator)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument(
        "--seed", type=int, default=None, help="repeat a run; a random one is taken and printed without"
    )
    parser.add_argument("--coverage", action="store_true", help="guided by coverage, with the package atheris")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
    if options.coverage:
        run_by_coverage(options.minutes, seed)
    rng, corpus = random.Random(seed), seeds()
    end, runs, answered = time.monotonic() + 60 * options.minutes, 0, 0
    print(f"seed {seed}, {len(corpus)} offers to start from")
    while time.monotonic() < end:
        for _ in range(100):
            answered += fuzz_one(corpus, rng)
        runs += 100
    print(f"{runs} offers, {answered} of them answered, nothing found")


if __name__ == "__main__":
    main()
