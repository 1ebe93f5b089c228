"""The pages in a real browser: accessible, reachable by keyboard, right in every state that a patient may meet."""

import asyncio
import json
from pathlib import Path

import pytest
from playwright.async_api import Route

from tests.web.conftest import LOOKS, PHONE, PREVIEW_ON, Visit, Visitor
from tests.web.fake_server import person

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

AXE = Path(__file__).resolve().parents[2] / "web/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# what was found in order is ten times as long, and is not asked for
FINDINGS = "async (tags) => (await axe.run(document, { runOnly: tags, resultTypes: ['violations'] })).violations"

REFUSES = """(() => {
  navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', '%s'); };
  navigator.permissions.query = async () => ({ state: '%s', addEventListener() {}, removeEventListener() {} });
})()"""


async def violations(visitor: Visitor) -> list[str]:
    """Serious and critical findings of axe-core, each with the elements concerned."""
    await visitor.page.evaluate(AXE.read_text())
    found = await visitor.page.evaluate(FINDINGS, RULES)
    return [
        f"{finding['id']} ({finding['impact']}): {[node['html'][:160] for node in finding['nodes']]}"
        for finding in found
        if finding["impact"] in ("serious", "critical")
    ]


async def overflows(visitor: Visitor) -> bool:
    """Whether the page is wider than the window, or goes on below its content."""
    found: bool = await visitor.page.evaluate(
        """(({ scrollWidth, scrollHeight }) => scrollWidth > innerWidth
             || scrollHeight > Math.max(innerHeight, document.body.getBoundingClientRect().bottom + scrollY) + 1)
           (document.documentElement)"""
    )
    return found


async def with_guests(visitor: Visitor, language: str) -> None:
    """A full call: somebody speaks, is muted, reconnects, shares; the panel is open."""
    visitor.server.participants = [person(f"p{index}", f"Guest {index}", muted={"camera": True}) for index in range(5)]
    await visitor.open_call(language)
    await visitor.server.push("speakers", speakers=[{"participant": "p0", "level": 0.6}])
    weak = {"participant": "p1", "score": 1.8, "rtt_ms": 900, "loss_percent": 12}
    await visitor.server.push("quality", participants=[weak])
    lost = person("p2", "Guest 2", connection="reconnecting", muted={"microphone": True})
    await visitor.server.push("participant_updated", participant=lost)
    shares = person("p3", "Guest 3", muted={"screen": False})
    await visitor.server.push("participant_updated", participant=shares)
    await visitor.of("people-toggle").click()
    await visitor.see("people-panel")


@LOOKS
async def test_every_screen_is_accessible_and_fits(
    visit: Visit, language: str, theme: str, viewport: dict[str, int]
) -> None:
    visitor = await visit(viewport=viewport, color_scheme=theme, reduced_motion="reduce")
    findings: dict[str, list[str]] = {}

    async def judge(screen: str) -> None:
        assert not await overflows(visitor), screen
        findings[screen] = await violations(visitor)

    await visitor.open_home(language)
    await judge("home")
    await visitor.of("start-call").click()
    await visitor.see("room-link")
    await judge("home, call ready")
    await visitor.open_check(language)
    await judge("device check")
    await with_guests(visitor, language)
    await judge("call")
    await visitor.page.keyboard.press("Escape")
    await visitor.of("settings").click()
    await judge("settings")
    await visitor.page.keyboard.press("Escape")
    await visitor.of("leave").click()
    await visitor.see("ended")
    await judge("after the call")
    assert {screen: found for screen, found in findings.items() if found} == {}
    direction = await visitor.page.evaluate("[document.documentElement.lang, document.documentElement.dir]")
    assert direction == [language, "rtl" if language == "ur" else "ltr"]


