"""Settings: precedence, hints, secrets."""

from pathlib import Path

import pytest

from backplane import settings_table
from backplane.arguments import MIGRATE, SERVE, TURN
from backplane.config import ConfigError, load
from backplane.setting_kinds import masked
from backplane.settings import SETTINGS, Settings, default_workers


def test_without_anything_the_defaults_hold() -> None:
    found = load([], {"PATH": "/bin", "WADUD_SEED": "3", "WADUD_ARGUMENTS": "--port 1", "WADUD_TEST_POSTGRES": "x"})
    assert found.settings == Settings(workers=default_workers())
    assert set(found.sources.values()) == {"default"}


def test_command_line_goes_before_environment_before_file_before_default(tmp_path: Path) -> None:
    file = tmp_path / "wadud.toml"
    file.write_text(
        'port = 1\nmax_rooms = 2\nlog_level = "error"\ntrusted_proxies = ["10.0.0.0/8", "::1"]\ndemo = true\n'
    )
    found = load(["--port", "3", "--config", str(file)], {"WADUD_PORT": "4", "WADUD_MAX_ROOMS": "5"})
    settings = found.settings
    assert (settings.port, settings.max_rooms, settings.log_level, settings.host) == (3, 5, "error", "127.0.0.1")
    assert (settings.trusted_proxies, settings.demo) == (("10.0.0.0/8", "::1/128"), True)
    assert found.sources["port"] == "--port"
    assert found.sources["max_rooms"] == "WADUD_MAX_ROOMS"
    assert found.sources["log_level"] == str(file)
    assert load([], {"WADUD_CONFIG": str(file)}).settings.port == 1


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgres://wadud:hemlock@db/wadud\n")
    (tmp_path / "wadud.toml").write_text('redis_url_file = "redis"')
    (tmp_path / "redis").write_text("redis://:hemlock@bus/0?password=hemlock")
    environment = {"WADUD_POSTGRES_URL_FILE": str(tmp_path / "url"), "WADUD_CONFIG": str(tmp_path / "wadud.toml")}
    found = load(["--print-config"], environment)
    assert found.print_only
    assert found.settings.postgres_url == "postgres://wadud:hemlock@db/wadud"
    report = found.report()
    assert 'postgres_url = "postgres://wadud:***@db/wadud"  # WADUD_POSTGRES_URL_FILE' in report
    assert 'redis_url = "redis://:***@bus/0?password=***"' in report
    assert "hemlock" not in report


