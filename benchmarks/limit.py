"""The physical limit (native/limit.c) for Python: a bare C loop of the same shape on the server's core.

`measure_limit` is the limit: burst upon burst, the core never rests. `measure_paced` is the same loop under the load
that it stands beside, asleep until a publisher sends, as any server must be: no bar is judged by it, it tells what of a
server's distance to the limit is the load's.
"""

import itertools
import json
import os
import subprocess
from dataclasses import dataclass

from benchmarks.native import limit_program


@dataclass(frozen=True, slots=True)
class Limit:
    packets_per_cpu_s: float
    arrived_percent: float


@dataclass(frozen=True, slots=True)
class Paced:
    """The bare loop at the pace of the publishers."""

    packets_per_cpu_s: float
    load: float
    """CPU seconds per second."""
    forwarded_per_s: float
    arrived_percent: float
    latency_p50_us: float
    latency_p99_us: float


_NAPS_US = (0, 1500)
"""Woken by each burst, or asleep so long that several gather: many small rooms are cheaper by the second."""


def crypto_environment(crypto: str) -> dict[str, str]:
    """What makes our SRTP code use that library: "" for the fastest at hand, or "openssl"."""
    return {"WADUD_CRYPTO": crypto}


def measure_limit(
    sources: int,
    receivers: int,
    seconds: float,
    *,
    cpu: int,
    sink_cpu: int,
    gro: bool,
    profile: str = "gcm",
    crypto: str = "",
) -> Limit:
    """The better of the product's SRTP code, with the library that ``crypto`` names, and plain OpenSSL calls."""
    shape = ["--sources", str(sources), "--receivers", str(receivers), "--seconds", str(seconds / 2)]
    shape += ["--cpu", str(cpu), "--sink-cpu", str(sink_cpu), "--profile", profile, *(["--gro"] if gro else [])]
    found = [_measure([*shape, "--crypto", way], crypto) for way in ("product", "evp")]
    return max(found, key=lambda limit: limit.packets_per_cpu_s)


def measure_paced(sources: int, receivers: int, seconds: float, *, cpu: int, sink_cpu: int, gro: bool) -> Paced:
    """The best of its ways to encrypt and to sleep, ``seconds`` for each."""
    shape = ["--sources", str(sources), "--receivers", str(receivers), "--seconds", str(seconds), "--paced"]
    shape += ["--cpu", str(cpu), "--sink-cpu", str(sink_cpu), *(["--gro"] if gro else [])]
    ways = itertools.product(("product", "evp"), _NAPS_US)
    found = [_run([*shape, "--crypto", crypto, "--nap", str(nap)], "") for crypto, nap in ways]
    best = max(found, key=lambda output: output["packets_per_cpu_s"])
    return Paced(
        best["packets_per_cpu_s"],
        best["cpu_s"] / best["wall_s"],
        best["packets"] / best["wall_s"],
        best["arrived_percent"],
        best["latency_p50_us"],
        best["latency_p99_us"],
    )


def _measure(options: list[str], crypto: str) -> Limit:
    output = _run(options, crypto)
    return Limit(output["packets_per_cpu_s"], output["arrived_percent"])


def _run(options: list[str], crypto: str) -> dict[str, float]:
    command = [str(limit_program()), *options]
    environment = {**os.environ, **crypto_environment(crypto)}
    output: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    )
    return output
