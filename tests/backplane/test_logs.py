"""Logs that cannot hold a person, and that a stranger cannot fill."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from backplane.logs import ALLOWED_KEYS, JsonFormatter, Log, Throttle, configure, short


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    configure("debug", written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object_with_time_level_and_event(stream: io.StringIO) -> None:
    Log("wadud.test").info("joined", room="abcdef", count=3)
    (line,) = lines(stream)
    assert (line["level"], line["logger"], line["event"]) == ("info", "wadud.test", "joined")
    assert (line["room"], line["count"]) == ("abcdef", 3)
    assert line["time"].endswith("+00:00")


def test_only_known_keys_are_written(stream: io.StringIO) -> None:
    Log("wadud.test").info("joined", name="Amina", address="192.0.2.7", text="hello", token="ey", reason="left")
    assert set(lines(stream)[0]) == {"time", "level", "logger", "event", "reason"}
    assert not ALLOWED_KEYS & {"name", "address", "ip", "token", "text", "message", "sdp", "user", "identity", "email"}


def test_the_text_of_an_exception_is_not_written(stream: io.StringIO) -> None:
    try:
        raise ValueError("Amina said hello")
    except ValueError:
        Log("wadud.test").error("request failed")
    (line,) = lines(stream)
    assert line["error"] == "ValueError"
    assert "test_logs.py" in line["trace"][0]
    assert "Amina" not in stream.getvalue()


def test_foreign_loggers_keep_only_their_name_and_place(stream: io.StringIO) -> None:
    logging.getLogger("aiohttp.server").error("Error handling request from 192.0.2.7: %s", "Amina")
    (line,) = lines(stream)
    assert (line["event"], line["logger"]) == ("foreign", "aiohttp.server")
    assert "Amina" not in stream.getvalue()
    assert "192.0.2.7" not in stream.getvalue()


def test_requests_leave_no_line(stream: io.StringIO) -> None:
    logging.getLogger("aiohttp.access").info("GET /call/room-name")
    assert stream.getvalue() == ""


def test_long_values_are_cut_and_ids_are_short(stream: io.StringIO) -> None:
    Log("wadud.test").info("x", reason="r" * 10_000)
    assert len(lines(stream)[0]["reason"]) <= 120
    assert len(short("k4xq2m7zt5bwc3rdhn6yfa")) == 6


def test_a_line_break_in_a_value_makes_no_second_line(stream: io.StringIO) -> None:
    Log("wadud.test").info("x", reason='a\n{"level":"error"}\r\n')
    assert len(stream.getvalue().splitlines()) == 1


def test_repeated_warnings_are_counted_instead_of_written() -> None:
    now = 0.0
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(Throttle(per_period=5, period_s=60, clock=lambda: now))
    logger = logging.getLogger("wadud.throttled")
    logger.propagate = False
    logger.handlers[:] = [handler]
    log = Log("wadud.throttled")
    for _ in range(1000):
        log.warning("request failed", kind="join")
    log.warning("another")
    assert [line["event"] for line in lines(written)] == ["request failed"] * 5 + ["another"]
    now = 61.0
    log.warning("request failed", kind="join")
    assert lines(written)[-1]["held_back"] == 995


def test_different_texts_of_a_stranger_do_not_grow_the_throttle() -> None:
    throttle = Throttle(clock=lambda: 0.0)
    passed = 0
    for number in range(5000):
        record = logging.LogRecord("wadud", logging.WARNING, "f", 1, f"event {number}", None, None)
        record.wadud_fields = {}
        passed += bool(throttle.filter(record))
    assert passed == Throttle.MAX_EVENTS
