"""The port's limits of time leave room for honest clients on links that lose packets."""

from backplane.shared_port import Limits

ROUND_TRIP_S = 0.4
FLIGHT_LOST_THREE_TIMES_S = 1 + 2 + 4 + ROUND_TRIP_S  # RFC 6298 section 2
TLS_BYTES_S = 4_000 * 8 / 40_000


def test_a_flight_may_be_lost_three_times_in_a_row() -> None:
    limits = Limits()
    assert limits.first_bytes_s > FLIGHT_LOST_THREE_TIMES_S
    assert limits.inside_s > FLIGHT_LOST_THREE_TIMES_S
    assert limits.handshake_s > 2 * FLIGHT_LOST_THREE_TIMES_S + TLS_BYTES_S