@pytest.mark.parametrize(
    ("error", "permission", "state"),
    [
        ("NotAllowedError", "denied", "denied"),
        ("NotAllowedError", "prompt", "dismissed"),
        ("NotFoundError", "granted", "not_found"),
        ("NotReadableError", "granted", "in_use"),
        ("TypeError", "granted", "unknown"),
    ],
)
async def test_each_device_failure_has_its_own_help_and_joining_stays_possible(
    visit: Visit, error: str, permission: str, state: str
) -> None:
    visitor = await visit(before=REFUSES % (error, permission))
    await visitor.open_check()
    help_card = visitor.page.locator(f'[data-testid="permission-help"][data-state="{state}"]')
    await help_card.wait_for()
    assert await help_card.locator("h2").inner_text()
    assert await violations(visitor) == []
    await visitor.of("name-input").fill("Zainab")
    await visitor.of("join-button").click()
    await visitor.see("leave")
    [join] = visitor.server.of_type("join")
    assert [(track["source"], track["muted"]) for track in join["tracks"]] == [("microphone", True), ("camera", True)]


async def test_an_open_question_of_the_browser_is_explained(visit: Visit) -> None:
    visitor = await visit(before="navigator.mediaDevices.getUserMedia = () => new Promise(() => {});")
    await visitor.open_check()
    assert await visitor.of("permission-help").get_attribute("data-state") == "prompt"


SLOW_ANSWER = """
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const asked = new Promise((resolve) => { window.allow = resolve; });
  navigator.mediaDevices.getUserMedia = async (wish) => { await asked; return real(wish); };
"""


async def test_who_joins_before_answering_the_browser_is_seen_as_soon_as_it_is_answered(visit: Visit) -> None:
    visitor = await visit(before=SLOW_ANSWER)
    await visitor.open_check()
    await visitor.of("name-input").fill("Zainab")
    await visitor.of("join-button").click()
    await visitor.see("leave")
    [join] = visitor.server.of_type("join")
    assert [track["muted"] for track in join["tracks"]] == [True, True]
    await visitor.page.evaluate("allow()")
    await visitor.until("wadud.publications.get('camera').track?.readyState === 'live'")
    await visitor.until("!wadud.publications.get('camera').muted && !wadud.publications.get('microphone').muted")


async def test_a_quick_join_waits_for_devices_that_are_just_opening(visit: Visit) -> None:
    visitor = await visit(before=SLOW_ANSWER + "setTimeout(() => allow(), 700);")
    await visitor.open_check()
    await visitor.of("name-input").fill("Zainab")
    await visitor.of("join-button").click()
    await visitor.see("leave")
    [join] = visitor.server.of_type("join")
    assert [track["muted"] for track in join["tracks"]] == [False, False]


async def test_a_device_that_opens_while_the_call_is_being_joined_is_used(visit: Visit) -> None:
    at_once = "const later = setTimeout; window.setTimeout = (run, ms) => later(run, ms === 3000 ? 0 : ms);"
    visitor = await visit(before=SLOW_ANSWER + at_once)
    asked, answered = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await answered.wait()
        await route.continue_()

    await visitor.page.route("**/tokens", hold)
    await visitor.open_check()
    await visitor.of("name-input").fill("Zainab")
    await visitor.of("join-button").click()
    await asked.wait()
    await visitor.page.evaluate("allow()")
    await visitor.until(PREVIEW_ON)
    answered.set()
    await visitor.see("leave")
    for source in ("microphone", "camera"):
        await visitor.until(f"wadud.publications.get('{source}').track?.readyState === 'live'")
        await visitor.until(f"!wadud.publications.get('{source}').muted")


async def test_the_screen_may_go_off_again_after_a_call(visit: Visit) -> None:
    counts = """
      window.awake = 0;
      const request = async () => { awake += 1; return { release: async () => { awake -= 1; } }; };
      Object.defineProperty(navigator, 'wakeLock', { value: { request } });
    """
    visitor = await visit(before=counts)
    await visitor.open_call()
    await visitor.until("awake === 1")
    await visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange')); 0")
    await visitor.of("leave").click()
    await visitor.see("ended")
    await visitor.until("awake === 0", timeout_s=3)


async def test_a_page_without_https_says_so(visit: Visit) -> None:
    insecure = """
      Object.defineProperty(navigator, 'mediaDevices', { value: undefined });
      Object.defineProperty(window, 'isSecureContext', { value: false });
    """
    visitor = await visit(before=insecure)
    await visitor.open_check()
    await visitor.page.locator('[data-testid="permission-help"][data-state="insecure"]').wait_for()


