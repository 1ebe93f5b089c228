"""Compiles the C parts of the benchmarks into build/benchmarks and loads them with ctypes."""

import ctypes
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "benchmarks"
NATIVE = ROOT / "rtc" / "native"
SOURCES = {
    "bare_loop": ["benchmarks/native/bare_loop.c", "rtc/native/srtp.c", "rtc/native/srtp_ipsec.c"],
    "generator": ["benchmarks/native/generator.c", "rtc/native/srtp.c", "rtc/native/srtp_ipsec.c", "rtc/native/rtp.c"],
}


def library(name: str) -> ctypes.CDLL:
    """The shared library of that name, compiled anew when a source is newer."""
    sources = [ROOT / source for source in SOURCES[name]]
    headers = [*NATIVE.glob("*.h"), *(ROOT / "benchmarks" / "native").glob("*.h")]
    target = OUT / f"{name}.so"
    newest = max(path.stat().st_mtime for path in [*sources, *headers])
    if not target.exists() or target.stat().st_mtime < newest:
        OUT.mkdir(parents=True, exist_ok=True)
        flags = ["-std=gnu17", "-O3", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, *map(str, sources), "-lcrypto", "-lpthread", "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))
