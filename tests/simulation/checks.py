"""What must hold of every run, as far as a user can see it: DESIGN.md section 5, as oracles.

Each looks at the answers that waiters got, at the events, the counters, and at what the actions
wrote down while they ran. The rules of the modes are those of an independent model.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from orchestrator import ExecutionState, ExecutionTimeoutError, GroupPolicy
from runtime.simulation.plans import FanOutPlan, TaskPlan, Wait
from runtime.simulation.records import Kind, Step
from tests.actors.fan_in_model import verdict
from tests.simulation.harness import Run

__all__ = [
    "check_all",
    "check_answers",
    "check_attempts",
    "check_clock",
    "check_deadlines",
    "check_decisions",
    "check_ends",
    "check_events",
    "check_nesting",
    "check_nothing_left",
    "check_patience",
    "check_resumed",
    "check_told_of_failures",
]

_COMPLETED = ExecutionState.COMPLETED
_SINGULAR = {"AwaitTimeoutError", "UnknownGroupError", "DeadlockError", "RuntimeClosedError"}


def check_all(run: Run) -> None:
    """Everything below."""
    check_answers(run)
    check_ends(run)
    check_decisions(run)
    check_events(run)
    check_attempts(run)
    check_deadlines(run)
    check_nesting(run)
    check_patience(run)
    check_resumed(run)
    check_clock(run)
    check_told_of_failures(run)
    check_nothing_left(run)


def answers(run: Run) -> dict[str, list[Step]]:
    """By group, what those were told who waited for its decision and did not give up."""
    found: dict[str, list[Step]] = defaultdict(list)
    for step in run.record.of(Kind.TOLD):
        assert step.told is not None
        waited = step.who != "resumed" and not step.who.endswith("(ends)")
        if waited and step.told.kind not in _SINGULAR:
            found[step.group_id].append(step)
    return found


def check_answers(run: Run) -> None:
    """1, 2, 7: everyone who asks gets the same answer; one that is whole, or an error."""
    for group_id, steps in answers(run).items():
        told = [step.told for step in steps]
        assert told == [told[0]] * len(told), f"{group_id} was told differently: {told}"
        plan = run.fan_out(steps[0].path)
        if told[0].kind == "outputs" and plan.keep:
            assert len(told[0].outputs) == _width(plan), f"{group_id}: half an answer"


def _width(plan: FanOutPlan) -> int:
    match plan.mode.value:
        case "all" | "anyError":
            return len(plan.children)
        case "quorum" if plan.children:
            return plan.quorum or 0
        case _:
            return min(1, len(plan.children))


def check_ends(run: Run) -> None:
    """Every reader gets every end, once, in one order; then what a waiter is told."""
    told = answers(run)
    orders: dict[str, list[list[int]]] = defaultdict(list)
    for reader in run.record.of(Kind.TOLD):
        if not reader.who.endswith("(ends)"):
            continue
        plan = run.fan_out(reader.path)
        read = [end.index for end in ends_read(run, reader.group_id, reader.who)]
        assert len(set(read)) == len(read), f"{reader.group_id}: an end came twice: {read}"
        assert reader.told is not None
        if run.strict_time:
            _check_reads_at_once(run, reader)
        if reader.told.kind in _SINGULAR:
            continue
        for other in told.get(reader.group_id, ())[:1]:
            assert other.told is not None
            assert (other.told.kind == "outputs") == (reader.told.kind == "outputs")
        if plan.keep:
            orders[reader.group_id].append(read)
            if plan.max_in_flight is None:
                assert sorted(read) == list(range(len(plan.children)))
    for group_id, seen in orders.items():
        assert seen == [seen[0]] * len(seen), f"{group_id} was read in several orders: {seen}"


def _check_reads_at_once(run: Run, reader: Step) -> None:
    """In strict time, a reader who is there gets an end in the very instant of it."""
    name = reader.who.removesuffix(" (ends)")
    for step in run.record.of(Kind.CHILD):
        if step.group_id == reader.group_id and step.who == name and step.child is not None:
            due = max(step.child.completed_at or 0.0, reader.since)
            assert step.at == due, f"read at {step.at}, not {due}: {step.child}"


def ends_read(run: Run, group_id: str, who: str) -> list[Any]:
    """The ends that one reader of a group got, in his order."""
    name = who.removesuffix(" (ends)")
    return [
        step.child
        for step in run.record.of(Kind.CHILD)
        if step.group_id == group_id and step.who == name
    ]


def policy_of(plan: FanOutPlan) -> GroupPolicy:
    """The group's policy, as the model takes it."""
    return GroupPolicy(mode=plan.mode, quorum=plan.quorum)


