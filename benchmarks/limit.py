"""The physical limit (native/limit.c) for Python: a bare C loop of the same shape on the server's core."""

import json
import os
import subprocess
from dataclasses import dataclass

from benchmarks.native import limit_program


@dataclass(frozen=True, slots=True)
class Limit:
    packets_per_cpu_s: float
    arrived_percent: float


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


def _measure(options: list[str], crypto: str) -> Limit:
    command = [str(limit_program()), *options]
    environment = {**os.environ, **crypto_environment(crypto)}
    output = json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
    return Limit(output["packets_per_cpu_s"], output["arrived_percent"])
