"""Somebody in a call who can forge sources sends on to a stranger what the call brings: for how long, at most?"""

import pytest

from rtc._worker import Worker
from tests.rtc.call_by_hand import AWAY, HOME, SECRET, STEP, Call

VICTIM = "198.51.100.9"
MINUTES = 4


@pytest.mark.parametrize("speaks", [True, False])
def test_a_participant_cannot_flood_a_stranger_from_port_to_port(worker: Worker, speaks: bool) -> None:
    """Who is kept there by speaking, or is tried anew each second; checks from HOME keep the call."""
    call = Call(worker)
    call.speaking(1000, HOME)
    call.answering[HOME] = SECRET
    end_ms, sent, port = call.ms + MINUTES * 60_000, 0, 1000
    while call.ms < end_ms:
        victim, port = (VICTIM, port), port + 1
        call.check_from(victim, nominate=False)
        call.until(call.ms + STEP)
        call.speak_from(victim)
        call.check_from(victim)
        call.arrived.clear()
        call.until(call.ms + 200)
        while victim in call.arrived:
            sent += len(call.arrived[victim])
            call.arrived.clear()
            if speaks:
                call.speak_from(victim)
            call.check_from(HOME, nominate=False)
            call.until(call.ms + 200)
        call.check_from(HOME)
    assert 1000 < sent * STEP < 30_000 + MINUTES * 3000 + 2000, "half a minute, and a thirtieth of the time"


def test_what_failed_there_keeps_nobody_from_an_address_that_answers(worker: Worker) -> None:
    call = Call(worker)
    call.speaking(1000, HOME)
    for port in range(1000, 1040):
        call.speaking(call.ms + 1500, (VICTIM, port))
    call.answering[AWAY] = SECRET
    call.check_from(AWAY)
    assert call.goes_to(AWAY, 100)
