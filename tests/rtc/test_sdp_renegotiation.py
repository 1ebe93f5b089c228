"""Second and later offers, replayed from real connections and bent."""

import pytest

from rtc.sdp import SdpError
from rtc.sdp_answer import LineRole, Negotiated
from tests.rtc.offers import answer, line_of, load, session

STEPS = ["initial", "screen", "inactive", "again", "stopped", "recycled", "stopped and new", "restart"]


def replay(browser: str) -> list[Negotiated]:
    result: list[Negotiated] = []
    for text in session(browser):
        result.append(answer(text, previous=result[-1] if result else None))
    return result


@pytest.fixture(params=["chromium", "firefox"])
def steps(request: pytest.FixtureRequest) -> dict[str, Negotiated]:
    return dict(zip(STEPS, replay(request.param), strict=True))


def test_slots_keep_their_ssrcs_through_all_negotiations(steps: dict[str, Negotiated]) -> None:
    for mid in ("2", "3", "4", "5"):
        assert len({(line_of(step, mid).ssrc, line_of(step, mid).rtx_ssrc) for step in steps.values()}) == 1


def test_added_lines_publish_and_receive(steps: dict[str, Negotiated]) -> None:
    assert line_of(steps["screen"], "6").role is LineRole.PUBLISHING
    assert line_of(steps["screen"], "7").role is LineRole.SLOT
    assert steps["screen"].lines[:6] == steps["initial"].lines


def test_replaced_track_keeps_old_ssrc(steps: dict[str, Negotiated]) -> None:
    assert line_of(steps["inactive"], "1").role is LineRole.INACTIVE
    assert line_of(steps["again"], "1") == line_of(steps["initial"], "1")


def test_rejected_line_is_recycled_under_a_new_mid(steps: dict[str, Negotiated]) -> None:
    assert steps["stopped"].lines[6].role is LineRole.REJECTED
    assert (steps["recycled"].lines[6].mid, steps["recycled"].lines[6].role) == ("8", LineRole.PUBLISHING)


def test_unpublish_and_republish_inside_one_negotiation(steps: dict[str, Negotiated]) -> None:
    before, after = steps["recycled"], steps["stopped and new"]
    assert after.lines[1].role is LineRole.REJECTED
    assert line_of(after, "9").role is LineRole.PUBLISHING
    assert line_of(after, "9").ssrc != line_of(before, "1").ssrc


def test_ice_restart_gives_new_local_credentials(steps: dict[str, Negotiated]) -> None:
    before, after = steps["stopped and new"], steps["restart"]
    assert after.restarted
    assert after.local != before.local
    assert f"a=ice-ufrag:{after.local.ufrag}" in after.answer
    assert after.lines == before.lines


def test_without_a_restart_credentials_stay(steps: dict[str, Negotiated]) -> None:
    assert not any(step.restarted for name, step in steps.items() if name != "restart")
    assert len({step.local for name, step in steps.items() if name != "restart"}) == 1


def test_session_id_stays_and_version_grows(steps: dict[str, Negotiated]) -> None:
    origins = [step.answer.split("\r\n")[1] for step in steps.values()]
    assert origins == [f"o=- 4242 {version} IN IP4 0.0.0.0" for version in range(1, 9)]


FIRST = load("chromium_session/1_initial.sdp")


@pytest.mark.parametrize(
    "text, complaint",
    [
        (FIRST.replace("a=ice-ufrag:", "a=ice-ufrag:X"), "both ice-ufrag and ice-pwd"),
        (FIRST.replace("a=ice-pwd:", "a=ice-pwd:X"), "both ice-ufrag and ice-pwd"),
        (FIRST.replace("a=mid:1\r", "a=mid:9\r").replace("BUNDLE 0 1", "BUNDLE 0 9"), "may not become"),
        (load("chromium_audio_only.sdp"), "fewer than"),
    ],
)
def test_offers_that_break_with_the_former_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(SdpError, match=complaint):
        answer(text, previous=answer(FIRST))


def test_another_certificate_is_refused() -> None:
    before = answer(FIRST)
    digest = FIRST.split("a=fingerprint:sha-256 ")[1][:2]
    other = "00" if digest != "00" else "01"
    text = FIRST.replace(f"a=fingerprint:sha-256 {digest}", f"a=fingerprint:sha-256 {other}")
    with pytest.raises(SdpError, match="join anew"):
        answer(text, previous=before)


def test_line_of_another_kind_may_take_a_rejected_place() -> None:
    sequence = session("chromium")
    stopped = [answer(sequence[0])]
    for text in sequence[1:5]:
        stopped.append(answer(text, previous=stopped[-1]))
    head, *sections = sequence[5].split("\r\nm=")
    sections[6] = sections[2].replace("a=mid:2", "a=mid:8")
    recycled = answer("\r\nm=".join([head, *sections]), previous=stopped[-1])
    assert (recycled.lines[6].kind, recycled.lines[6].role) == ("audio", LineRole.SLOT)


def test_mid_reused_on_another_line_after_its_first_was_rejected() -> None:
    """No browser does so, yet nothing forbids it: the line counts, not the name."""
    sequence = session("chromium")
    before = answer(sequence[0])
    for text in sequence[1:5]:
        before = answer(text, previous=before)
    head, *sections = sequence[4].split("\r\nm=")
    sections[6] = sections[6].replace("a=mid:6\r\n", "")
    again = sections[1].replace("a=mid:1", "a=mid:6").replace("a=ssrc", "a=x-ssrc").rstrip("\r\n")
    text = "\r\nm=".join(
        [head.replace("BUNDLE 0 1", "BUNDLE 6 0 1"), *sections[:-1], sections[-1].rstrip("\r\n"), again]
    )
    negotiated = answer(text + "\r\n", previous=before)
    assert negotiated.lines[6].role is LineRole.REJECTED
    assert (negotiated.lines[8].mid, negotiated.lines[8].role) == ("6", LineRole.PUBLISHING)


def test_slot_that_went_away_comes_back_with_another_ssrc() -> None:
    """The worker counts a new leg's packets from anew, so the old SSRC would meet the old key twice."""
    first = answer(FIRST)
    parts = FIRST.split("\r\nm=")
    parts[3] = parts[3].replace("a=recvonly", "a=inactive")
    gone = answer("\r\nm=".join(parts), previous=first)
    back = answer(FIRST, previous=gone)
    assert line_of(gone, "2").role is LineRole.INACTIVE
    assert line_of(back, "2").ssrc not in (0, line_of(first, "2").ssrc)


def test_slot_with_other_codecs_gets_another_ssrc() -> None:
    first = answer(FIRST)
    parts = FIRST.split("\r\nm=")
    parts[5] = parts[5].replace("VP9/90000", "X9/90000")
    second = answer("\r\nm=".join(parts), previous=first)
    assert line_of(second, "4").ssrc != line_of(first, "4").ssrc
    assert line_of(second, "5").ssrc == line_of(first, "5").ssrc


def test_new_ssrcs_avoid_those_of_living_slots() -> None:
    first = answer(FIRST)
    text = load("chromium_session/2_screen_and_one_more_slot.sdp")
    taken = [line.ssrc for line in first.lines if line.role is LineRole.SLOT]
    draws = iter([0, *taken, 77, 78])
    second = answer(text, previous=first, new_ssrc=lambda: next(draws))
    assert line_of(second, "7").ssrc == 77
