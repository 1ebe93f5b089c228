"""Missing system packages are installed when we may, else named with the command that installs them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from backplane import system_packages
from backplane.setup_steps import StepFailedError
from backplane.system_packages import MissingPackagesError, Need, ensure, header


class Machine:
    """A machine where installing a package makes it present."""

    def __init__(self, brings: dict[str, set[str]] | None = None) -> None:
        self.installed: set[str] = set()
        self.ran: list[list[str]] = []
        self._brings = brings or {}

    def need(self, package: str, comes_with: str = "") -> Need:
        return Need(f"the {package}", (package,), lambda: package in self.installed, comes_with)

    def run(self, title: str, argv: Sequence[str]) -> None:
        self.ran.append(list(argv))
        if "install" in argv:
            for package in argv:
                self.installed |= {package, *self._brings.get(package, ())}


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_packages, "may_install", lambda: True)


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_packages, "may_install", lambda: False)


@pytest.mark.usefixtures("as_user")
def test_a_user_is_told_what_is_missing_and_the_command_that_installs_it() -> None:
    machine = Machine()
    with pytest.raises(MissingPackagesError) as caught:
        ensure([machine.need("gcc"), machine.need("libssl-dev")], machine.run)
    assert "needs the gcc, the libssl-dev" in str(caught.value)
    assert "sudo apt-get install -y --no-install-recommends gcc libssl-dev" in str(caught.value)
    assert machine.ran == []


@pytest.mark.usefixtures("as_root")
def test_root_gets_the_missing_packages_after_one_update() -> None:
    machine = Machine()
    machine.installed = {"gcc"}
    ensure([machine.need("gcc"), machine.need("libssl-dev"), machine.need("python3-dev")], machine.run)
    update, install = machine.ran
    assert update == ["apt-get", "update"]
    assert "libssl-dev" in install
    assert "python3-dev" in install
    assert "gcc" not in install


@pytest.mark.usefixtures("as_user")
def test_a_user_is_not_stopped_by_what_is_optional() -> None:
    machine = Machine()
    ensure([replace(machine.need("libipsec-mb-dev"), optional=True)], machine.run)
    assert machine.ran == []


@pytest.mark.usefixtures("as_root")
def test_root_gets_what_is_optional_after_what_is_required() -> None:
    machine = Machine()
    ensure([replace(machine.need("libipsec-mb-dev"), optional=True), machine.need("gcc")], machine.run)
    assert [("gcc" in argv, "libipsec-mb-dev" in argv) for argv in machine.ran[1:]] == [(True, False), (False, True)]


@pytest.mark.usefixtures("as_root")
def test_what_is_optional_and_cannot_be_had_is_left_out() -> None:
    def run(title: str, argv: Sequence[str]) -> None:
        raise StepFailedError("no such package")

    ensure([Need("a unicorn", ("unicorn",), lambda: False, optional=True)], run)


@pytest.mark.usefixtures("as_root")
def test_what_cannot_be_had_keeps_no_other_optional_package_away() -> None:
    machine = Machine()

    def run(title: str, argv: Sequence[str]) -> None:
        if "unicorn" in argv:
            raise StepFailedError("no such package")
        machine.run(title, argv)

    wanted = replace(machine.need("libipsec-mb-dev"), optional=True)
    ensure([Need("a unicorn", ("unicorn",), lambda: False, optional=True), wanted], run)
    assert wanted.present()


@pytest.mark.usefixtures("as_root")
def test_nothing_runs_when_nothing_is_missing() -> None:
    machine = Machine()
    machine.installed = {"gcc"}
    ensure([machine.need("gcc")], machine.run)
    assert machine.ran == []


@pytest.mark.usefixtures("as_root")
def test_npm_is_not_asked_for_when_the_package_of_node_brings_it() -> None:
    machine = Machine(brings={"nodejs": {"npm"}})
    ensure([machine.need("nodejs"), machine.need("npm", comes_with="the nodejs")], machine.run)
    assert all("npm" not in argv for argv in machine.ran)


@pytest.mark.usefixtures("as_root")
def test_npm_follows_when_the_package_of_node_comes_alone() -> None:
    machine = Machine()
    ensure([machine.need("nodejs"), machine.need("npm", comes_with="the nodejs")], machine.run)
    assert [("nodejs" in argv, "npm" in argv) for argv in machine.ran[1:]] == [(True, False), (False, True)]


@pytest.mark.usefixtures("as_root")
def test_a_package_that_does_not_help_is_an_error_and_not_a_loop() -> None:
    machine = Machine()
    hopeless = Need("a unicorn", ("unicorn",), lambda: False)
    with pytest.raises(MissingPackagesError, match="a unicorn"):
        ensure([hopeless], machine.run)


def test_headers_are_probed_with_the_compiler() -> None:
    assert header("stdio.h")()
    assert not header("no/such/header.h")()
