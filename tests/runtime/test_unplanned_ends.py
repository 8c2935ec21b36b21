"""Processes that end as nobody planned: by Ctrl-C, beside an unclosed runtime, as a forked copy."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.conformance.support import LIMIT

SCRIPT = """
import faulthandler
faulthandler.dump_traceback_later(60, exit=True)  # a hang ends, and shows where

import asyncio, sys, threading
from orchestrator import *
from runtime import LocalRuntime

actions = ActionRegistry()

@actions.register("t:echo")
def echo(value=None):
    return value

@actions.register("t:echo_async")
async def echo_async(value=None):
    return value

@actions.register("t:sleeps")
def sleeps(value=None):
    Orchestrator.from_context().sleep(0.001)
    return value

@actions.register("t:endless")
def endless():
    started.set()
    threading.Event().wait()

@actions.register("t:endless_async")
async def endless_async():
    started.set()
    await asyncio.Event().wait()

started = threading.Event()

def swallowed(unraisable, tell=sys.unraisablehook):
    # Python raises nothing out of a __del__ or a weak reference's callback, not even an interrupt.
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        print("swallowed", flush=True)
    else:
        tell(unraisable)

sys.unraisablehook = swallowed

def ready():
    print("ready", flush=True)

def again_and_again(work):
    for _ in sys.stdin:
        try:
            work()
        except KeyboardInterrupt:
            print("interrupted", len(left()), flush=True)

def left():
    # Those that do not end by themselves at once.
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in others:
        thread._started.wait()  # its start may have been interrupted
        thread.join(5)
    return [thread for thread in others if thread.is_alive()]
"""

INTERRUPTED = {
    "run": """
def work():
    with LocalRuntime(actions, workers=3) as runtime:
        ready()
        while True:
            runtime.run("t:echo", 1)
            runtime.run("t:echo_async", 1)
again_and_again(work)
""",
    "emit": """
names = ("t:echo", "t:echo_async", "t:sleeps") * 10
def work():
    with LocalRuntime(actions, workers=3) as runtime:
        ready()
        while True:
            with runtime.execution() as orchestrator:
                group = orchestrator.emit_children([Execution.ad_hoc(name, 1) for name in names])
                orchestrator.await_group(group)
again_and_again(work)
""",
    "one scope": """
def work():
    with LocalRuntime(actions, workers=3) as runtime, runtime.execution() as orchestrator:
        ready()
        while True:
            group = orchestrator.emit_for_each(range(50), "n", Task("t:echo"), max_in_flight=3)
            for _end in orchestrator.as_completed(group):
                pass
            orchestrator.call(Execution.ad_hoc("t:sleeps", 1))
            orchestrator.release_group(group)
again_and_again(work)
""",
    "handles": """
def work():
    kept = []  # each has a __del__, in which Python would swallow many an interrupt
    with LocalRuntime(actions, workers=3) as runtime:
        ready()
        while True:
            handles = [runtime.spawn("t:sleeps", n) for n in range(20)]
            kept += handles
            for handle in handles:
                handle.result(5)
again_and_again(work)
""",
    "await": """
names = ("t:echo", "t:echo_async", "t:sleeps") * 5
async def main():
    async with LocalRuntime(actions, workers=3) as runtime:
        ready()
        while True:
            async with runtime.execution() as orchestrator:
                group = await orchestrator.emit_children([Execution.ad_hoc(n, 1) for n in names])
                await orchestrator.await_group(group)
again_and_again(lambda: asyncio.run(main()))
""",
}


@contextmanager
def script(body: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs *body*."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT + body],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(OSError):  # it has ended, and what it forked too
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def interrupt(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C, again where Python swallowed it, and return what the process says then."""
    assert process.stdout is not None
    said = "swallowed\n"
    while said == "swallowed\n":
        process.send_signal(signal.SIGINT)
        said = process.stdout.readline()
    return said


