"""The physical limit (native/limit.c) for Python: a bare C loop of the same shape on the server's core."""

import json
import subprocess
from dataclasses import dataclass

from benchmarks.native import limit_program


@dataclass(frozen=True, slots=True)
class Limit:
    packets_per_cpu_s: float
    arrived_percent: float


def measure_limit(
    sources: int, receivers: int, seconds: float, *, cpu: int, sink_cpu: int, gro: bool, profile: str = "gcm"
) -> Limit:
    """The better of the product's SRTP code and plain OpenSSL calls."""
    found = [_measure(sources, receivers, seconds / 2, cpu, sink_cpu, gro, profile, way) for way in ("product", "evp")]
    return max(found, key=lambda limit: limit.packets_per_cpu_s)


def _measure(
    sources: int, receivers: int, seconds: float, cpu: int, sink_cpu: int, gro: bool, profile: str, crypto: str
) -> Limit:
    command = [str(limit_program()), "--sources", str(sources), "--receivers", str(receivers)]
    command += ["--seconds", str(seconds), "--cpu", str(cpu), "--sink-cpu", str(sink_cpu)]
    command += ["--profile", profile, "--crypto", crypto, *(["--gro"] if gro else [])]
    output = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return Limit(output["packets_per_cpu_s"], output["arrived_percent"])
