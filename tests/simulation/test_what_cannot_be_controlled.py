"""What a simulation refuses, and what it notices: always by name, never silently wrong."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import datetime as dt
import gc
import signal
import threading
import time
from typing import Any

import pytest

from orchestrator import ActionRegistry, Execution, Orchestrator, RuntimeClosedError
from runtime.simulation import (
    RealTimeWarning,
    Schedule,
    SimulatedRuntime,
    Simulation,
    SimulationError,
    SimulationOverrunError,
    UncontrolledError,
)
from runtime.simulation import guard as guard_module
from runtime.simulation.guard import Guard
from runtime.simulation.patches.install import REAL
from runtime.simulation.refusal import find_real_times, find_uncontrolled
from tests.simulation import uncontrolled


@pytest.mark.parametrize("case", sorted(uncontrolled.CASES))
def test_what_an_action_has_bound_before_is_refused_by_name(case: str) -> None:
    function, text = uncontrolled.CASES[case]
    actions = ActionRegistry()
    actions.register("tools:fetch")(function)
    for _ in range(2):
        with (
            pytest.raises(UncontrolledError, match=text) as caught,
            SimulatedRuntime(actions) as runtime,
        ):
            runtime.run("tools:fetch")
        assert "'tools:fetch'" in str(caught.value)
        assert "import runtime.simulation" in str(caught.value)


def stamp() -> str:
    return dt.datetime.now(dt.UTC).isoformat()


def stamp_in_a_call() -> str:
    return stamp()


def with_a_virtual_time() -> dt.datetime:
    return dt.datetime.fromtimestamp(time.time(), dt.UTC)


def test_what_reads_the_real_date_is_named_once() -> None:
    actions = ActionRegistry()
    actions.register("tools:stamp")(stamp_in_a_call)
    told = r"'tools:stamp'.*stamp names datetime\.now, which reads the real clock"
    with pytest.warns(RealTimeWarning, match=told), SimulatedRuntime(actions) as runtime:
        runtime.run("tools:stamp")
    with SimulatedRuntime(actions) as runtime:
        runtime.run("tools:stamp")


def test_a_date_made_of_the_virtual_time_is_nothing_to_tell_of() -> None:
    assert find_real_times(with_a_virtual_time) == []
    assert len(find_real_times(stamp)) == 1


OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("schedule", {"schedule": Schedule.seeded(1)}),
    ("clock", {"clock": "jump"}),
    ("clock", {"clock": 7}),
    ("backend", {"backend": "threads"}),
    ("max_steps", {"max_steps": 99}),
]


@pytest.mark.parametrize(("name", "options"), OTHERS)
def test_a_runtime_that_joins_a_simulation_takes_no_other_settings(
    name: str, options: dict[str, Any]
) -> None:
    with (
        SimulatedRuntime(ActionRegistry()),
        pytest.raises(ValueError, match=f"which has another {name}; leave {name}= out"),
    ):
        SimulatedRuntime(ActionRegistry(), **options)


def test_a_runtime_may_join_with_what_its_simulation_has() -> None:
    schedule = Schedule.plain(clock=3)
    with (
        Simulation(schedule, max_steps=500),
        SimulatedRuntime(
            ActionRegistry(), schedule, clock=3, backend="greenlet", max_steps=500
        ) as runtime,
    ):
        assert runtime.run(lambda: 3) == 3


def test_what_is_made_after_the_patches_is_fit() -> None:
    lock, event, local = threading.Lock(), threading.Event(), threading.local()

    def action() -> Any:
        with lock:
            event.set()
            local.value = 1
            time.sleep(1)
        return asyncio.run(asyncio.sleep(1, uncontrolled.fit()))

    assert find_uncontrolled(action) is None
    with SimulatedRuntime(ActionRegistry()) as runtime:
        assert runtime.run(action) == uncontrolled.fit()


def test_an_executor_with_threads_of_another_world_is_refused() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()

        def action() -> int:
            return executor.submit(int).result()

        assert find_uncontrolled(action) is not None


def test_looking_at_an_action_ends_whatever_it_reaches() -> None:
    endless: list[Any] = []
    endless.append(endless)
    endless.extend({n: [endless] * 60} for n in range(10_000))

    def action() -> Any:
        return endless

    assert find_uncontrolled(action) is None


def ask_the_guard(patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard of the test's own, that need not be waited for long."""
    impatient = Guard(patience)
    monkeypatch.setattr("runtime.simulation.world.guard", impatient)
    assert guard_module.guard is not impatient