async def test_a_whole_call_by_keyboard_alone(visit: Visit) -> None:
    visitor = await visit()
    page = visitor.page

    async def tab_to(testid: str) -> None:
        for _ in range(25):
            await page.keyboard.press("Tab")
            focused = await page.evaluate(
                "[document.activeElement?.dataset.testid, getComputedStyle(document.activeElement).outlineStyle]"
            )
            if focused[0] == testid:
                assert focused[1] != "none", f"{testid} shows no focus"
                return
        pytest.fail(f"{testid} cannot be reached")

    await visitor.open_home()
    await tab_to("start-call")
    await page.keyboard.press("Enter")
    await visitor.see("room-link")
    await tab_to("enter-call")
    await page.keyboard.press("Enter")
    await visitor.see("preview-video")
    await visitor.until(PREVIEW_ON)
    await tab_to("name-input")
    await page.keyboard.type("Zainab")
    await page.keyboard.press("Enter")
    await visitor.see("leave")
    await page.keyboard.press("m")
    await visitor.until("wadud.publications.get('microphone').muted")
    assert await page.locator("#polite").inner_text() != ""
    await page.keyboard.press("v")
    await visitor.until("wadud.publications.get('camera').track === null")
    await tab_to("people-toggle")
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "people-title"
    await page.keyboard.press("Escape")
    assert await page.evaluate("document.activeElement.dataset.testid") == "people-toggle"
    await tab_to("settings")
    await page.keyboard.press("Enter")
    await visitor.see("settings-dialog")
    await page.keyboard.press("Escape")
    await tab_to("leave")
    await page.keyboard.press("Enter")
    await visitor.see("ended")
    assert await page.evaluate("document.activeElement.id") == "ended-title"
    assert len(await visitor.server.heard("leave")) == 1


async def test_shortcuts_rest_while_typing_and_can_be_switched_off(visit: Visit) -> None:
    visitor = await visit()
    await visitor.open_check()
    await visitor.of("name-input").press_sequentially("mv")
    assert await visitor.of("toggle-mic").get_attribute("data-look") == "on"
    await visitor.open_call()
    await visitor.of("settings").click()
    await visitor.of("shortcuts-switch").uncheck()
    await visitor.of("settings-close").click()
    await visitor.page.keyboard.press("m")
    await visitor.page.keyboard.press("p")
    assert await visitor.of("people-panel").count() == 0
    assert visitor.server.of_type("mute") == []


async def test_a_name_is_asked_for(visit: Visit) -> None:
    visitor = await visit()
    await visitor.open_check()
    await visitor.of("join-button").click()
    assert await visitor.of("name-input").get_attribute("aria-invalid") == "true"
    assert await visitor.page.evaluate("document.activeElement.dataset.testid") == "name-input"
    assert visitor.server.of_type("join") == []


async def test_audio_only_leaves_the_camera_off(visit: Visit) -> None:
    visitor = await visit()
    await visitor.open_check()
    await visitor.until(PREVIEW_ON)
    await visitor.page.evaluate("window.preview = document.querySelector('video').srcObject.getVideoTracks()[0]; 0")
    await visitor.of("name-input").fill("Zainab")
    await visitor.of("join-audio-only").click()
    await visitor.see("leave")
    [join] = visitor.server.of_type("join")
    assert [track["muted"] for track in join["tracks"]] == [False, True]
    assert await visitor.page.evaluate("window.preview.readyState") == "ended"


@pytest.mark.parametrize(
    "language, mine, everybody", [("en", "From your network", "there is room for"), ("ur", "آپ کے نیٹ ورک", "گنجائش")]
)
async def test_the_page_says_why_no_call_can_be_started(visit: Visit, language: str, mine: str, everybody: str) -> None:
    visitor = await visit()
    await visitor.open_home(language)
    for status, code, words in ((429, "too_many_rooms", mine), (503, "rooms_taken", everybody)):
        visitor.server.rooms_refused = (status, code)
        await visitor.of("start-call").click()
        await visitor.see("start-problem")
        assert words in await visitor.of("start-problem").inner_text()
    visitor.server.rooms_refused = None
    await visitor.of("start-call").click()
    await visitor.see("enter-call")
    assert all(str(status) in "".join(visitor.complaints) for status in (429, 503))
    visitor.complaints.clear()


