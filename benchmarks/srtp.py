"""What SRTP costs per packet, by library: `python benchmarks/srtp.py [--json FILE] [--cpu N]`.

The same program (native/srtp_cost.c) runs alternately with intel-ipsec-mb, where it is installed, and with OpenSSL
alone; the lowest figure of each counts. CPU nanoseconds per packet, so a busy machine disturbs only through its caches.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.native import srtp_program

ROUNDS = 3


def measure(program: Path, cpu: int | None) -> list[dict[str, Any]]:
    """One row for each profile, library, packet size and number of keys, with the lowest nanoseconds of all rounds."""
    best: dict[tuple[str, str, int, int], dict[str, Any]] = {}
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
    for _ in range(ROUNDS):
        for crypto in ("fastest", "openssl"):
            environment = os.environ | {"WADUD_CRYPTO": crypto}
            done = subprocess.run([*pinned, str(program)], env=environment, capture_output=True, text=True, check=True)
            for row in json.loads(done.stdout):
                key = (row["profile"], row["backend"], row["bytes"], row["keys"])
                known = best.setdefault(key, row)
                for figure in ("protect_ns", "unprotect_ns"):
                    known[figure] = min(known[figure], row[figure])
    return sorted(best.values(), key=lambda row: (row["profile"] != "gcm", row["backend"], -row["bytes"], row["keys"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    parser.add_argument("--cpu", type=int, help="stay on this core")
    options = parser.parse_args()
    rows = measure(srtp_program(), options.cpu)
    print(f"{'profile':8}{'library':10}{'bytes':>6}{'keys':>6}{'protect ns':>12}{'unprotect ns':>14}")
    for row in rows:
        print(
            f"{row['profile']:8}{row['backend']:10}{row['bytes']:6}{row['keys']:6}"
            f"{row['protect_ns']:12}{row['unprotect_ns']:14}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