def hold_a_real_lock_over_a_switch(monkeypatch: pytest.MonkeyPatch) -> str:
    """What is told of it."""
    ask_the_guard(0.1, monkeypatch)
    hidden = {"lock": _thread.allocate_lock()}
    key = "lo" + "ck"

    def holds() -> None:
        lock = dict.__getitem__(vars(uncontrolled)["box"], key)
        with lock:
            time.sleep(1)

    monkeypatch.setattr(uncontrolled, "box", hidden, raising=False)
    with (  # noqa: PT012
        pytest.raises(UncontrolledError, match="blocked the real thread") as caught,
        SimulatedRuntime(ActionRegistry()) as runtime,
    ):
        handles = [runtime.spawn(holds), runtime.spawn(holds)]
        for handle in handles:
            handle.result()
    hidden["lock"].acquire(blocking=False)
    return str(caught.value)


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="the system can't tell")
def test_a_real_lock_that_is_held_over_a_switch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    told = hold_a_real_lock_over_a_switch(monkeypatch)
    gc.collect()  # the log of a result that nobody reads belongs to this test
    assert "in holds" in told
    assert "real lock lock" in told


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="the system can't tell")
def test_a_sleeper_whom_the_signal_does_not_wake_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt, sent = signal.pthread_kill, list[int]()

    def lose_the_first(ident: int, number: int) -> None:
        sent.append(number)
        if len(sent) > 1:
            interrupt(ident, number)

    monkeypatch.setattr(signal, "pthread_kill", lose_the_first)
    assert "in holds" in hold_a_real_lock_over_a_switch(monkeypatch)
    assert len(sent) > 1
    gc.collect()


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="the system can't tell")
def test_a_sleeper_is_woken_where_ctrl_c_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as it is in the background of a script
    try:
        assert "in holds" in hold_a_real_lock_over_a_switch(monkeypatch)
        gc.collect()
        with SimulatedRuntime(ActionRegistry()) as runtime:
            assert runtime.run(lambda: signal.raise_signal(signal.SIGINT)) is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="the system can't tell")
def test_a_real_sleep_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_the_guard(0.1, monkeypatch)
    with pytest.raises(UncontrolledError, match="in test_a_real_sleep_is_noticed"), Simulation():
        REAL["time", "sleep"](60)


def test_a_wake_up_from_a_thread_outside_is_told() -> None:
    event = threading.Event()
    with pytest.raises(SimulationError) as caught, Simulation():  # noqa: PT012 - it ends inside
        inside = threading.Thread(target=event.wait)
        inside.start()
        time.sleep(1)
        done = _thread.allocate_lock()
        done.acquire()

        def outside() -> None:
            event.set()
            done.release()

        _thread.start_new_thread(outside, ())
        done.acquire()
        inside.join()
    assert "outside the simulation" in str(caught.value)


def test_a_message_from_a_thread_outside_is_told() -> None:
    with (  # noqa: PT012
        pytest.raises(UncontrolledError, match="outside the simulation"),
        SimulatedRuntime(ActionRegistry()) as runtime,
    ):
        done = _thread.allocate_lock()
        done.acquire()

        def outside() -> None:
            runtime.cancel_root("nobody", "for no reason")
            done.release()

        _thread.start_new_thread(outside, ())
        done.acquire()
        runtime.run(int)


def test_sockets_and_processes_of_an_event_loop_are_refused() -> None:
    async def connect() -> None:
        await asyncio.open_connection("localhost", 1)

    async def start() -> None:
        await asyncio.create_subprocess_exec("true")

    for function in (connect, start):
        with Simulation(), pytest.raises(UncontrolledError, match="real sockets, pipes, processes"):
            asyncio.run(function())


def test_a_livelock_is_ended() -> None:
    with pytest.raises(SimulationOverrunError, match="after 1000 steps"):  # noqa: PT012, SIM117
        with Simulation(Schedule.seeded(1), max_steps=1000):
            flag = threading.Event()
            spinner = threading.Thread(target=lambda: [time.sleep(0) for _ in iter(flag.is_set, 1)])
            spinner.start()
            while spinner.is_alive():
                time.sleep(0)


@pytest.mark.parametrize("backend", ["greenlet", "threads"])
def test_what_waits_again_and_again_for_nothing_but_time_is_ended_too(backend: str) -> None:
    def polls() -> None:
        while True:
            time.sleep(1)

    with (
        pytest.raises(SimulationOverrunError, match="after 1000 steps"),
        SimulatedRuntime(ActionRegistry(), max_steps=1000, backend=backend) as runtime,
    ):
        runtime.run(polls, timeout=10)


def test_a_simulation_within_another_is_refused() -> None:
    with Simulation(), pytest.raises(SimulationError, match="already"), Simulation():
        pass


def test_a_runtime_is_used_inside_its_block_only() -> None:
    runtime = SimulatedRuntime(ActionRegistry())
    with pytest.raises(RuntimeClosedError, match="inside its block"):
        runtime.run(int)
    with runtime:
        assert runtime.run(int) == 0
    with pytest.raises(RuntimeClosedError):
        runtime.run(int)
    assert runtime.stats().completed == 1


def test_ctrl_c_is_the_main_tasks_and_no_action_takes_it_for_its_failure() -> None:
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        pytest.skip("Ctrl-C is handled by somebody else here")
    outcomes: list[str] = []

    def action() -> None:
        signal.raise_signal(signal.SIGINT)
        outcomes.append("went on")
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        orchestrator.call(Execution.ad_hoc("t:nothing"))
        outcomes.append("ended")

    actions = ActionRegistry()
    actions.register("t:nothing")(lambda: None)
    with pytest.raises(KeyboardInterrupt), SimulatedRuntime(actions) as runtime:
        runtime.run(action)
    assert outcomes == ["went on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_leftover_threads_are_ended_with_their_simulation() -> None:
    ended: list[str] = []

    def forever() -> None:
        try:
            threading.Event().wait()
        finally:
            ended.append("unwound")

    for backend in ("greenlet", "threads"):
        with Simulation(backend=backend):
            thread = threading.Thread(target=forever)
            thread.start()
            time.sleep(1)
        assert not thread.is_alive()
    assert ended == ["unwound", "unwound"]
    assert threading.get_ident() == threading.main_thread().ident
