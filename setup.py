"""Builds the compiled packet path; everything else about the package stands in setup.cfg.

``WADUD_EXT=_wire,_dtls`` builds only those extensions (development).
"""

import copy
import os

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = "rtc/native/"
WIRE = ["srtp.c", "srtp_ipsec.c", "stun.c", "rtp.c", "rtcp.c", "twcc.c", "payload.c"]
FLAGS = ["-std=gnu17", "-O3", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]


def extension(name: str, sources: list[str], libraries: list[str]) -> Extension:
    headers = sorted(NATIVE + file for file in os.listdir(NATIVE) if file.endswith(".h"))
    return Extension(
        f"rtc.{name}",
        [NATIVE + file for file in sources],
        depends=headers,
        libraries=libraries,
        extra_compile_args=FLAGS,
    )


SHELL = ["worker.c", "worker_demux.c", "worker_handover.c", "worker_manual.c", "commands.c", "ring.c", "udp.c"]
STREAM = ["stream.c", "stream_queue.c"]
RELAY = ["relay.c", "relay_egress.c", "relay_gate.c", "relay_path.c"]
ROUTER = [
    *["router.c", "router_transports.c", "router_tracks.c", "prefetch.c", "events.c", "keys.c", "destination.c"],
    *["ice.c", "handshake.c", "path.c", "path_validation.c", "trial.c"],
    *["ingress.c", "fanout.c", "delivery.c", "repair.c", "feedback.c", "limit.c", "keyframes.c"],
]

EXTENSIONS = [
    extension("_wire", ["wire_module.c", "wire_srtp.c", "wire_stun.c", "wire_turn.c", *WIRE], ["crypto"]),
    extension("_dtls", ["dtls_module.c", "association.c", "identity.c", "dtls_flight.c"], ["ssl", "crypto"]),
    extension(
        "_worker",
        [
            *["worker_module.c", "worker_object.c", "worker_relay_methods.c", "worker_arguments.c"],
            *[*SHELL, *RELAY, *STREAM, *ROUTER, *WIRE],
        ],
        ["crypto"],
    ),
]


class SeparateBuilds(build_ext):
    """Keeps the object files of each extension apart: several share sources, and ``-j`` builds them side by side."""

    def build_extension(self, ext: Extension) -> None:
        own = copy.copy(self)
        own.build_temp = os.path.join(self.build_temp, ext.name)
        build_ext.build_extension(own, ext)


WANTED = os.environ.get("WADUD_EXT")

setup(
    ext_modules=[e for e in EXTENSIONS if WANTED is None or e.name.removeprefix("rtc.") in WANTED.split(",")],
    cmdclass={"build_ext": SeparateBuilds},
)
