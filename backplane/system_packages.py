"""What the machine itself must bring: compilers, headers, Node.js, browsers.

Each need is probed by what it gives (a command on the path, a header that the compiler finds), never by asking a
package manager, so any distribution or a hand-made installation will do. Only the remedy is Debian's: as root the
packages are installed, otherwise the command that installs them is named. Standard library only.
"""

import os
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from backplane.setup_steps import StepFailedError


@dataclass(frozen=True, slots=True)
class Need:
    """Something the machine must have, or, ``optional``, is the better for having. ``comes_with`` names a need whose
    package may bring this one along."""

    name: str
    packages: tuple[str, ...]
    present: Callable[[], bool]
    comes_with: str = ""
    optional: bool = False


class MissingPackagesError(Exception):
    """The machine lacks something that we may not install; the text says what, and the command that installs it."""


def command(*names: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name) for name in names)


def header(name: str) -> Callable[[], bool]:
    """Whether the C compiler finds a header."""

    def present() -> bool:
        if not shutil.which("gcc"):
            return (Path("/usr/include") / name).exists()
        source = f"#include <{name}>\n"
        argv = ["gcc", "-E", "-o", os.devnull, "-x", "c", "-"]
        return subprocess.run(argv, input=source, text=True, capture_output=True, check=False).returncode == 0

    return present


def _python_header() -> bool:
    return (Path(sysconfig.get_paths()["include"]) / "Python.h").exists()


def _ensurepip() -> bool:
    # Debian splits ensurepip off into python3-venv
    return (Path(sysconfig.get_paths()["stdlib"]) / "ensurepip").is_dir()


def _fuzzer_runtime() -> bool:
    if not shutil.which("clang"):
        return False
    argv = ["clang", "-fsanitize=fuzzer,address", "-x", "c", "-o", os.devnull, "-"]
    source = "int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { (void)d; (void)n; return 0; }\n"
    return subprocess.run(argv, input=source, text=True, capture_output=True, check=False).returncode == 0


SERVE_NEEDS: tuple[Need, ...] = (
    Need("a C compiler (gcc)", ("gcc",), command("gcc")),
    Need("the C library's headers", ("libc6-dev",), header("stdio.h")),
    Need("Python's headers (Python.h)", ("python3-dev",), _python_header),
    Need("Python's venv with pip (ensurepip)", ("python3-venv",), _ensurepip),
    Need("OpenSSL's headers (openssl/ssl.h)", ("libssl-dev",), header("openssl/ssl.h")),
    *(
        [Need("a faster AES-GCM (intel-ipsec-mb.h)", ("libipsec-mb-dev",), header("intel-ipsec-mb.h"), optional=True)]
        if platform.machine() == "x86_64"
        else []
    ),
)

WEB_NEEDS: tuple[Need, ...] = (
    Need("Node.js (node)", ("nodejs",), command("node")),
    Need("npm", ("npm",), command("npm"), comes_with="Node.js (node)"),
)

TEST_NEEDS: tuple[Need, ...] = (
    Need("Chromium", ("chromium",), command("chromium")),
    Need("Chromium without a window", ("chromium-headless-shell",), command("chromium-headless-shell"), optional=True),
    Need("Firefox ESR", ("firefox-esr",), command("firefox-esr")),
    Need("clang", ("clang",), command("clang")),
    Need("clang's sanitizer and fuzzer runtimes", ("libclang-rt-dev",), _fuzzer_runtime),
    Need("ip and tc (iproute2)", ("iproute2",), command("ip")),
    Need("nft (nftables)", ("nftables",), command("nft", "/usr/sbin/nft")),
    Need("coturn (turnserver)", ("coturn",), command("turnserver")),
    Need("valgrind", ("valgrind",), command("valgrind")),
    Need("git", ("git",), command("git")),
    Need("Redis", ("redis-server",), command("redis-server")),
    Need(
        "PostgreSQL",
        ("postgresql",),
        lambda: any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or command("initdb")(),
    ),
)


def missing(needs: Iterable[Need]) -> list[Need]:
    return [need for need in needs if not need.present()]


def install_command(needs: Iterable[Need]) -> list[str]:
    packages = [package for need in needs for package in need.packages]
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def ensure(needs: Sequence[Need], run: Callable[[str, Sequence[str]], None]) -> None:
    """Installs what is missing through ``run(title, argv)``. What is optional is left out where that is not possible.

    Raises:
        MissingPackagesError: something is missing and we are not root on Debian, or installing has not helped.
    """
    lacking = missing(needs)
    optional = [need for need in lacking if need.optional]
    required = [need for need in lacking if not need.optional]
    if required and not may_install():
        raise MissingPackagesError(_advice(lacking))
    if lacking and may_install():
        with nullcontext() if required else suppress(StepFailedError):
            run("Debian's package lists", ["apt-get", "update"])
        _install(required, run)
        for need in optional:
            with suppress(StepFailedError, MissingPackagesError):
                _install([need], run)


def _install(lacking: list[Need], run: Callable[[str, Sequence[str]], None]) -> None:
    while lacking:
        names = {need.name for need in lacking}
        wave = [need for need in lacking if need.comes_with not in names]
        packages = " ".join(package for need in wave for package in need.packages)
        run(f"Debian packages: {packages}", [*install_command(wave), "-o", "DPkg::Lock::Timeout=300"])
        unhealed = missing(wave)
        if unhealed:
            raise MissingPackagesError(_advice(unhealed))
        lacking = missing(lacking)


def _advice(needs: Sequence[Need]) -> str:
    install = " ".join(install_command(needs))
    return (
        f"Wadud needs {', '.join(need.name for need in needs)}. On Debian, install with:\n\n"
        f"    sudo apt-get update && sudo {install}\n\n"
        "then run this command again."
    )
