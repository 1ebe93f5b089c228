"""Builds and runs the libFuzzer targets of the packet path under AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/fuzz/run.py --minutes 60              every target in turn, 60 minutes in all
    python tests/fuzz/run.py --minutes 60 router srtp  only these
    build/fuzz/router FILE                             once more the input of a failure

A target is a C file with the invariants in its head comment; it sees the sources as they are, without Python. What
it finds interesting is kept in build/fuzz/corpus and starts the next run. An input that breaks an invariant or that
a sanitizer complains of is written to build/fuzz/failures, named, and the exit status is 1. Needs clang.
"""

import argparse
import concurrent.futures
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NATIVE, HERE, BUILD = ROOT / "rtc" / "native", ROOT / "tests" / "fuzz", ROOT / "build" / "fuzz"
WIRE = ["srtp.c", "srtp_ipsec.c", "stun.c", "rtp.c", "rtcp.c", "twcc.c", "payload.c"]
ROUTER = [
    *["router.c", "router_transports.c", "router_tracks.c", "prefetch.c", "events.c", "keys.c", "destination.c"],
    *["ice.c", "handshake.c", "path.c", "path_validation.c", "trial.c"],
    *["ingress.c", "fanout.c", "delivery.c", "repair.c", "feedback.c", "limit.c", "keyframes.c"],
    *WIRE,
]
STREAM = ["stream.c", "stream_queue.c"]
RELAY = ["relay.c", "relay_egress.c", "relay_gate.c", "relay_path.c", "stun.c"]
TARGETS = {
    "stun": ["stun.c"],
    "rtp": ["rtp.c"],
    "rtcp": ["rtcp.c", "twcc.c"],
    "twcc": ["rtcp.c", "twcc.c"],
    "payload": ["payload.c"],
    "srtp": ["srtp.c", "srtp_ipsec.c"],
    "router": ROUTER,
    "stream": STREAM,
    "relay": RELAY,
}
"""Name -> the sources that `<name>_fuzz.c` is linked with."""
COMPILE = ["clang", "-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-fno-strict-aliasing", "-fno-sanitize-recover=all"]
SANITIZERS = "address,undefined"
MAX_INPUT = {
    "stun": 1500,
    "rtp": 1500,
    "rtcp": 1500,
    "twcc": 2000,
    "payload": 1500,
    "srtp": 4000,
    "router": 12_000,
    "stream": 8000,
    "relay": 8000,
}
LONGEST_INPUT_S = 10
SEEDS = {
    "stun": [
        "00000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008"
        "932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf",
        "22" + b"key!".hex() + "0001000600036162630000240004000000010025000000080014" + 20 * "11",
        "25" + b"key!".hex() + 12 * "aa" + "02bc" + "6e0001ff" + 8 * "bb" + "0101" + "0003616263",
        "26" + b"key!".hex() + 12 * "aa" + "02bc" + "0d9600" + 16 * "fd",
        "27" + b"key!".hex() + 12 * "aa" + "02bc" + "0078" + "027ffe7fff" + "03616263",
    ],
    "rtp": [
        "0090e012340000567800009abcbede0002104121424300000070617930",
        "03b1e000010000000000000009000000001000000101014100",
    ],
    "rtcp": [
        "00057880c8000611111111000000000000000100000002000000030000000480cd0003111111112222222200051234",
        "0105788fcd00041111111122222222000100020000080020020500",
        "00057881c900070000000100000002ff7fffff000000030000000400000005000000068fce00051111111100000000"
        "52454d4201030d4022222222",
        "00057884ce000411111111000000002222222205000000" + "81ce00021111111122222222",
        "070578" + b"somebody".hex(),
    ],
    "twcc": [
        "01fff000000f4240"
        + 6 * "000a"
        + "6405"
        + 6 * "010a"
        + "d300"
        + "96c8"
        + "b41f"
        + "000a"
        + "d264"
        + "c87f"
        + "000a",
        "008fcd0006111111112222222200010005000008002005010203040500000000",
        "008fcd000611111111222222220001000700000800d6c101020304fffe000000",
    ],
    "payload": [
        "0207012390f0800511bf1002009d012a",
        "03000000780002674200026865",
        "0400000088050a",
        "050000002803084101300a",
    ],
    "srtp": [
        profile
        + "7ff8"
        + 9 * ("00" + "0000" + "02" + "1122334455667788" + "00")
        + 3 * ("96" + "41" + "aabbccdd" + "00")
        + "96f0"
        "00"
        + "4001"
        + "00"
        + "00"
        + "00"
        + "8abc"
        + "00"
        + "00"
        + "00"
        + "0000"
        + "00"
        + "f0"
        + "0005"
        + "e8"
        + "00"
        + "1080c80001"
        for profile in ("00", "01", "02", "04")
    ],
    "stream": [
        "0b0013" + "400000054865" + "8b000a" + "6c6c6f00000040000001" + "8b0003" + "410000" + "0101" + "0a00",
        "8b001c" + "000100082112a442010203040506070809101112" + "8022000461626364",
        "0501" + "8b010e" + "0003aabbcc" + "0000" + "0005400000016a" + "0101" + "0a01" + "0a02",
        8 * "f8f1" + "02ff" + "f8f1" + "0aff" + "0101" + "8aff" + "0303",
    ],
    "relay": [
        # an allocation with sockets, a foreign peer and our own media; channels, indications and answers of both
        "0000" + "0100" + "0180" + "0200" + "0300" + "05ff" + "0304" + "00ff" + "0400" + "0105ff" + "0400" + "0200ff"
        "0800"
        + "010005"
        + b"hello".hex()
        + "0901"
        + "020003"
        + b"abc".hex()
        + "0810"
        + "050004"
        + b"data".hex()
        + "0818"
        "050004" + b"data".hex() + "0b00" + "050003" + b"abc".hex() + "0c00" + "000003" + b"abc".hex() + "87ff"
        "0800" + "010005" + b"hello".hex() + "0500" + "0600",
        # a full house, in which one moves
        "0000" + "0005" + "000a" + "000f" + "0513" + "0303" + "05ff" + "0103" + "4810" + "050004" + b"data".hex(),
        # an empty datagram after another to the same peer
        "0000"
        + "0005"
        + "0100"
        + "0200"
        + "0300"
        + "05ff"
        + "0400"
        + "0105ff"
        + "0814"
        + "050004"
        + b"data".hex()
        + "080401",
        # two that send between one flush and the next; a channel that ends before its permission
        "0000" + "0005" + "0100" + "0101" + "0200" + "0201" + "0300" + "05ff" + "0301" + "05ff" + "0400" + "010503"
        "0814"
        + "050004"
        + b"data".hex()
        + "1814"
        + "050004"
        + b"more".hex()
        + "0814"
        + "050004"
        + b"data".hex()
        + "07ff"
        + "0b00"
        + "050003"
        + b"abc".hex()
        + "0804"
        + "010003"
        + b"abc".hex()
        + "0601"
        + "0600",
        # challenged, heard, heard at another address, bursts, and a flood
        "0a00"
        + "01"
        + "0a2c"
        + "0100"
        + "4a2c"
        + "0200"
        + "2a2c"
        + "0300"
        + 8 * ("0a01" + "05")
        + "07ff"
        + 8 * ("0a2c" + "0100")
        + "0a40"
        + "01"
        + "0a6c"
        + "0100"
        + "0eff"
        + "0f00"
        + "3a00"
        + "01"
        + "0d00"
        + "0014"
        + "000300002112a442"
        + 12 * "01",
    ],
}
"""Hexadecimal first inputs: one of each kind saves the fuzzer from guessing."""


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def _digest(parts: list[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]


def _object(source: Path, headers: bytes) -> Path:
    """The compiled source, from the cache when neither it nor a header changed."""
    out = BUILD / "objects" / f"{source.stem}-{_digest([source.read_bytes(), headers, repr(COMPILE).encode()])}.o"
    if not out.exists():
        part = out.with_suffix(".part")
        _run(
            [*COMPILE, f"-fsanitize=fuzzer-no-link,{SANITIZERS}", "-c", str(source.relative_to(ROOT)), "-o", str(part)]
        )
        part.rename(out)
    return out


def build_programs(programs: dict[str, list[Path]], sanitizers: str = SANITIZERS) -> dict[str, Path]:
    """The executables of programs, from their sources. RuntimeError with the compiler's words when one is wrong."""
    (BUILD / "objects").mkdir(parents=True, exist_ok=True)
    sources = {source for parts in programs.values() for source in parts}
    folders = sorted({source.parent for source in sources} | {HERE})
    headers = b"".join(path.read_bytes() for folder in folders for path in sorted(folder.glob("*.h")))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = dict(zip(sources, pool.map(lambda source: _object(source, headers), sources)))

        def link(name: str) -> Path:
            parts = [objects[source] for source in programs[name]]
            out = BUILD / name
            stamp = BUILD / f"{name}.stamp"
            wanted = _digest([str(part).encode() for part in parts])
            if not out.exists() or not stamp.exists() or stamp.read_text() != wanted:
                _run(["clang", f"-fsanitize={sanitizers}", *map(str, parts), "-lcrypto", "-o", str(out)])
                stamp.write_text(wanted)
            return out

        return dict(zip(programs, pool.map(link, programs)))


def build(names: list[str]) -> dict[str, Path]:
    """The executables of the targets. RuntimeError with the compiler's words when one does not build."""
    sources = {name: [HERE / f"{name}_fuzz.c", *(NATIVE / file for file in TARGETS[name])] for name in names}
    return build_programs(sources, f"fuzzer,{SANITIZERS}")


def run(name: str, executable: Path, seconds: float, seed: int, *, corpus: Path | None = None) -> str | None:
    """Runs one target; None when it found nothing, else what it said, with the failing input's path.

    Without ``corpus`` the run starts from the seeds alone and leaves nothing behind, so the same seed does the same.
    """
    failures, seeds = BUILD / "failures", BUILD / "seeds" / name
    for folder in (failures, seeds, *([corpus] if corpus else [])):
        folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(SEEDS.get(name, [])):
        (seeds / str(number)).write_bytes(bytes.fromhex(text))
    options = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-seed={seed}",
        f"-max_len={MAX_INPUT[name]}",
        f"-timeout={LONGEST_INPUT_S}",
        f"-artifact_prefix={failures}/{name}-",
        "-rss_limit_mb=1024",
        "-verbosity=1",
    ]
    folders = [str(folder) for folder in (corpus, seeds) if folder]
    if not corpus:
        options.append("-reload=0")
        scratch = BUILD / "scratch" / name  # the first folder is where libFuzzer writes
        scratch.mkdir(parents=True, exist_ok=True)
        for path in scratch.iterdir():
            path.unlink()
        folders.insert(0, str(scratch))
    done = subprocess.run(
        [str(executable), *options, *folders], cwd=ROOT, capture_output=True, text=True, errors="replace"
    )
    if done.returncode == 0:
        return None
    return "\n".join(done.stderr.splitlines()[-60:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="0 takes another one each time")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}; all without")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    found = 0
    for name, executable in build(names).items():
        print(f"{name}: {options.minutes / len(names):.1f} minutes", flush=True)
        said = run(name, executable, options.minutes * 60 / len(names), options.seed, corpus=BUILD / "corpus" / name)
        if said:
            found += 1
            print(said, file=sys.stderr)
    print(f"{found} of {len(names)} targets found something" if found else "nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