def check_decisions(run: Run) -> None:
    """3, 5, 7, 14: the decision is the one of the first report at which there can be one."""
    watched = {
        step.group_id
        for step in run.record.of(Kind.TOLD)
        if step.who == "watcher (ends)" and step.told and step.told.kind not in _SINGULAR
    }
    for group_id, steps in answers(run).items():
        plan = run.fan_out(steps[0].path)
        if group_id in watched and plan.keep and plan.max_in_flight is None:
            ends = ends_read(run, group_id, "watcher")
            assert steps[0].told is not None
            check_decision(run, plan, ends, steps)


def check_decision(run: Run, plan: FanOutPlan, ends: list[Any], steps: list[Step]) -> None:
    """That the answer is right for a group whose children ended in this order."""
    told = steps[0].told
    assert told is not None
    reports = [(end.index, end.state) for end in ends]
    policy, count = policy_of(plan), len(plan.children)
    verdicts = [
        verdict(policy, count, reports[:seen], sealed=True) for seen in range(len(reports) + 1)
    ]
    first = next((seen for seen, found in enumerate(verdicts) if found is not None), None)
    context = f"{told} for ends {[(end.index, str(end.state)) for end in ends]} of {plan}"
    if told.kind in ("outputs", "GroupFailedError"):
        assert first is not None, context
        expected = verdicts[first]
        assert expected is not None
        assert expected.ok == (told.kind == "outputs"), context
        by_index = {end.index: end for end in ends[:first]}
        if expected.outputs is not None:
            assert told.outputs == tuple(by_index[i].output for i in expected.outputs), context
        else:
            failed = [by_index[index].error for index in sorted(expected.failures)]
            assert told.errors == tuple(f"{type(e).__name__}: {e}" for e in failed), context
            assert told.outputs == _arrived(ends[:first], count), context
        _check_promptness(run, ends, first, steps)
        return
    undecided = range(len(reports) + 1 if first is None else first)
    if told.kind == "GroupTimeoutError":
        assert plan.timeout is not None, context
        assert any(
            told.outputs == _arrived(ends[:seen], count)
            and told.missing == tuple(sorted({*range(count)} - {e.index for e in ends[:seen]}))
            for seen in undecided
        ), context
    else:
        assert told.kind == "GroupCancelledError", context
        assert undecided, context


def _arrived(ends: list[Any], count: int) -> tuple[Any, ...]:
    outputs = {end.index: end.output for end in ends if end.state is _COMPLETED}
    return tuple(outputs.get(index) for index in range(count))


def _check_promptness(run: Run, ends: list[Any], first: int, steps: list[Step]) -> None:
    """In strict time, those who waited outside were told in the very instant of the decision."""
    if not run.strict_time or first == 0:
        return
    decided_at = ends[first - 1].completed_at
    for step in steps:
        if step.who != "parent":
            assert step.at == max(decided_at, step.since), f"told at {step.at}, not {decided_at}"


def check_events(run: Run) -> None:
    """9: what was emitted has ended, once; every change of state follows the one before."""
    stats, seen = run.stats, {}
    ended: dict[str, str] = {}
    for event in run.events:
        execution = event.execution
        assert event.previous == seen.get(execution.id, "pending"), f"a gap before {event}"
        assert execution.id not in ended, f"{execution.id} went on after its end: {event}"
        seen[execution.id] = execution.state.value
        if execution.state.ended:
            ended[execution.id] = execution.state.value
    assert (stats.pending, stats.running, stats.waiting, stats.cancelling) == (0, 0, 0, 0)
    assert stats.emitted == stats.completed + stats.failed + stats.cancelled == stats.settled
    if run.events:
        counts = list(ended.values())
        assert len(seen) == len(ended) == stats.emitted
        told = (stats.completed, stats.failed, stats.cancelled)
        assert told == tuple(map(counts.count, ("completed", "failed", "cancelled")))


def check_attempts(run: Run) -> None:
    """13: one run for each attempt, never two at once, none that the cancel had taken."""
    last = {event.execution.id: event.execution for event in run.events}
    parents = {name: execution.parent_id for name, execution in last.items()}
    inside: set[str] = set()
    runs: dict[str, int] = defaultdict(int)
    for step in run.record.steps:
        name = step.execution_id
        if step.kind == Kind.STARTS:
            assert name not in inside, f"two attempts of {name} at once"
            inside.add(name)
            runs[name] += 1
            assert step.attempt == runs[name], f"attempt {step.attempt} is run {runs[name]}"
            if step.attempt > 1:  # all that the last one had left below is over
                assert not {each for each in inside if parents.get(each) == name}
        elif step.kind == Kind.ENDS:
            inside.remove(name)
    assert inside == set(), "code runs on after the close"
    for name, execution in last.items():
        # An async attempt can be cancelled between its start and the first line of its code.
        unrun = execution.state is not _COMPLETED and execution.input["plan"].is_async
        possible = (execution.attempts - unrun, execution.attempts)
        assert runs[name] in possible, f"{execution}: its code ran {runs[name]} times"
        plan = execution.input["plan"]
        assert runs[name] <= plan.fails_first + 1
        if isinstance(execution.error, ExecutionTimeoutError) and isinstance(plan, TaskPlan):
            took = (execution.completed_at or 0.0) - (execution.started_at or 0.0)
            assert took >= (plan.timeout or 0.0), f"{execution} timed out after {took} s"
        if isinstance(plan, TaskPlan) and execution.state is _COMPLETED:
            assert runs[name] == plan.fails_first + 1 or plan.timeout is not None


