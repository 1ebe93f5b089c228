"""What a press does to the focus, the devices and the settings of the call page, against a fake server."""

import pytest

from tests.web.conftest import Visit, Visitor
from tests.web.fake_server import person

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

FOCUS = """(() => {
  const { activeElement } = document;
  return activeElement === document.body ? 'nowhere' : activeElement.dataset.testid || activeElement.id;
})()"""
CAMERA_RUNS = "document.querySelector('.preview')?.dataset.video === 'on'"


async def press(visitor: Visitor, selector: str) -> None:
    await visitor.page.locator(selector).first.focus()
    await visitor.page.keyboard.press("Enter")


async def has_focus(visitor: Visitor, name: str) -> None:
    await visitor.until(f"{FOCUS} === '{name}'")


async def test_the_focus_follows_when_removing_is_asked_thought_better_of_and_done(visit: Visit) -> None:
    visitor = await visit()
    visitor.server.rights = ["moderate"]
    visitor.server.participants = [person("p0", "Bilal")]
    await visitor.open_call()
    await visitor.of("people-toggle").click()
    await press(visitor, "[data-testid=remove]")
    await visitor.until("document.activeElement.closest('.person-confirm') !== null")
    await press(visitor, ".person-confirm button")
    await has_focus(visitor, "remove")
    await press(visitor, "[data-testid=remove]")
    await press(visitor, "[data-testid=remove-confirm]")
    await has_focus(visitor, "people-title")


async def test_the_focus_is_in_the_lobby_behind_join_again(visit: Visit) -> None:
    visitor = await visit()
    await visitor.open_call()
    await visitor.of("leave").click()
    await visitor.see("ended")
    await press(visitor, "[data-testid=rejoin]")
    await has_focus(visitor, "lobby-title")


async def test_the_focus_stays_when_sharing_is_stopped_in_the_banner(visit: Visit) -> None:
    visitor = await visit(
        before="navigator.mediaDevices.getDisplayMedia = async () => document.createElement('canvas').captureStream(1);"
    )
    await visitor.open_call()
    await visitor.of("share-screen").click()
    await press(visitor, "[data-testid=banner-sharing] button")
    await has_focus(visitor, "share-screen")
    visitor.complaints.clear()  # the fake server answers each offer as the first one


async def test_the_focus_stays_when_sound_is_turned_on(visit: Visit) -> None:
    visitor = await visit(
        before="""
      const { play } = HTMLMediaElement.prototype;
      window.held = true;
      HTMLMediaElement.prototype.play = async function () {
        if (held && this instanceof HTMLAudioElement) throw new DOMException('press', 'NotAllowedError');
        return play.call(this).catch(() => undefined);
      };
    """
    )
    await visitor.open_call()
    await visitor.see("unblock-sound")
    await visitor.page.evaluate("held = false; 0")
    await press(visitor, "[data-testid=unblock-sound]")
    await has_focus(visitor, "call-title")


async def test_the_focus_comes_back_to_the_button_behind_a_join_that_failed(visit: Visit) -> None:
    visitor = await visit()
    await visitor.open_check()
    visitor.server.refusal = {"code": "room_full"}
    await visitor.until(CAMERA_RUNS)
    await visitor.of("name-input").fill("Zainab")
    await press(visitor, "[data-testid=join-button]")
    await visitor.see("join-problem")
    await has_focus(visitor, "join-button")
    visitor.complaints.clear()


async def test_the_speaker_test_is_heard_though_the_remembered_speaker_is_gone(visit: Visit) -> None:
    visitor = await visit(
        before="""
      localStorage.setItem('wadud.devices', JSON.stringify({ speaker: 'a-headset-of-yesterday' }));
      window.contexts = [];
      window.played = 0;
      const Real = AudioContext;
      window.AudioContext = class extends Real { constructor() { super(); contexts.push(this); } };
      const { play } = HTMLMediaElement.prototype;
      HTMLMediaElement.prototype.play = function () {
        if (this instanceof HTMLAudioElement) played += 1;
        return play.call(this);
      };
    """
    )
    await visitor.open_check()
    await visitor.until(CAMERA_RUNS)
    before = await visitor.page.evaluate("contexts.length")
    await visitor.of("speaker-test").click()
    await visitor.until("played === 1")
    opened = f"contexts.slice({before})"
    await visitor.until(f"{opened}.length > 0 && {opened}.every(({{ state }}) => state === 'closed')")


async def test_a_button_that_says_start_video_starts_it_behind_a_failure(visit: Visit) -> None:
    visitor = await visit(
        before="""
      window.busy = true;
      window.asked = 0;
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (wish) => {
        if (wish.video) asked += 1;
        if (busy && wish.video) throw new DOMException('busy', 'NotReadableError');
        return real(wish);
      };
    """
    )
    await visitor.open_check()
    # Not the card that stands there while the browser is still asked.
    await visitor.page.locator('[data-testid="permission-help"][data-state="in_use"]').wait_for()
    await visitor.page.evaluate("busy = false; asked = 0; 0")
    assert await visitor.of("toggle-camera").get_attribute("aria-label") == "Start video"
    await visitor.of("toggle-camera").click()
    await visitor.until(CAMERA_RUNS)
    assert await visitor.page.evaluate("asked") == 1


async def test_the_settings_name_the_camera_in_use_behind_a_change_that_failed(visit: Visit) -> None:
    visitor = await visit(
        before="""
      const { mediaDevices } = navigator;
      const real = mediaDevices.getUserMedia.bind(mediaDevices);
      const list = mediaDevices.enumerateDevices.bind(mediaDevices);
      mediaDevices.getUserMedia = async (wish) => {
        if (JSON.stringify(wish).includes('broken-camera')) throw new DOMException('busy', 'NotReadableError');
        return real(wish);
      };
      mediaDevices.enumerateDevices = async () => [...await list(),
        { kind: 'videoinput', deviceId: 'broken-camera', groupId: '', label: 'Broken' }];
    """
    )
    await visitor.open_call()
    await visitor.of("settings").click()
    await visitor.until("document.querySelectorAll('dialog [data-testid=camera-select] option').length > 1")
    await visitor.page.locator("dialog [data-testid=camera-select]").select_option("broken-camera")
    await visitor.until("wadud.publications.get('camera').muted")
    await visitor.of("settings-close").click()
    await visitor.of("toggle-camera").click()
    await visitor.until(
        "document.querySelector('dialog [data-testid=camera-select]').value"
        " === wadud.publications.get('camera').track?.getSettings().deviceId"
    )
    visitor.complaints.clear()


async def test_the_screen_is_kept_awake_once_and_not_behind_the_call(visit: Visit) -> None:
    visitor = await visit(
        before="""
      window.asked = [];
      window.awake = 0;
      const lock = () => ({ released: false, release: async () => { awake -= 1; } });
      const request = () => new Promise((resolve) => asked.push(() => { awake += 1; resolve(lock()); }));
      Object.defineProperty(navigator, 'wakeLock', { value: { request } });
    """
    )
    await visitor.open_call()
    await visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange')); 0")
    assert await visitor.page.evaluate("asked.length") == 1
    await visitor.page.evaluate("asked[0](); 0")
    await visitor.until("awake === 1")
    await visitor.of("leave").click()
    await visitor.see("ended")
    await visitor.until("awake === 0")