async def test_a_wrong_link_and_a_full_room_are_explained(visit: Visit) -> None:
    visitor = await visit()
    await visitor.open_check(room="no-such-room-0000")
    await visitor.of("name-input").fill("Zainab")
    await visitor.of("join-button").click()
    await visitor.see("join-problem")
    wrong_link = await visitor.of("join-problem").inner_text()
    visitor.server.refusal = {"code": "room_full"}
    await visitor.open_check()
    await visitor.of("name-input").fill("Zainab")
    await visitor.of("join-button").click()
    await visitor.see("join-problem")
    assert await visitor.of("join-problem").inner_text() != wrong_link
    assert all("404" in text or "join failed" in text for text in visitor.complaints)
    visitor.complaints.clear()


async def test_what_is_pressed_in_the_check_while_a_device_opens_is_done(visit: Visit) -> None:
    visitor = await visit()
    await visitor.open_check()
    await visitor.until(PREVIEW_ON)
    await visitor.page.evaluate(f"(() => {{ {SLOW_ANSWER} }})()")
    microphones = visitor.of("microphone-select")
    ids = await microphones.locator("option").evaluate_all("(options) => options.map(({ value }) => value)")
    for chosen in (ids[1], ids[2]):
        await microphones.select_option(chosen)
    for _ in ("off", "on"):
        await visitor.of("toggle-camera").click()
    await visitor.page.evaluate("allow()")
    await visitor.until(PREVIEW_ON, timeout_s=5)
    await visitor.of("name-input").fill("Zainab")
    await visitor.of("join-button").click()
    await visitor.see("leave")
    used = await visitor.page.evaluate("wadud.publications.get('microphone').track.getSettings().deviceId")
    assert used == ids[2]


OWN_CAMERA = "document.querySelector('[data-testid=preview-video]').srcObject?.getVideoTracks()[0]"
OTHER_CAMERA = f"{OWN_CAMERA} !== preview && {OWN_CAMERA}?.readyState === 'live'"


async def press_join(visitor: Visitor) -> None:
    await visitor.open_check()
    await visitor.until(PREVIEW_ON)
    await visitor.page.evaluate(f"window.preview = {OWN_CAMERA}; 0")
    await visitor.of("name-input").fill("Zainab")
    await visitor.of("join-button").click()


async def test_a_camera_pulled_out_behind_a_join_that_failed_is_replaced(visit: Visit) -> None:
    visitor = await visit()
    visitor.server.refusal = {"code": "room_full"}
    await press_join(visitor)
    await visitor.see("join-problem")
    await visitor.page.evaluate("preview.dispatchEvent(new Event('ended'))")
    await visitor.until(OTHER_CAMERA, timeout_s=5)
    assert all("join failed" in text for text in visitor.complaints)
    visitor.complaints.clear()


async def test_a_camera_that_a_call_switched_off_before_it_began_is_on_again(visit: Visit) -> None:
    visitor = await visit()
    asked = asyncio.Event()
    await visitor.page.route("**/tokens", lambda _: asked.set())
    await press_join(visitor)
    await asked.wait()
    await visitor.page.evaluate("wadud.leave()")
    await visitor.see("join-problem")
    await visitor.until(OTHER_CAMERA, timeout_s=5)
    assert all("join failed" in text for text in visitor.complaints)
    visitor.complaints.clear()


async def test_a_lost_socket_shows_the_banner_until_it_is_back(visit: Visit) -> None:
    visitor = await visit()
    visitor.server.participants = [person("p0", "Bilal")]
    await visitor.open_call()
    await visitor.server.cut()
    await visitor.see("banner-reconnecting")
    assert "Reconnecting" in await visitor.page.locator("#assertive").inner_text()
    visitor.server.accepting = True
    await visitor.of("banner-reconnecting").wait_for(state="detached")
    assert visitor.server.of_type("resume")
    assert await visitor.page.evaluate("wadud.self.id") == "me"