@pytest.mark.parametrize(
    "environment, toml, said",
    [
        ({"WADUD_POSTGRESURL": "hemlock"}, "", "Did you mean WADUD_POSTGRES_URL?"),
        ({}, 'postgres_ulr = "hemlock"', "Did you mean postgres_url?"),
        ({}, 'xyzzy = "hemlock"', "--print-config"),
        ({"WADUD_PORT": "hemlock"}, "", r"port \(WADUD_PORT\): a whole number"),
        ({"WADUD_PORT": "65536"}, "", "0 to 65535"),
        ({"WADUD_POSTGRES_URL": "mysql://hemlock"}, "", "postgres://"),
        ({"WADUD_TRACE_RATIO": "2"}, "", "from 0 to 1"),
        ({"WADUD_TRUSTED_PROXIES": "10.0.0.1/8"}, "", "network is wrong"),
        ({"WADUD_REDIS_URL": "redis://a", "WADUD_REDIS_URL_FILE": "/x"}, "", "Keep one"),
        ({"WADUD_REDIS_URL_FILE": "/does/not/exist"}, "", "cannot be read"),
        ({}, 'redis_url = "redis://:hemlock@a" x', "not TOML"),
        ({}, "demo = 7", "true or false"),
        ({}, "port = true", "whole number"),
        ({"WADUD_PUBLIC_IP": "203.0.113.5,hemlock"}, "", "an IP address"),
        ({"WADUD_PUBLIC_IP": "203.0.113.5,203.0.113.6"}, "", "one address of each family"),
        ({"WADUD_RELAY_PORTS": "49152"}, "", "as 49152-65535"),
        ({"WADUD_RELAY_PORTS": "hemlock-7"}, "", "as 49152-65535"),
        ({"WADUD_RELAY_PORTS": "50000-49999"}, "", "above the last"),
        ({"WADUD_RELAY_PORTS": "0-70000"}, "", "as 49152-65535"),
        ({"WADUD_RELAY_ALLOW": "10.0.0.1/8"}, "", "network is wrong"),
        ({"WADUD_ROOMS_PER_ADDRESS": "-1"}, "", "0 to"),
        ({"WADUD_ROOM_IDLE_S": "hemlock"}, "", "whole number"),
        ({"WADUD_RELAY_PEERS": "hemlock"}, "", "media or public"),
        ({"WADUD_RELAY_NODES": "203.0.113.7"}, "", "203.0.113.7:443-446"),
        ({"WADUD_RELAY_NODES": "hemlock.example:443"}, "", "an IP address with a port"),
        ({"WADUD_RELAY_NODES": "2001:db8::5:443"}, "", "an IP address with a port"),
        ({"WADUD_RELAY_NODES": "203.0.113.7:446-443"}, "", "an IP address with a port"),
        ({"WADUD_RELAY_SECRET": "hemlock"}, "", "at least 16 characters"),
        ({"WADUD_RELAY_REALM": 'hem"lock'}, "", "without quotes"),
        ({"WADUD_RELAY_USERS": "hemlock"}, "", "name:password"),
        ({"WADUD_RELAY_USERS": "a:hemlock,a:hemlocks"}, "", "twice"),
        ({"WADUD_STUN_SERVER": "stun.example.com"}, "", "host:port"),
        ({"WADUD_STUN_SERVER": "hemlock@stun.example.com:1"}, "", "host:port"),
        ({"WADUD_STUN_SERVER": "::1:3478"}, "", "host:port"),
        ({"WADUD_STUN_ALTERNATE": "hemlock"}, "", "an IP address"),
        ({"WADUD_CERTIFICATE_KEY": "/hemlock"}, "", "without certificate"),
        ({"WADUD_CERTIFICATE": "/hemlock", "WADUD_SELF_SIGNED": "yes"}, "", "Keep one"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(tmp_path: Path, environment: dict[str, str], toml: str, said: str) -> None:
    (tmp_path / "wadud.toml").write_text(toml)
    with pytest.raises(ConfigError, match=said) as caught:
        load([], {**environment, "WADUD_CONFIG": str(tmp_path / "wadud.toml")})
    assert "hemlock" not in str(caught.value)


def test_the_relay_and_tls_have_settings(tmp_path: Path) -> None:
    (tmp_path / "wadud.toml").write_text(
        'relay_users = ["clinic:hemlock:two"]\nstun_server = "[2001:db8::5]:3478"\nrelay_allow = ["10.7.0.0/16"]\n'
        'certificate = "/etc/wadud/chain.pem"\n'
    )
    (tmp_path / "secret").write_text("hemlock hemlock hemlock\n")
    (tmp_path / "users").write_text("a:hemlock\nb:hemlock\n")
    arguments = ["--config", str(tmp_path / "wadud.toml"), "--no-relay", "--relay-ports", "50000-50100"]
    arguments += ["--public-ip", "203.0.113.5,2001:db8::5", "--relay-quota", "3", "--stun-alternate", "203.0.113.6"]
    found = load(arguments, {"WADUD_RELAY_SECRET_FILE": str(tmp_path / "secret")})
    settings = found.settings
    assert (settings.relay, settings.relay_ports, settings.relay_quota) == (False, (50000, 50100), 3)
    assert settings.relay_secret == "hemlock hemlock hemlock"
    assert settings.relay_users == ("clinic:hemlock:two",)
    assert settings.public_ip == ("203.0.113.5", "2001:db8::5")
    assert (settings.relay_allow, settings.stun_server) == (("10.7.0.0/16",), "[2001:db8::5]:3478")
    assert (settings.relay_peers, settings.relay_nodes) == ("media", ()), (
        "nobody but media is reached unless it is said"
    )
    bounds = load(["--rooms-per-address", "0", "--people-per-address", "7", "--tokens-per-minute", "8"], {}).settings
    assert (bounds.rooms_per_address, bounds.people_per_address, bounds.tokens_per_minute) == (0, 7, 8)
    nodes = load(["--relay-peers", "public", "--relay-nodes", "203.0.113.7:443-446, [2001:DB8::5]:443"], {}).settings
    assert (nodes.relay_peers, nodes.relay_nodes) == ("public", ("203.0.113.7:443-446", "[2001:db8::5]:443"))
    assert settings.url == "https://127.0.0.1:8080"
    report = found.report()
    assert 'relay_secret = "***"  # WADUD_RELAY_SECRET_FILE' in report
    assert 'relay_users = ["clinic:***"]' in report
    assert 'relay_ports = "50000-50100"  # --relay-ports' in report
    assert "hemlock" not in report + repr(settings)
    users = load([], {"WADUD_RELAY_USERS_FILE": str(tmp_path / "users")}).settings.relay_users
    assert users == ("a:hemlock", "b:hemlock")


def test_the_command_line_checks_what_it_is_given_too() -> None:
    with pytest.raises(ConfigError, match="redis://"):
        load(["--redis-url", "http://x"], {})


def test_urls_without_secrets_stay_as_they_are() -> None:
    for url in ("postgres:///wadud", "redis://bus:6379/1", "postgres://wadud@db/wadud"):
        assert masked(url) == url


def test_every_setting_has_an_option_or_is_named_in_the_help() -> None:
    text = " ".join(SERVE.parser().format_help().split())
    assert [setting for setting in SETTINGS.values() if setting.flag not in text and setting.name not in text] == []


def test_what_is_declared_by_default_would_be_accepted_if_it_were_given() -> None:
    for setting in SETTINGS.values():
        shown = setting.kind.show(setting.default)
        if setting.default is not None:
            assert setting.kind.read(shown) == setting.default, setting.name


def test_the_table_of_settings_in_the_documentation_is_up_to_date() -> None:
    text = settings_table.DOCUMENT.read_text()
    assert settings_table.updated(text) == text, "run: python -m backplane.settings_table"


def test_a_relay_of_its_own_has_the_port_of_turn_unless_told_otherwise() -> None:
    assert load([], {}, TURN).settings.port == 3478
    assert "port = 3478  # default" in load([], {}, TURN).report()
    assert load([], {"WADUD_PORT": "443"}, TURN).settings.port == 443
    with pytest.raises(SystemExit):
        load(["--demo"], {}, TURN)


def test_migrations_find_the_database_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://db/wadud\n")
    found = load(["--dry-run"], {"WADUD_POSTGRES_URL_FILE": str(tmp_path / "url")}, MIGRATE)
    assert (found.settings.postgres_url, found.options.dry_run) == ("postgresql://db/wadud", True)
