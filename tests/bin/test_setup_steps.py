"""The set-up engine: a step runs once, again when its inputs change, and never half."""

import io
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backplane.setup_steps import Step, StepFailedError, Workshop

MakeStep = Callable[..., Step]


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def workshop(tmp_path: Path, out: io.StringIO) -> Workshop:
    (tmp_path / "input").write_text("1")
    return Workshop(tmp_path, out)


@pytest.fixture
def step(tmp_path: Path) -> MakeStep:
    def make(
        name: str = "one",
        code: str = "open('made', 'a').write('x')",
        **fields: bool | tuple[str, ...] | tuple[Step, ...],
    ) -> Step:
        commands = [([sys.executable, "-c", code], tmp_path)]
        return Step(name, f"Step {name}", (tmp_path / "input",), ("made",), lambda: commands, **fields)  # type: ignore[arg-type]

    return make


@contextmanager
def interrupted_by(number: signal.Signals) -> Iterator[None]:
    """That signal is what Ctrl-C is, also where the tests were started in the background, which ignores SIGINT."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.fixture
def cut() -> Iterator[str]:
    """What a command does to interrupt the set-up that runs it, as Ctrl-C would."""
    with interrupted_by(signal.SIGUSR1):
        yield f"import os, signal; signal.alarm(60); os.kill({os.getpid()}, signal.SIGUSR1); signal.pause()"


def times_made(workshop: Workshop) -> int:
    made = workshop.root / "made"
    return len(made.read_text()) if made.exists() else 0


def test_a_step_is_stale_until_performed_and_fresh_after(workshop: Workshop, step: MakeStep) -> None:
    assert not workshop.fresh(step())
    workshop.perform_stale([step()])
    assert workshop.fresh(step())
    assert times_made(workshop) == 1


def test_a_changed_input_makes_the_step_stale(workshop: Workshop, step: MakeStep) -> None:
    workshop.perform_stale([step()])
    (workshop.root / "input").write_text("2")
    assert not workshop.fresh(step())


def test_a_step_is_stale_when_what_it_covers_was_done_with_other_inputs_since(
    workshop: Workshop, step: MakeStep
) -> None:
    def smaller(name: str) -> Step:
        return Step("smaller", "Smaller", (name,), (), list)

    larger = step("larger", covers=(smaller("today"),))
    workshop.perform_stale([larger])
    workshop.perform_stale([smaller("yesterday")])
    assert not workshop.fresh(larger)
    workshop.perform_stale([larger])
    assert workshop.fresh(larger)
    assert workshop.fresh(smaller("today"))


def test_a_lost_output_makes_the_step_stale(workshop: Workshop, step: MakeStep) -> None:
    workshop.perform_stale([step()])
    (workshop.root / "made").unlink()
    assert not workshop.fresh(step())


def test_an_input_edited_during_the_step_leaves_it_stale(workshop: Workshop, step: MakeStep) -> None:
    editing = step(code="open('made', 'w'); open('input', 'w').write('edited meanwhile')")
    workshop.perform_stale([editing])
    assert not workshop.fresh(editing)


def test_a_failed_command_leaves_the_step_stale_and_shows_the_end_of_its_output(
    workshop: Workshop, step: MakeStep
) -> None:
    failing = step(code="open('made', 'w'); print('the compiler is unhappy'); raise SystemExit(3)")
    with pytest.raises(StepFailedError, match=r"(?s)the compiler is unhappy.*status 3.*one\.log"):
        workshop.perform_stale([failing])
    assert not workshop.fresh(failing)
    assert not workshop.interrupted()


def test_a_command_that_does_not_exist_is_a_failed_step(workshop: Workshop) -> None:
    lost = Step("lost", "Lost", (), (), lambda: [(["no-such-program"], workshop.root)])
    with pytest.raises(StepFailedError, match="No such file"):
        workshop.perform_stale([lost])


def test_a_fragile_step_cut_in_the_middle_makes_all_fragile_ones_stale(
    workshop: Workshop, step: MakeStep, cut: str
) -> None:
    ground = step("ground", fragile=True, ground=True)
    sound = step("sound")
    workshop.perform_stale([ground])
    workshop.perform_stale([sound])
    with pytest.raises(KeyboardInterrupt):
        workshop.perform_stale([step("packages", cut, fragile=True)])
    assert workshop.interrupted()
    assert not workshop.fresh(ground)
    assert workshop.fresh(sound)


def test_a_set_up_that_is_interrupted_leaves_no_child_of_its_command(
    workshop: Workshop, step: MakeStep, cut: str
) -> None:
    alive = workshop.root / "alive"  # a pipe that the child holds open as long as it lives
    os.mkfifo(alive)
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    child = f"import os; os.open({str(alive)!r}, os.O_WRONLY); {cut}"
    try:
        with pytest.raises(KeyboardInterrupt), workshop.lock():
            workshop.perform_stale(
                [step(code=f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")]
            )
        assert select.select([reader], [], [], 10)[0], "it lives on"
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_steps_run_side_by_side(workshop: Workshop, step: MakeStep) -> None:
    os.mkfifo(workshop.root / "pipe")  # is opened for writing only while somebody else opens it for reading
    writer, reader = step("writer", "open('pipe', 'w'); open('made', 'w')"), step("reader", "open('pipe')")
    workshop.perform_stale([writer, reader])
    assert workshop.fresh(writer)
    assert workshop.fresh(reader)


def test_a_step_begins_when_those_before_it_are_done(workshop: Workshop, step: MakeStep) -> None:
    first = step("first", "open('made', 'w').write('first')")
    second = step(
        "second", "assert open('made').read() == 'first'; open('made', 'a').write(' second')", after=("first",)
    )
    third = step("third", "assert open('made').read() == 'first second'", after=("first", "second", "not in this plan"))
    workshop.perform_stale([first, second, third])
    assert all(workshop.fresh(each) for each in (first, second, third))


def test_only_stale_steps_run_and_fresh_ones_keep_nobody_waiting(workshop: Workshop, step: MakeStep) -> None:
    fresh = step("fresh")
    workshop.perform_stale([fresh])
    stale = step("stale", after=("fresh",))
    workshop.perform_stale([fresh, stale])
    assert times_made(workshop) == 2
    workshop.perform_stale([fresh, stale])
    assert times_made(workshop) == 2


def test_after_a_failure_nothing_begins_but_what_runs_is_carried_through(workshop: Workshop, step: MakeStep) -> None:
    os.mkfifo(workshop.root / "pipe")
    failing = step("failing", "import os; os.open('pipe', os.O_WRONLY); raise SystemExit(3)")
    carried = step("carried", "open('pipe').read(); open('made', 'w')")  # ends after the other has
    later = step("later", after=("carried",))
    with pytest.raises(StepFailedError, match=r"Step failing failed with status 3"):
        workshop.perform_stale([failing, carried, later])
    assert workshop.fresh(carried)
    assert not workshop.fresh(later)
    assert times_made(workshop) == 0


def test_of_two_failures_both_are_told(workshop: Workshop, step: MakeStep) -> None:
    os.mkfifo(workshop.root / "pipe")
    one = step("one", "open('pipe', 'w'); print('no compiler'); raise SystemExit(3)")
    other = step("other", "open('pipe'); print('no index'); raise SystemExit(4)")
    with pytest.raises(StepFailedError) as caught:
        workshop.perform_stale([one, other])
    for text in ("no compiler", "status 3", "one.log", "no index", "status 4", "other.log"):
        assert text in str(caught.value)


def test_a_failure_is_told_although_the_set_up_is_interrupted_afterwards(
    workshop: Workshop, step: MakeStep, out: io.StringIO, cut: str
) -> None:
    os.mkfifo(workshop.root / "pipe")
    failing = step("failing", "import os; os.open('pipe', os.O_WRONLY); print('no compiler'); raise SystemExit(3)")
    # The failure has been seen when the last command begins: all jobs are looked at between two commands.
    codes = ("open('pipe').read()", "pass", cut)
    interrupting = Step(
        "interrupting",
        "Interrupting",
        (),
        (),
        lambda: [([sys.executable, "-c", code], workshop.root) for code in codes],
    )
    with pytest.raises(KeyboardInterrupt):
        workshop.perform_stale([interrupting, failing])
    assert "no compiler" in out.getvalue()
    assert "status 3" in out.getvalue()


def test_an_interrupted_set_up_ends_all_that_runs_side_by_side(workshop: Workshop, step: MakeStep, cut: str) -> None:
    """The first is slow to die: it ends when it has heard that the second is gone."""
    os.mkfifo(workshop.root / "alive")
    slow = (
        "import os, signal, sys; alive = os.open('alive', os.O_RDONLY); signal.alarm(60); "
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if os.read(alive, 1) == b'' else 1)); signal.pause()"
    )
    quick = f"import os; os.open('alive', os.O_WRONLY); {cut}"
    with pytest.raises(KeyboardInterrupt), workshop.lock():
        workshop.perform_stale([step("slow", slow), step("quick", quick)])


def test_a_command_that_starts_as_the_set_up_is_interrupted_is_ended(
    workshop: Workshop, step: MakeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            signal.raise_signal(signal.SIGINT)  # for this thread: the set-up has no other, the tests may have

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with interrupted_by(signal.SIGINT), pytest.raises(KeyboardInterrupt):
        workshop.perform_stale([step(code="import signal; signal.alarm(60); signal.pause()")])
    assert [process.poll() for process in started] == [-signal.SIGTERM]


def test_the_order_of_steps_is_that_of_what_they_build_on(workshop: Workshop, step: MakeStep) -> None:
    fresh, stale = step("fresh"), step("stale", after=("fresh",))
    workshop.perform_stale([fresh])
    workshop.perform_stale([stale, fresh])
    assert workshop.fresh(stale)


def test_steps_that_wait_for_each_other_are_told(workshop: Workshop, step: MakeStep) -> None:
    steps = [step("one", after=("other",)), step("other", after=("one",)), step("third")]
    with pytest.raises(ValueError, match="one, other"):
        workshop.perform_stale(steps)
    assert workshop.fresh(steps[2])


def test_a_fragile_step_is_known_as_cut_whatever_ended_beside_it(workshop: Workshop, step: MakeStep, cut: str) -> None:
    os.mkfifo(workshop.root / "pipe")
    fragile = step("fragile", f"open('pipe'); {cut}", fragile=True)
    beside = step("beside")
    herald = step("herald", "open('pipe', 'w')", after=("beside",))  # begins when that has been stamped
    with pytest.raises(KeyboardInterrupt):
        workshop.perform_stale([fragile, beside, herald])
    assert workshop.fresh(beside)
    assert workshop.interrupted()


def test_new_ground_makes_every_other_step_stale(workshop: Workshop, step: MakeStep) -> None:
    workshop.perform_stale([step("above")])
    workshop.perform_stale([step("ground", ground=True)])
    assert not workshop.fresh(step("above"))


def test_new_ground_keeps_what_it_stands_on(workshop: Workshop, step: MakeStep) -> None:
    workshop.perform_stale([step("below"), step("ground", ground=True, after=("below",))])
    assert workshop.fresh(step("below"))
    assert workshop.fresh(step("ground"))


def test_a_step_that_covers_another_does_it_as_well(workshop: Workshop, step: MakeStep) -> None:
    smaller = step("smaller")
    workshop.perform_stale([step("larger", covers=(smaller,))])
    assert workshop.fresh(smaller)


def test_damaged_stamps_count_as_none(workshop: Workshop, step: MakeStep) -> None:
    workshop.perform_stale([step()])
    (workshop.root / ".setup" / "stamps.json").write_text('{"one": ')
    assert not workshop.fresh(step())


def test_a_second_set_up_waits_for_the_first(workshop: Workshop, tmp_path: Path, out: io.StringIO) -> None:
    order: list[str] = []
    waiting = threading.Event()

    class Told(io.StringIO):
        def write(self, text: str) -> int:
            waiting.set()
            return super().write(text)

    told = Told()

    def second() -> None:
        with Workshop(tmp_path, told).lock():
            order.append("second")

    with workshop.lock():
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert "waiting" in told.getvalue()


def test_progress_shows_title_and_seconds_on_one_line(workshop: Workshop, step: MakeStep, out: io.StringIO) -> None:
    workshop.perform_stale([step()])
    title, seconds = out.getvalue().rstrip("\n").split(" ... ")
    assert title == "[1/1] Step one"
    assert float(seconds.removesuffix(" s")) >= 0


def test_steps_side_by_side_each_end_on_a_line_of_their_own(
    workshop: Workshop, step: MakeStep, out: io.StringIO
) -> None:
    os.mkfifo(workshop.root / "pipe")
    last = step("last", "open('pipe'); open('made', 'w')")
    steps = [last, step("first"), step("second", "open('pipe', 'w')", after=("first",))]
    workshop.perform_stale(steps)
    ends = [line.split(" ... ") for line in out.getvalue().splitlines() if not line.endswith("...")]
    assert sorted(title for title, _ in ends) == ["[1/3] Step last", "[2/3] Step first", "[3/3] Step second"]
    assert all(float(seconds.removesuffix(" s")) >= 0 for _, seconds in ends)
    assert out.getvalue().endswith(" s\n")


def test_on_a_terminal_there_is_a_line_for_each_step_and_no_other(workshop: Workshop, step: MakeStep) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    os.mkfifo(workshop.root / "pipe")
    last = step("last", "open('pipe'); open('made', 'w')")
    steps = [last, step("first"), step("second", "open('pipe', 'w')", after=("first",))]
    Workshop(workshop.root, screen).perform_stale(steps)
    lines = [line.rpartition("\r\x1b[K")[2] for line in screen.getvalue().removesuffix("\n").split("\n")]
    titles, seconds = zip(*(line.split(" ... ") for line in lines), strict=True)
    assert sorted(titles) == ["[1/3] Step last", "[2/3] Step first", "[3/3] Step second"]
    assert all(float(each.removesuffix(" s")) >= 0 for each in seconds)