@pytest.mark.parametrize("kind", INTERRUPTED)
def test_ctrl_c_at_any_moment_ends_the_block_with_keyboard_interrupt_and_leaves_no_thread(
    kind: str,
) -> None:
    delays = random.Random(kind)
    with script(INTERRUPTED[kind]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(15):
            process.stdin.write("go\n")
            process.stdin.flush()
            said = process.stdout.readline()
            assert said == "ready\n", (said, process.communicate())
            threading.Event().wait(delays.uniform(0, 0.05))  # the moment is the point
            said = interrupt(process)
            assert said == "interrupted 0\n", (said, process.communicate())
        out, errors = process.communicate(timeout=LIMIT)
    assert (out, errors, process.returncode) == ("", "", 0)


TWICE = """
heard = []
names = ("t:echo", "t:echo_async", "t:sleeps") * 5
async def main():
    async with LocalRuntime(actions, workers=3) as runtime:
        ready()
        while True:
            try:
                async with runtime.execution() as orchestrator:
                    group = await orchestrator.emit_children(
                        [Execution.ad_hoc(n, 1) for n in names]
                    )
                    await orchestrator.await_group(group)
            except asyncio.CancelledError:
                if heard:
                    raise
                heard.append("the first one, to which it does not listen")
                print("once", flush=True)
asyncio.run(main())
"""


def test_a_second_ctrl_c_under_asyncio_run_ends_it_and_breaks_no_turn() -> None:
    delays = random.Random(2)
    for _ in range(4):
        with script(TWICE) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            for expected in ("ready\n", "once\n"):
                assert said == expected
                threading.Event().wait(delays.uniform(0, 0.05))  # the moment is the point
                said = interrupt(process)
            assert said == ""
            _, errors = process.communicate(timeout=LIMIT)
        assert errors.strip().splitlines()[-1] == "KeyboardInterrupt", errors
        assert "Unhandled" not in errors
        assert process.returncode == -signal.SIGINT


UNCLOSED = {
    "idle": 'runtime.run("t:echo", 1)',
    "a worker": 'runtime.spawn("t:endless")\nstarted.wait()',
    "a task": 'runtime.spawn("t:endless_async")\nstarted.wait()',
    "a worker of a scope": (
        "scope = runtime.execution()\n"
        "orchestrator = scope.__enter__()\n"
        'orchestrator.emit_children([Execution.ad_hoc("t:endless")])\n'
        "started.wait()"
    ),
    "a source": (
        "orchestrator = runtime.execution().__enter__()\n"
        "def source():\n"
        "    started.set()\n"
        "    threading.Event().wait()\n"
        "    yield 1\n"
        'orchestrator.emit_for_each(source(), "n", Task("t:echo"), max_in_flight=1)\n'
        "started.wait()"
    ),
    "a listener": "runtime.subscribe(print)\nruntime.run('t:echo', 1)",
    "everything at work": (
        "runtime.subscribe(lambda event: None)\n"
        'handles = [runtime.spawn(name) for name in ("t:sleeps", "t:echo_async") * 200]'
    ),
}


@pytest.mark.parametrize("what", UNCLOSED)
def test_the_interpreter_can_exit_beside_an_unclosed_runtime_that_has(what: str) -> None:
    body = f"runtime = LocalRuntime(actions, workers=2)\n{UNCLOSED[what]}\nready()"
    with script(body) as process:
        out, errors = process.communicate(timeout=LIMIT)
    assert "ready" in out, errors
    assert process.returncode == 0, errors
    assert "Fatal" not in errors


FORKED = """
import os
runtime = LocalRuntime(actions, workers=2)
runtime.subscribe(lambda event: None)
handle = runtime.spawn("t:endless")
started.wait()
ended = runtime.spawn("t:echo_async", 1)
ended.result()
scope = runtime.execution()
orchestrator = scope.__enter__()
group = orchestrator.emit_children([Execution.ad_hoc("t:endless_async")])

async def awaited(awaitable):
    return await awaitable

def refused():
    for call in (
        lambda: runtime.run("t:echo", 1),
        lambda: runtime.run("t:echo_async", 1),
        lambda: runtime.spawn("t:echo", 1),
        lambda: asyncio.run(runtime.run_async("t:echo", 1)),
        lambda: runtime.subscribe(print),
        lambda: runtime.execution(),
        lambda: runtime.close(),
        lambda: asyncio.run(runtime.aclose()),
        lambda: handle.result(1),
        lambda: asyncio.run(awaited(handle)),
        lambda: orchestrator.emit_children([Execution.ad_hoc("t:echo")]),
        lambda: orchestrator.await_group(group),
        lambda: orchestrator.await_resume(),
        lambda: next(orchestrator.as_completed(group)),
        lambda: orchestrator.call(Execution.ad_hoc("t:echo")),
        lambda: orchestrator.cancel_group(group),
        lambda: orchestrator.cancel(handle.id),
        lambda: orchestrator.sleep(1),
        lambda: runtime.stats(),
        lambda: handle.snapshot(),
        lambda: handle.cancel(),
        lambda: ended.snapshot(),
        lambda: ended.cancel(),
        lambda: orchestrator.blocking().__enter__(),
    ):
        try:
            call()
        except RuntimeClosedError:
            continue
        except BaseException as error:
            yield f"{call.__code__.co_firstlineno}: {error!r}"
        else:
            yield f"{call.__code__.co_firstlineno}: not refused"

pid = os.fork()
if pid == 0:
    wrong = list(refused())
    print(wrong, flush=True)
    with LocalRuntime(actions, workers=1) as mine:
        assert mine.run("t:echo", 1) == 1
    try:  # as if it had forked in the block: what ends the child is not replaced
        runtime.__exit__(SystemExit, SystemExit(0), None)
        asyncio.run(runtime.__aexit__(SystemExit, SystemExit(0), None))
    except BaseException as error:
        wrong.append(error)
        print(wrong, flush=True)
    os._exit(bool(wrong))
_, status = os.waitpid(pid, 0)
assert runtime.run("t:echo", 3) == 3
assert runtime.run("t:echo_async", 3) == 3
print("status", os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is ever a copy of another here")
def test_in_a_forked_child_every_call_is_refused_and_the_parent_goes_on() -> None:
    with script(FORKED) as process:
        out, errors = process.communicate(timeout=LIMIT)
    assert out.splitlines()[-1:] == ["status 0"], (out, errors)
    assert process.returncode == 0
