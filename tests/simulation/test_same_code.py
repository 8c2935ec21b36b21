"""Ordinary code in a simulation: what blocks on real threads blocks here, in virtual time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from actors.system import ActorSystem, PooledActor, get_all
from orchestrator import ActionRegistry, AsyncOrchestrator, Execution, Orchestrator, Task
from runtime import LocalRuntime
from runtime.simulation import Schedule, SimulatedRuntime, Simulation, SimulationDeadlockError
from runtime.simulation.patches.install import REAL

BACKENDS = ("greenlet", "threads")

real_now = REAL["time", "perf_counter"]


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], list[Any]]:
    """Runs a function in the plain order and under some other schedules, on both back ends."""

    def all_of_them(function: Callable[[], Any]) -> list[Any]:
        answers = []
        for seed in range(6):
            schedule = Schedule.seeded(seed) if seed else Schedule.plain()
            with Simulation(schedule, backend=request.param):
                answers.append(function())
        return answers

    return all_of_them


def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """What each of them returns, all of them run at once."""
    answers: dict[int, Any] = {}

    def call(number: int, function: Callable[[], Any]) -> None:
        answers[number] = function()

    threads = [threading.Thread(target=call, args=each) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[number] for number in range(len(functions))]


def test_a_sleep_takes_virtual_time_and_no_real_one(run: Any) -> None:
    def sleeps() -> tuple[float, float, float]:
        before = time.monotonic(), time.time(), time.perf_counter()
        time.sleep(3600)
        after = time.monotonic(), time.time(), time.perf_counter()
        one, two, three = (b - a for a, b in zip(before, after, strict=True))
        return one, two, three

    began = real_now()
    answers = run(sleeps)
    assert real_now() - began < 1800
    assert all(passed >= 3600 for answer in answers for passed in answer)
    assert answers[0] == (3600, 3600, 3600)


def test_sleeps_end_in_the_order_of_their_times(run: Any) -> None:
    def sleepers() -> list[int]:
        ended: list[int] = []

        def sleep(seconds: int) -> None:
            time.sleep(seconds)
            ended.append(seconds)

        in_threads(*(lambda n=n: sleep(n) for n in (30, 10, 20)))
        return ended

    assert run(sleepers)[0] == [10, 20, 30]


def test_locks_exclude_each_other(run: Any) -> None:
    def counted(lock: Any) -> int:
        inside = highest = 0

        def enter() -> None:
            nonlocal inside, highest
            with lock:
                inside += 1
                highest = max(highest, inside)
                time.sleep(0.01)
                inside -= 1

        in_threads(*[enter] * 4)
        return highest

    for make in (threading.Lock, threading.RLock, threading.Condition):
        assert set(run(lambda make=make: counted(make()))) == {1}
    assert max(run(lambda: counted(threading.Semaphore(2)))) == 2


def test_a_lock_that_is_not_to_be_had_is_waited_for_in_virtual_time(run: Any) -> None:
    def late() -> tuple[bool, bool, float]:
        lock = threading.Lock()
        lock.acquire()
        before = time.monotonic()
        got = lock.acquire(timeout=7)
        return got, lock.acquire(blocking=False), time.monotonic() - before

    assert all(not got and not again and passed >= 7 for got, again, passed in run(late))
    for wrong in ({"timeout": -2}, {"blocking": False, "timeout": 1}):
        with Simulation(), pytest.raises(ValueError):  # noqa: PT011 - as a real one says it
            threading.Lock().acquire(**wrong)


def test_a_reentrant_lock_belongs_to_the_task_that_took_it(run: Any) -> None:
    def nested() -> bool:
        lock = threading.RLock()
        with lock, lock:
            return in_threads(lambda: lock.acquire(blocking=False))[0]

    assert run(nested) == [False] * 6


def test_events_conditions_and_barriers_wake_who_waits(run: Any) -> None:
    def meet() -> list[Any]:
        event, barrier = threading.Event(), threading.Barrier(2)
        condition, items = threading.Condition(), []

        def produce() -> int:
            with condition:
                items.append(1)
                condition.notify_all()
            event.set()
            return barrier.wait(10)

        def consume() -> int:
            with condition:
                condition.wait_for(lambda: items)
            assert event.wait(10)
            return barrier.wait(10)

        return sorted(in_threads(produce, consume))

    assert run(meet) == [[0, 1]] * 6


def test_an_event_that_nobody_sets_times_out_in_virtual_time(run: Any) -> None:
    assert run(lambda: threading.Event().wait(1000)) == [False] * 6


@pytest.mark.parametrize("kind", [queue.Queue, queue.LifoQueue, queue.SimpleQueue])
def test_queues_hand_over(run: Any, kind: Any) -> None:
    def hand_over() -> list[int]:
        items = kind()
        return sorted(
            in_threads(items.get, lambda: items.put(1), items.get, lambda: items.put(2))[::2]
        )

    assert run(hand_over) == [[1, 2]] * 6


def test_a_bounded_queue_holds_up_who_puts(run: Any) -> None:
    def full() -> float:
        items: queue.Queue[int] = queue.Queue(maxsize=1)
        items.put(1)
        before = time.monotonic()
        with pytest.raises(queue.Full):
            items.put(2, timeout=3)
        return time.monotonic() - before

    assert min(run(full)) >= 3


def test_executors_run_their_calls_on_tasks(run: Any) -> None:
    def pool() -> list[int]:
        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            slow = executor.submit(lambda: time.sleep(60) or 1)
            done, _ = concurrent.futures.wait([slow], timeout=600)
            assert slow in done
            return [slow.result(), *executor.map(lambda n: n + 1, (1, 2))]

    assert run(pool) == [[1, 2, 3]] * 6


def test_thread_locals_and_context_variables_are_each_tasks_own(run: Any) -> None:
    local = threading.local()
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def own(number: int) -> tuple[int, int]:
        assert not hasattr(local, "value")
        assert variable.get() == 0
        local.value = number
        variable.set(number)
        time.sleep(0.01)
        return local.value, variable.get()

    expected = [(1, 1), (2, 2), (3, 3)]
    assert run(lambda: in_threads(*(lambda n=n: own(n) for n in (1, 2, 3)))) == [expected] * 6


def test_threads_know_themselves(run: Any) -> None:
    def know() -> tuple[bool, bool, list[bool]]:
        me = threading.current_thread()
        found: list[bool] = []

        def look() -> None:
            mine = threading.current_thread()
            found.append(mine is thread and mine.ident == threading.get_ident())
            found.append(thread.is_alive() and mine in threading.enumerate() and mine is not me)

        thread = threading.Thread(target=look)
        before = thread.is_alive()
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="once"):
            thread.start()
        return before, thread.is_alive(), found

    assert run(know) == [(False, False, [True, True])] * 6


def test_a_thread_that_raises_tells_the_excepthook(run: Any, monkeypatch: Any) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))

    def fail() -> None:
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()

    run(fail)
    assert told == [ZeroDivisionError] * 6


def test_timers_and_joins_with_a_timeout_are_in_virtual_time(run: Any) -> None:
    def timed() -> tuple[bool, float]:
        before = time.monotonic()
        timer = threading.Timer(50, lambda: None)
        timer.start()
        timer.join(10)
        alive = timer.is_alive()
        timer.cancel()
        timer.join()
        return alive, time.monotonic() - before

    assert run(timed)[0] == (True, 10)


def test_event_loops_run_in_virtual_time_several_at_once(run: Any) -> None:
    async def main(seconds: float) -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.gather(asyncio.sleep(seconds), asyncio.to_thread(time.sleep, seconds))
        passed = loop.time() - before
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        return passed

    def loops() -> list[float]:
        return in_threads(lambda: asyncio.run(main(5)), lambda: asyncio.run(main(7)))

    answers = run(loops)
    assert answers[0] == [5, 7]
    assert all(one >= 5 and two >= 7 for one, two in answers)


def test_a_loop_is_running_only_in_the_task_that_runs_it(run: Any) -> None:
    def look() -> list[bool]:
        seen: list[bool] = []

        async def main() -> None:
            await asyncio.to_thread(lambda: seen.append(asyncio._get_running_loop() is None))
            seen.append(asyncio.current_task() is not None)
            agen = endless()
            await anext(agen)
            time.sleep(1)  # noqa: ASYNC251 - it holds up the loop, as outside: others run
            await agen.aclose()

        async def endless() -> Any:
            while True:
                yield 1

        other = threading.Thread(target=lambda: seen.append(asyncio._get_running_loop() is None))
        other.start()
        asyncio.run(main())
        other.join()
        return seen

    assert run(look) == [[True, True, True]] * 6


class Adder(PooledActor):
    def __init__(self) -> None:
        super().__init__()
        self.sum = 0

    def on_receive(self, message: int) -> int:
        time.sleep(1)
        self.sum += message
        return self.sum


def test_an_actor_system_that_the_application_makes_runs_too(run: Any) -> None:
    def ask() -> tuple[list[int], float]:
        before = time.monotonic()
        with ActorSystem(workers=2) as system:
            adders = [system.spawn(Adder) for _ in range(4)]
            sums = get_all([each.ask(1, block=False) for each in adders], timeout=60)
            system.clock.call_later(50, adders[0].tell, 5)
            time.sleep(100)
            return [*sums, adders[0].ask(0)], time.monotonic() - before

    answers = run(ask)
    assert all(sums == [1, 1, 1, 1, 6] and passed >= 103 for sums, passed in answers)


def test_a_local_runtime_that_the_application_makes_runs_too(run: Any) -> None:
    def fan_out() -> tuple[Any, Any]:
        with LocalRuntime(registry(), workers=2) as runtime:
            return tuple(
                runtime.run("t:fans_out", f"t:{each}", timeout=600)
                for each in ("sleeps", "sleeps_async")
            )

    assert run(fan_out) == [([3, 1, 2], [3, 1, 2])] * 6


def test_a_local_runtime_in_a_simulation_does_the_same_under_the_same_schedule() -> None:
    def token(schedule: Schedule) -> str:
        with Simulation(schedule), LocalRuntime(registry(), workers=2) as runtime:
            runtime.run("t:fans_out", "t:sleeps", timeout=600)
        return schedule.token

    for seed in range(5):
        once = token(Schedule.seeded(seed))
        assert token(Schedule.seeded(seed)) == once
        assert token(Schedule.replay(once)) == once


def test_code_that_waits_for_nobody_is_a_deadlock_that_names_it() -> None:
    with Simulation(), pytest.raises(SimulationDeadlockError) as caught:  # noqa: PT012
        event = threading.Event()
        thread = threading.Thread(target=event.wait)
        thread.start()
        thread.join()
    text = str(caught.value)
    assert "main waits for the end of thread" in text
    assert "test_same_code.py" in text
    assert "thread-1 waits for a lock" in text


def test_outside_a_simulation_all_of_it_is_real() -> None:
    assert threading.get_ident() == threading.main_thread().ident
    lock = threading.Lock()
    with lock:
        assert lock.locked()
        assert in_threads(lambda: lock.acquire(timeout=0.001)) == [False]
    assert in_threads(threading.get_native_id) != [threading.get_native_id()]
    before = REAL["time", "monotonic"]()
    assert before <= time.monotonic() <= REAL["time", "monotonic"]()
    assert os.getpid() == REAL["os", "getpid"]()
    assert threading.get_ident() in sys._current_frames()


def registry() -> ActionRegistry:
    actions = ActionRegistry()

    @actions.register("t:sleeps")
    def sleeps(value: int) -> int:
        time.sleep(value)
        return value

    @actions.register("t:sleeps_async")
    async def sleeps_async(value: int) -> int:
        await asyncio.sleep(value)
        return value

    @actions.register("t:fans_out")
    def fans_out(action: str) -> list[int]:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        group = orchestrator.emit_for_each([3, 1, 2], "x", Task(action))
        return orchestrator.await_group(group)

    @actions.register("t:fans_out_async")
    async def fans_out_async(action: str) -> list[int]:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        group = await orchestrator.emit_for_each([3, 1, 2], "x", Task(action))
        return await orchestrator.await_group(group)

    return actions


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parent", ["t:fans_out", "t:fans_out_async"])
@pytest.mark.parametrize("child", ["t:sleeps", "t:sleeps_async"])
def test_actions_run_as_they_are(parent: str, child: str, backend: str) -> None:
    for schedule in (Schedule.plain(), Schedule.seeded(1), Schedule.seeded(2)):
        with SimulatedRuntime(registry(), schedule, backend=backend) as runtime:
            assert runtime.run(parent, child, timeout=60) == [3, 1, 2]
            assert runtime.world.now >= 3


def test_a_running_event_loop_is_taken_over_and_given_back() -> None:
    async def main() -> tuple[Any, float, float]:
        loop = asyncio.get_running_loop()
        before = loop.time()
        async with SimulatedRuntime(registry(), Schedule.seeded(3)) as runtime:
            answer = await runtime.run_async("t:fans_out_async", "t:sleeps")
            passed = loop.time() - before
        return answer, passed, loop.time() - before

    answer, passed, real = asyncio.run(main())
    assert answer == [3, 1, 2]
    assert passed >= 3
    assert real < passed  # the loop tells real time again


def test_two_runtimes_share_one_simulation() -> None:
    with (
        SimulatedRuntime(registry(), Schedule.seeded(4)) as one,
        SimulatedRuntime(registry()) as two,
    ):
        handles = [runtime.spawn("t:fans_out", "t:sleeps") for runtime in (one, two)]
        assert [handle.result() for handle in handles] == [[3, 1, 2]] * 2
        assert one.world is two.world
        with pytest.raises(ValueError, match="schedule"):
            SimulatedRuntime(registry(), Schedule.plain())


def test_ten_thousand_children_are_blocked_at_once() -> None:
    actions = ActionRegistry()
    most = inside = 0

    @actions.register("t:waits")
    def waits(_number: int) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        orchestrator.sleep(1)
        inside -= 1

    def parent() -> int:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        group = orchestrator.emit_for_each(range(10_000), "x", Task("t:waits"))
        return len(orchestrator.await_group(group))

    with SimulatedRuntime(actions, check=False) as runtime:
        assert runtime.run(parent) == 10_000
    assert most == 10_000


def test_a_chain_of_calls_may_be_deep() -> None:
    actions = ActionRegistry()

    @actions.register("t:deep")
    def deep(depth: int) -> int:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        return 1 + orchestrator.call(Execution.ad_hoc("t:deep", depth - 1)) if depth else 0

    with SimulatedRuntime(actions, workers=1) as runtime:
        assert runtime.run("t:deep", 300) == 300