def check_deadlines(run: Run) -> None:
    """17: a child's deadline is never later than its parent's."""
    above: dict[Any, Step] = {}
    parents = {event.execution.id: event.execution.parent_id for event in run.events}
    for step in run.record.of(Kind.STARTS):
        above[step.execution_id] = step
        parent = above.get(parents.get(step.execution_id, ""))
        if parent is not None and parent.deadline is not None:
            assert step.deadline is not None, f"{step} has none, {parent} has"
            assert step.deadline <= parent.deadline, f"{step} is later than {parent}"


def check_nesting(run: Run) -> None:
    """10: whoever completes does so after everything below it."""
    parents = {event.execution.id: event.execution.parent_id for event in run.events}
    ended: set[str] = set()
    for event in run.events:
        execution = event.execution
        if execution.state.ended:
            ended.add(execution.id)
        if execution.state is _COMPLETED:
            below = {name for name, parent in parents.items() if parent == execution.id}
            assert below <= ended, f"{execution.id} completed before {below - ended}"


def check_patience(run: Run) -> None:
    """6: no wait gives up before its time, and in strict time none later."""
    for step in run.record.of(Kind.TOLD):
        assert step.told is not None
        if step.told.kind == "AwaitTimeoutError":
            assert step.timeout is not None
            assert step.at >= step.since + step.timeout, f"too early: {step}"
        if step.timeout is not None and run.strict_time and step.who != "parent":
            assert step.at <= step.since + step.timeout, f"too late: {step}"


def check_resumed(run: Run) -> None:
    """8: nobody who waited for all children goes on while one of them runs."""
    over: dict[str, int] = {}
    for place, step in enumerate(run.record.steps):
        if step.kind == Kind.ENDS:
            over[step.execution_id] = place
    parents = {event.execution.id: event.execution for event in run.events}
    for place, step in enumerate(run.record.steps):
        if step.kind != Kind.TOLD or step.who not in ("parent", "resumed"):
            continue
        plan = run.fan_out(step.path)
        if step.told is None or step.told.kind != "outputs":
            continue
        if plan.mode.value in ("all", "anyError") and plan.wait is not Wait.ENDS:
            for child in parents.values():
                if child.group_id == step.group_id:
                    assert over.get(child.id, place) < place, f"{step} came before {child.id}"


def check_clock(run: Run) -> None:
    """18: time never goes back, and stands only where a timer was due: at whole seconds."""
    times = [step.at for step in run.record.steps]
    assert times == sorted(times)
    assert all(at == int(at) for at in times), times


def check_nothing_left(run: Run) -> None:
    """10, 20: after the close there is no task, timer, actor or group, and no code runs."""
    assert run.left == []
    assert run.record.running() == set()
    opened = [step.path for step in run.record.of(Kind.OPENS)]
    assert sorted(opened) == sorted(step.path for step in run.record.of(Kind.CLOSES))
    assert run.logged == [], "the library has failed on its own"


def check_told_of_failures(run: Run) -> None:
    """16 of its list: an error of a group reaches its parent's code, or fails the parent."""
    last = {event.execution.id: event.execution for event in run.events}
    for group_id, emit in run.groups().items():
        parent = last.get(emit.execution_id)
        if parent is None or parent.state is not _COMPLETED or parent.attempts != emit.attempt:
            continue
        if run.fan_out(emit.path).wait is Wait.ENDS:
            continue
        failed = any(
            step.told is not None and step.told.kind not in {"outputs", *_SINGULAR}
            for step in run.record.of(Kind.TOLD)
            if step.group_id == group_id and step.who not in ("parent", "resumed")
        )
        heard = [
            step.told.kind
            for step in run.record.of(Kind.TOLD)
            if step.group_id == group_id and step.who in ("parent", "resumed") and step.told
        ]
        if failed:
            assert any(kind not in ("outputs", "AwaitTimeoutError") for kind in heard), (
                f"{parent} completed, and nobody was told that {group_id} has failed"
            )
