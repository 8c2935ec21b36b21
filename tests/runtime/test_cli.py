"""The command, as a shell and its user see it: codes, streams, signals, a terminal."""

import contextlib
import io
import json
import os
import queue
import select
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest

from runtime.cli import main
from runtime.cli_inbox import Inbox

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0  # seconds for a whole command; what takes longer hangs
MAIN = "import sys; from runtime import cli, cli_run; {}; sys.exit(cli.main())"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")

APP = """
import asyncio
import logging
import os
import subprocess
import sys
from typing import Any

from attrs import frozen

from orchestrator import ActionRegistry, Execution, Orchestrator, Task

actions = ActionRegistry()
empty = ActionRegistry()
number = 3
print("printed on import")
kept = logging.StreamHandler(sys.__stdout__)


def begun():
    print("begun", file=sys.stderr, flush=True)


@actions.register("app:echo")
def echo(value=None):
    return value


@frozen
class Point:
    x: int


@actions.register("app:point")
def point(at: Point):
    return at.x


@actions.register("app:noisy")
def noisy():
    print("printed")
    sys.__stdout__.write("written to the stream itself\\n")
    os.write(1, b"written to the descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('printed by a command')"], check=True)
    call = Orchestrator.from_context().call
    return call(Execution.ad_hoc("app:noisy_process"))


@actions.register("app:noisy_process", runs_in="process")
def noisy_process():
    print("printed by a process")
    return "output"


@actions.register("app:object")
def object_():
    return {"items": [1, {2}]}


@actions.register("app:child")
def child(i):
    if i % 2:
        raise ValueError(f"child {i} is odd")
    return i


@actions.register("app:fan")
def fan(n):
    orchestrator = Orchestrator.from_context()
    group = orchestrator.emit_for_each(range(n), "i", Task("app:child"))
    return orchestrator.await_group(group, return_exceptions=True)[::2]


@actions.register("app:fail")
def fail():
    orchestrator = Orchestrator.from_context()
    error = None
    try:
        orchestrator.await_group(orchestrator.emit_for_each([0, 1], "i", Task("app:child")))
    except ExceptionGroup as group:
        error = group
    error.add_note("a note of the action's")
    raise error


@actions.register("app:exit")
def exit_():
    sys.exit(3)


@actions.register("app:sleep")
async def sleep():
    begun()
    await asyncio.sleep(1000)


@actions.register("app:fan_sleep")
async def fan_sleep():
    from orchestrator import AsyncOrchestrator
    await AsyncOrchestrator.from_context().emit_for_each(range(3), "i", Task("app:sleep", {}))


@actions.register("app:read")
def read():
    begun()
    print("a line of the action's", file=sys.stderr, flush=True)
    return sys.stdin.readline()  # nothing but a line ends it


@actions.register("app:compute", runs_in="process")
def compute():
    begun()
    return sum(range(10**14))  # in C, with the lock held: nothing but SIGKILL ends it


@actions.register("app:compute_and_read")
def compute_and_read():
    orchestrator = Orchestrator.from_context()
    orchestrator.emit_one(Execution.ad_hoc("app:compute"))
    return sys.stdin.readline()


@actions.register("app:lambda", runs_in="process")
def _unpicklable():
    pass


del _unpicklable
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


@pytest.fixture
def here(app: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The application's folder as the working directory of this very process."""
    monkeypatch.chdir(app)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield app
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and Path(
            str(sys.modules[name].__file__)
        ).is_relative_to(app):
            del sys.modules[name]


