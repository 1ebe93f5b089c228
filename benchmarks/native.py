"""Compiles the C parts of the benchmarks into build/benchmarks, anew when a source is newer."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "benchmarks" / "native"
WIRE = ROOT / "rtc" / "native"
OUT = ROOT / "build" / "benchmarks"
FLAGS = ["-std=gnu17", "-O3", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", f"-I{ROOT}"]


def limit_program() -> Path:
    """The executable of limit.c."""
    return _compiled(
        OUT / "limit", [NATIVE / "limit.c", NATIVE / "limit_pace.c", WIRE / "srtp.c", WIRE / "srtp_ipsec.c"], []
    )


def spin_program() -> Path:
    """The executable of spin.c."""
    return _compiled(OUT / "spin", [NATIVE / "spin.c"], [])


def srtp_program() -> Path:
    """The executable of srtp_cost.c."""
    return _compiled(OUT / "srtp_cost", [NATIVE / "srtp_cost.c", WIRE / "srtp.c", WIRE / "srtp_ipsec.c"], [])


def generator_library() -> Path:
    """The shared library of the load generator."""
    sources = [
        NATIVE / "loadgen.c",
        NATIVE / "loadgen_receive.c",
        *(WIRE / name for name in ("srtp.c", "srtp_ipsec.c", "rtcp.c", "rtp.c", "stun.c")),
    ]
    return _compiled(OUT / "loadgen.so", sources, ["-shared", "-fPIC"])


def relay_library() -> Path:
    """The shared library of the TURN load client."""
    sources = [NATIVE / f"{name}.c" for name in ("relayload", "relayload_control", "relayload_traffic")]
    return _compiled(OUT / "relayload.so", sources, ["-shared", "-fPIC"])


def relay_limit_program() -> Path:
    """The executable of relay_limit.c."""
    return _compiled(OUT / "relay_limit", [NATIVE / "relay_limit.c"], [])


def _compiled(out: Path, sources: list[Path], flags: list[str]) -> Path:
    headers = [*NATIVE.glob("*.h"), *WIRE.glob("*.h")]
    newest = max(path.stat().st_mtime for path in [*sources, *headers])
    if not out.exists() or out.stat().st_mtime < newest:
        OUT.mkdir(parents=True, exist_ok=True)
        fresh = out.with_suffix(".new")
        subprocess.run(["cc", *FLAGS, *flags, "-o", str(fresh), *map(str, sources), "-lcrypto"], check=True)
        fresh.replace(out)  # never under the feet of one that runs
    return out
