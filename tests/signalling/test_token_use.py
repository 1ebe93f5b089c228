"""Relay credentials are told when nobody is in with their token any more."""

import pytest

from signalling.token_use import MAX_EXPECTED, UNUSED_S, TokenUse
from tests.signalling.fakes import FakeRelay, World

Told = list[tuple[str, str]]


@pytest.fixture
def told(world: World) -> Told:
    return world.relay.told


def token(world: World) -> tuple[str, str]:
    made, claims = world.tokens.issue(
        room="room", identity="guest", name="Amina", role="guest", rights=["publish"], now=world.wall
    )
    return made, claims.jti


def test_the_end_of_a_call_is_told_and_that_somebody_comes_again(world: World, told: Told) -> None:
    made, jti = token(world)
    world.calls.token_use.expect(jti, world.now)
    client = world.client()
    client.say("join", token=made, offer="v=0", tracks=[])
    world.calls.token_use.expect(jti, world.now)  # credentials are renewed in a call
    world.advance(UNUSED_S + 1)
    assert told == [("serve", jti)] * 2
    client.say("leave")
    world.advance(1)
    assert told[2:] == [("refuse", jti)]
    again = world.client()
    again.say("join", token=made, offer="v=0", tracks=[])
    assert told[3:] == [("serve", jti)]


def test_a_lost_socket_ends_nothing_before_the_session_is_over(world: World, told: Told) -> None:
    made, jti = token(world)
    client = world.client()
    client.say("join", token=made, offer="v=0", tracks=[])
    client.lose()
    world.advance(29)
    assert ("refuse", jti) not in told
    world.advance(2)
    assert told.count(("refuse", jti)) == 1


def test_who_comes_on_another_device_is_not_cut_off(world: World, told: Told) -> None:
    made, jti = token(world)
    for _ in range(2):
        client = world.client()
        client.say("join", token=made, offer="v=0", tracks=[])
        world.advance(1)
    assert ("refuse", jti) not in told
    client.say("leave")
    world.advance(60)
    assert told.count(("refuse", jti)) == 1


def test_who_never_comes_is_not_waited_for(world: World, told: Told) -> None:
    _, jti = token(world)
    world.calls.token_use.expect(jti, world.now)
    world.advance(UNUSED_S - 1)
    assert told == [("serve", jti)]
    world.advance(2)
    assert told == [("serve", jti), ("refuse", jti)]


def refusals() -> tuple[TokenUse, list[str]]:
    """Of what is refused."""
    told: list[str] = []

    class Relay(FakeRelay):
        def refuse(self, jti: str) -> None:
            told.append(jti)

    return TokenUse(Relay()), told


def test_who_has_left_and_asks_anew_before_it_is_told_keeps_what_he_gets() -> None:
    use, told = refusals()
    use.entered("session", "jti")
    use.left("session")
    use.left("session")
    use.expect("jti", 0.0)
    use.sweep(1.0)
    assert told == []
    use.sweep(UNUSED_S)
    assert told == ["jti"]


def test_what_is_expected_is_bounded() -> None:
    use, told = refusals()
    for number in range(MAX_EXPECTED + 5):
        use.expect(str(number), 0.0)
    assert told == [str(number) for number in range(5)]