async def test_drawing_the_page_never_restarts_a_video(visit: Visit) -> None:
    visitor = await visit()
    visitor.server.participants = [person("p0", "Bilal", muted={"camera": True})]
    await visitor.open_call()
    own = visitor.page.locator('[data-self="true"] video[data-playing]')
    await own.wait_for()
    await own.evaluate(
        "(video) => { window.restarts = 0; video.addEventListener('emptied', () => { restarts += 1; }); }"
    )
    for level in (0.1, 0.5, 0.9):
        await visitor.server.push("speakers", speakers=[{"participant": "p0", "level": level}])
        await visitor.page.locator('[data-participant="p0"][data-speaking="true"]').first.wait_for()
        await visitor.server.push("speakers", speakers=[])
        await visitor.page.locator('[data-participant="p0"][data-speaking="false"]').first.wait_for()
    assert await visitor.page.evaluate("restarts") == 0


async def test_people_come_speak_vanish_and_go(visit: Visit) -> None:
    visitor = await visit()
    await visitor.open_call()
    tile = visitor.page.locator('[data-testid="tile"][data-participant="p0"]')
    await visitor.server.push("participant_joined", participant=person("p0", "Bilal Ahmed", muted={"camera": True}))
    await tile.wait_for()
    assert "Bilal Ahmed joined" in await visitor.page.locator("#polite").inner_text()
    updated = person("p0", "Bilal Ahmed", connection="reconnecting", muted={"camera": True})
    await visitor.server.push("participant_updated", participant=updated)
    await visitor.page.locator('[data-participant="p0"][data-connection="reconnecting"]').first.wait_for()
    await visitor.server.push("participant_left", participant="p0", reason="left")
    await tile.wait_for(state="detached")
    await visitor.see("room-link")


@pytest.mark.parametrize(("rights", "removes"), [(["moderate"], True), (["publish"], False)], ids=["host", "guest"])
async def test_only_hosts_can_remove_and_are_asked_twice(visit: Visit, rights: list[str], removes: bool) -> None:
    visitor = await visit()
    visitor.server.rights = rights
    visitor.server.participants = [person("p0", "Bilal")]
    await visitor.open_call()
    await visitor.of("people-toggle").click()
    assert await visitor.of("remove").count() == (1 if removes else 0)
    if removes:
        await visitor.of("remove").click()
        assert visitor.server.of_type("remove") == []
        await visitor.of("remove-confirm").click()
        await visitor.until("!document.querySelector('[data-testid=remove-confirm]')")
        assert [message["participant"] for message in visitor.server.of_type("remove")] == ["p0"]


@pytest.mark.parametrize("reason", ["removed", "replaced", "room_closed", "token_expired", "revoked"])
async def test_every_end_says_why(visit: Visit, reason: str) -> None:
    visitor = await visit()
    await visitor.open_call()
    await visitor.server.push("bye", reason=reason)
    await visitor.see("ended")
    texts = json.loads((AXE.parents[2] / "locales/en.json").read_text())
    assert await visitor.page.locator("#ended-title").inner_text() == texts[f"ended.{reason}"]
    assert await visitor.page.evaluate("navigator.mediaDevices && wadud.state") == "ended"


async def test_the_language_can_be_switched_at_any_moment_and_is_remembered(visit: Visit) -> None:
    visitor = await visit()
    await visitor.open_home()
    await visitor.of("language-select").select_option("ur")
    await visitor.until("document.documentElement.dir === 'rtl'")
    assert await visitor.page.title() != "Wadud: video consultations"
    await visitor.page.goto(f"{visitor.address}/")
    await visitor.see("start-call")
    assert await visitor.page.evaluate("document.documentElement.lang") == "ur"


async def test_twenty_five_people_fit_a_phone(visit: Visit) -> None:
    visitor = await visit(viewport=PHONE)
    visitor.server.participants = [person(f"p{index}", f"Guest {index}", muted={"camera": True}) for index in range(24)]
    await visitor.open_call()
    assert await visitor.of("tile").count() == 25
    assert not await overflows(visitor)
    narrowest = await visitor.page.evaluate(
        "Math.min(...[...document.querySelectorAll('[data-testid=tile]')].map((tile) => tile.offsetWidth))"
    )
    assert narrowest >= 100
