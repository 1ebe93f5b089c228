"""What the settings of an operator mean for whom the relay reaches."""

from pathlib import Path

import pytest

from backplane.settings import Settings
from backplane.startup import StartError
from turn.assembly import kept_secrets, reaches_nobody, relay_config
from turn.node import RelayConfig


def config(directory: Path, **settings: object) -> RelayConfig:
    found = Settings(data=directory, **settings)  # type: ignore[arg-type]
    return relay_config(found, kept_secrets(found), ["203.0.113.7"])


def test_nodes_are_known_port_by_port(tmp_path: Path) -> None:
    found = config(tmp_path, relay_nodes=("203.0.113.20:443-445", "[2001:db8::5]:8080"))
    assert set(found.nodes) == {*(("203.0.113.20", port) for port in (443, 444, 445)), ("2001:db8::5", 8080)}
    assert not found.public


@pytest.mark.parametrize("node", ["203.0.113.20:53", "203.0.113.20:11200-11300", "203.0.113.20:40000-60000"])
def test_a_node_at_ports_that_are_never_relayed_to_is_told_at_the_start(tmp_path: Path, node: str) -> None:
    with pytest.raises(StartError, match="--relay-nodes"):
        config(tmp_path, relay_nodes=(node,))


def test_a_relay_alone_reaches_nobody_until_it_is_told_whom() -> None:
    assert reaches_nobody(Settings())
    opened = [{"relay_peers": "public"}, {"relay_nodes": ("203.0.113.20:443",)}, {"relay_allow": ("10.0.0.0/8",)}]
    assert not any(reaches_nobody(Settings(**each)) for each in opened)  # type: ignore[arg-type]