class Command:
    """A command that runs in a process of its own and is dead when the block is left."""

    def __init__(
        self,
        app: Path,
        *args: str,
        stderr: int = subprocess.PIPE,
        stdout: int = subprocess.PIPE,
        setup: str = "",
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN.format(setup or "None"), "run", "app:actions", *args],
            cwd=app,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
        )
        self._watch = threading.Timer(PATIENCE, self.process.kill)
        self._watch.daemon = True

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._watch.cancel()
        self.process.kill()
        self.process.communicate()

    def until(self, text: str) -> str:
        """What comes on stderr, up to the line that holds *text*."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line.decode())
            if text in lines[-1]:
                return "".join(lines)
        pytest.fail(f"{text!r} did not come:\n{''.join(lines)}")

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end(self) -> tuple[int, str, str]:
        """Its exit code, and the rest of stdout and stderr.

        A stream ends when the last process that holds it has: this waits for all of them.
        """
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, (out or b"").decode(), (err or b"").decode()


def run(app: Path, *args: str) -> tuple[int, str, str]:
    with Command(app, *args) as command:
        return command.end()


# What is checked before anything starts


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "COMMAND"),
        (["run", "app:actions"], "ACTION"),
        (["run", "app", "app:echo"], "'app' is not MODULE:REGISTRY"),
        (["run", "app:", "app:echo"], "'app:' is not MODULE:REGISTRY"),
        (["run", "ap:actions", "app:echo"], "no module 'ap'"),
        (["run", "app.inner:actions", "app:echo"], "'app.inner'"),
        (["run", "app:action", "app:echo"], "no attribute 'action'; its registries: actions"),
        (["run", "app:number", "app:echo"], "must be an ActionRegistry, but it is of type int: 3"),
        (["run", "app:ActionRegistry", "app:echo"], "the class, not an instance"),
        (["run", "app:actions", "app:ehco"], "did you mean 'app:echo'"),
        (["run", "app:actions", "zzz"], "it has 'app:child', 'app:compute'"),
        (["run", "app:empty", "app:echo"], "it is empty"),
        (["run", "app:actions", "app:echo", "--input", "{"], "'{' is no JSON: Expecting"),
        (["run", "app:actions", "app:echo", "--input", "NaN"], "NaN is no JSON value"),
        (["run", "app:actions", "app:echo", "--input", "@none.json"], "No such file"),
        (["run", "app:actions", "app:echo", "--input", "@app.py"], "app.py is no JSON"),
        (["run", "app:actions", "app:echo", "--input", '{"valeu": 1}'], "'valeu'"),
        (["run", "app:actions", "app:fan"], "'n'"),
        (["run", "app:actions", "app:point", "--input", '{"at": {"x": "?"}}'], "'at'"),
        (["run", "app:actions", "app:lambda"], "can't be pickled"),
        (["run", "app:actions", "app:echo", "--timeout", "-1"], "'-1' is not seconds, 0 or more"),
        (["run", "app:actions", "app:echo", "--timeout", "nan"], "'nan' is not seconds"),
        (["run", "app:actions", "app:echo", "--workers", "0"], "'0' is not an integer, 1 or more"),
        (["run", "app:actions", "app:echo", "--workers", "many"], "'many' is not an integer"),
        (["run", "app:actions", "app:echo", "--events", "none/events"], "No such file"),
        (["run", "app:actions", "app:echo", "--evnts", "x"], "--evnts"),
    ],
)
@pytest.mark.usefixtures("here")
def test_bad_usage_ends_with_2_and_a_message_that_says_what_was_wrong(
    args: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    out, err = capfd.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("failure", ["1 / 0", "raise SystemExit(0)", "import not_there", "def"])
def test_a_module_that_raises_on_import_is_named_with_its_traceback(
    here: Path, failure: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "broken.py").write_text(f"# first line\n{failure}\n", encoding="utf-8")
    assert main(["run", "broken:actions", "app:echo"]) == 2
    out, err = capfd.readouterr()
    assert "module 'broken' raised " in err
    assert 'broken.py", line 2' in err
    assert "importlib" not in err
    assert out == ""


def test_the_help_lists_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(code in out for code in ("0 ", "1 ", "2 ", "124 ", "130 "))


# What comes out


@pytest.mark.usefixtures("here")
def test_it_can_be_called_where_stdout_is_captured_and_leaves_all_as_it_was() -> None:
    before = (sys.stderr, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        assert main(["run", "app:actions", "app:echo", "--input", "[1, null]"]) == 0
    assert stdout.getvalue() == "[1, null]\n"
    assert before == (sys.stderr, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_the_output_is_json_on_stdout_and_everything_else_is_on_stderr(app: Path) -> None:
    code, out, err = run(app, "app:noisy")
    assert (code, out) == (0, '"output"\n')
    for text in (
        "printed on import",
        "printed",
        "written to the stream itself",
        "written to the descriptor",
        "printed by a command",
        "printed by a process",
    ):
        assert f"{text}\n" in err


def test_the_input_can_come_from_a_file_and_the_totals_come_last(app: Path) -> None:
    (app / "input.json").write_text('\ufeff{"n": 5}', encoding="utf-8")
    code, out, err = run(app, "app:fan", "--input", "@input.json", "--workers", "1")
    assert (code, json.loads(out)) == (0, [0, 2, 4])
    assert "app:fan done: 5 children, 2 failures, " in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith(" children per second")
    assert "\x1b" not in err  # no terminal, nothing drawn


@pytest.mark.parametrize(
    ("action", "message"),
    [("app:object", "{2} is of type set"), ("app:nan", "not JSON compliant")],
)
def test_an_output_that_is_no_json_is_an_error_that_names_the_type(
    here: Path, capfd: pytest.CaptureFixture[str], action: str, message: str
) -> None:
    with (here / "app.py").open("a", encoding="utf-8") as file:
        file.write("actions.register('app:nan')(lambda: {'x': float('nan')})\n")
    assert main(["run", "app:actions", action]) == 1
    out, err = capfd.readouterr()
    assert f"the output of '{action}', of type dict, can't be written as JSON" in err
    assert message in err
    assert out == ""


@pytest.mark.usefixtures("here")
def test_an_action_that_fails_ends_with_1_and_its_traceback_with_notes_and_groups(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "app:actions", "app:fail"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "ValueError: child 1 is odd" in err
    assert "in child" in err
    assert "| a note of the action's" in err
    assert "cli_run.py" not in err
    assert "app:fail failed: 2 children, 1 failure, " in err


@pytest.mark.usefixtures("here")
def test_an_action_that_exits_has_failed_with_1_whatever_its_code(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "app:actions", "app:exit"]) == 1
    assert "SystemExit: 3" in capfd.readouterr().err


def test_output_that_nobody_reads_is_said_in_one_line(app: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with Command(app, "app:echo", stdout=writing) as command:
            code, _, err = command.end()
    finally:
        os.close(writing)
    assert code == 1
    assert "the output can't be written to stdout: Broken pipe" in err
    assert "Traceback" not in err


def test_an_output_for_a_closed_stdout_is_said_to_be_lost(app: Path) -> None:
    start = [sys.executable, "-c", MAIN.format("None"), "run", "app:actions", "app:echo"]
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {shlex.join(start)} >&-"],
        cwd=app,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    assert "the output can't be written to stdout" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_disk_loses_events_not_the_output_and_is_said_at_the_end(app: Path) -> None:
    code, out, err = run(app, "app:echo", "--input", "7", "--events", "/dev/full")
    assert (code, out) == (1, "7\n")
    assert "--events /dev/full: No space left on device; 3 events are missing" in err


def test_each_event_is_one_line_of_json(app: Path) -> None:
    code, _, _ = run(app, "app:fan", "--input", '{"n": 4}', "--events", "events.jsonl")
    assert code == 0
    events = [json.loads(line) for line in (app / "events.jsonl").read_text().splitlines()]
    states: dict[str, list[str]] = {}
    for event in events:
        assert event["previous"] == states.get(event["id"], ["pending"])[-1]
        states.setdefault(event["id"], []).append(event["state"])
    ends = [event for event in events if event["state"] in ("completed", "failed")]
    assert len(states) == len(ends) == 5
    assert events[0]["at"] == 0
    assert sorted(end["error"] for end in ends if end["error"]) == [
        "ValueError: child 1 is odd",
        "ValueError: child 3 is odd",
    ]


# How it is ended


def test_a_signal_that_comes_to_another_thread_ends_the_wait_of_the_main_thread() -> None:
    inbox: Inbox[str] = Inbox()
    real = inbox._receiver

    class Receiver:
        """The socket, at which the main thread is about to wait."""

        settimeout, close = real.settimeout, real.close

        def recv(self, size: int) -> bytes:
            sender.start()
            return real.recv(size)

    def send() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    inbox._receiver = Receiver()  # type: ignore[assignment]
    before = signal.signal(signal.SIGTERM, lambda *_: inbox.put("a signal"))
    try:
        with closing(inbox), inbox.woken_by_signals():
            assert inbox.get(PATIENCE) == "a signal"
            with pytest.raises(queue.Empty):
                inbox.get(0)
    finally:
        signal.signal(signal.SIGTERM, before)
        sender.join()


def test_a_timeout_ends_it_with_124(app: Path) -> None:
    code, out, err = run(app, "app:fan_sleep", "--timeout", "0.3")
    assert (code, out) == (124, "")
    assert "app:fan_sleep had not ended after 0.3 s (--timeout)" in err
    assert "timed out: 3 children, 0 failures, 3 cancelled, " in err


def test_what_cannot_be_stopped_after_a_timeout_is_named_and_left(app: Path) -> None:
    setup = "cli_run.SAY_AFTER = cli_run.GRACE = 0.1"
    with Command(app, "app:read", "--timeout", "1", setup=setup) as command:
        said = command.until("leaving it, still running")
        code, out, _ = command.end()
    assert (code, out) == (124, "")
    assert "waiting for app:read at File " in said


@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_cancels_the_action_and_everything_below(
    app: Path, number: signal.Signals, code: int, name: str
) -> None:
    with Command(app, "app:fan_sleep", "--events", "events.jsonl") as command:
        command.until("begun")
        command.until("begun")
        command.until("begun")
        command.process.send_signal(number)
        ended, out, err = command.end()
    assert (ended, out) == (code, "")
    assert f"{name}: cancelling app:fan_sleep" in err
    assert "interrupted: 3 children, 0 failures, 3 cancelled, " in err
    events = [json.loads(line) for line in (app / "events.jsonl").read_text().splitlines()]
    assert sum(event["state"] == "cancelled" for event in events) == 4


def test_ctrl_c_while_the_module_is_imported_ends_it_too(app: Path) -> None:
    with (app / "app.py").open("a", encoding="utf-8") as file:
        file.write("begun()\nsys.stdin.read()\n")
    with Command(app, "app:echo") as command:
        command.until("begun")
        command.process.send_signal(signal.SIGINT)
        assert command.end() == (130, "", "interrupted\n")


def test_a_signal_waits_for_what_cannot_be_stopped_and_names_it(app: Path) -> None:
    with Command(app, "app:read", setup="cli_run.SAY_AFTER = 0.1") as command:
        command.until("begun")
        command.process.send_signal(signal.SIGINT)
        said = command.until("which can't be stopped")
        assert "waiting for app:read at File " in said
        assert "in read" in said
        assert command.process.poll() is None
        command.type("a line\n")
        code, out, err = command.end()
    assert (code, out) == (130, "")
    assert "app:read interrupted" in err


def test_a_second_signal_ends_it_at_once(app: Path) -> None:
    with Command(app, "app:read", setup="cli_run.SAY_AFTER = 0.1") as command:
        command.until("begun")
        command.process.send_signal(signal.SIGINT)
        command.until("waiting for app:read")
        command.process.send_signal(signal.SIGINT)
        code, out, err = command.end()
    assert (code, out) == (130, "")
    assert "ended at once" in err


def test_a_signal_leaves_no_process_behind(app: Path) -> None:
    with Command(app, "app:compute") as command:
        command.until("begun")
        command.process.send_signal(signal.SIGINT)
        code, _, _ = command.end()  # when the process that held stderr has ended too
    assert code == 130


def test_a_second_signal_leaves_no_process_behind_either(app: Path) -> None:
    # The process computes on, because the first signal's cancel does not reach it.
    setup = "cli_run.Handle.cancel = cli_run.Run._close = lambda *args, **options: None"
    with Command(app, "app:compute_and_read", setup=setup) as command:
        command.until("begun")
        command.process.send_signal(signal.SIGTERM)
        command.until("cancelling")
        command.process.send_signal(signal.SIGTERM)
        code, _, _ = command.end()
    assert code == 143


# On a terminal


class Terminal:
    """A pseudo-terminal; what is drawn on it is kept."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.drawn = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.hang_up()
        os.close(self.master)

    def hang_up(self) -> None:
        """Close this process's own hold on what the command writes to."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def until(self, text: bytes) -> None:
        """Read on until *text* was drawn; ``b""`` reads to the end."""
        while not text or text not in self.drawn:
            readable, _, _ = select.select([self.master], [], [], PATIENCE)
            assert readable, f"{text!r} was not drawn: {self.drawn!r}"
            try:
                data = os.read(self.master, 4096)
            except OSError:  # how Linux tells the end
                data = b""
            if not data:
                assert not text, f"{text!r} was not drawn: {self.drawn!r}"
                return
            self.drawn += data


SHOW_CURSOR = b"\x1b[?25h"


@pytest.mark.parametrize("rich", [True, False])
def test_progress_is_drawn_on_a_terminal_where_rich_is_installed(app: Path, *, rich: bool) -> None:
    if rich:
        pytest.importorskip("rich")
    setup = "" if rich else "sys.modules['rich'] = None"
    with (
        Terminal() as terminal,
        Command(app, "app:read", stderr=terminal.slave, setup=setup) as command,
    ):
        terminal.hang_up()
        terminal.until(b"0/0 children" if rich else b"begun")
        command.type("a line\n")
        terminal.until(b"")
        code, out, _ = command.end()
    assert (code, out) == (0, '"a line\\n"\n')
    assert b"a line of the action's" in terminal.drawn
    assert b"app:read done: 0 children, 0 failures, " in terminal.drawn
    assert (b"\x1b" in terminal.drawn) is rich
    if rich:
        assert SHOW_CURSOR in terminal.drawn


def test_a_second_signal_gives_the_terminal_its_cursor_back(app: Path) -> None:
    pytest.importorskip("rich")
    with Terminal() as terminal, Command(app, "app:read", stderr=terminal.slave) as command:
        terminal.hang_up()
        terminal.until(b"0/0 children")
        command.process.send_signal(signal.SIGINT)
        terminal.until(b"cancelling app:read")
        command.process.send_signal(signal.SIGINT)
        terminal.until(b"")
        code, _, _ = command.end()
    assert code == 130
    assert SHOW_CURSOR in terminal.drawn[terminal.drawn.rindex(b"\x1b[?25l") :]
