"""The part of the allocator that hands out children in runs, and takes them back."""

from __future__ import annotations

from collections.abc import Sequence

from actors.admission import Slots
from actors.allocator_record import AllocatorRecord
from actors.batch import Batch
from actors.leaf import LeafAttempt
from actors.live import Live, Phase
from actors.loans import Ledger
from actors.messages import Lending, Promoted, RunOver, WaitBegan
from actors.ready import NOBODY, Front, Queued, frontmost
from actors.run import Run
from actors.wait import GroupWait
from orchestrator.values import ExecutionState

__all__ = ["RunKeeper"]


class RunKeeper(AllocatorRecord):
    """Knows which children are handed out.

    What a run has not started is queued still, as far as anybody can see: where other work has a
    claim on the worker it is taken back, and where a worker is idle it is shared. So a run is long
    only while nothing else could have started in between.
    """

    @property
    def _leaves_at_all(self) -> bool | None:
        """``False``: every child is an actor from the start; else it depends on the child."""
        return None if self._environment.longest_run else False

    def _start_run(self, queued: Queued, batch: Batch) -> int:
        """Hand out the next of *queued*, which is at the head; how many that were."""
        most = 1
        if not self._admission.has_rivals(queued):
            most = self._environment.longest_run
            if not batch.action.is_async:
                # As many for each worker; one that is idle takes of what another has left.
                share = -(-len(queued.indexes) // self._admission.workers)
                most = min(most, batch.longest, share)
        indexes = queued.take_many(most)
        if queued.empty:
            self._queued_since.pop(queued, None)
        self._begin_run(batch, indexes)
        return len(indexes)

    def _begin_run(self, batch: Batch, indexes: Sequence[int]) -> None:
        blocking = not batch.action.is_async
        slots = Slots(batch.action, blocking, needs_slot=False)
        run = Run(self._environment, batch, indexes, slots)
        self._runs[run] = None
        if batch.group is not None:
            batch.group.runs[run] = None
            if blocking and len(indexes) > 1:  # one alone is about to start, and behind nobody
                self._shared[run] = None
        if batch.inputs is None:
            for index in indexes:
                self._named[batch.id_of(index)] = (run, index)
        self._admission.take(slots)
        self._environment.place.start_run(run)

    def _on_run_over(self, message: RunOver) -> None:
        run = message.run
        if run in self._runs:
            batch = run.batch
            call = batch.call
            if call is not None:
                self._end_run(run)
                if call.answered:  # else it is an actor, which will answer
                    self._end_wait(call)
                if self._draining:
                    self._note_drained()
                return
            left = run.withdraw()  # behind one that has become an actor
            if not left and run.nap is None:
                self._learn(batch, min(2 * batch.longest, self._environment.longest_run))
            self._give_back(batch, left)
            self._end_run(run)
            if self._draining:
                self._note_drained()

    def _learn(self, batch: Batch, longest: int) -> None:
        """How long runs of this action may be, of this batch and of those that come after it."""
        batch.longest = longest
        if batch.group is not None:
            self._learned[batch.action.name] = longest

    def _end_run(self, run: Run) -> None:
        del self._runs[run]
        if run.batch.group is not None:
            self._shared.pop(run, None)
            if run.nap is None:
                del run.batch.group.runs[run]
            else:
                del run.batch.group.alone[run.nap.attempt.index]
        if run.batch.inputs is None:
            for index in run.indexes:
                name = run.batch.id_of(index)
                if self._named.get(name, (None,))[0] is run:  # not handed out again since
                    del self._named[name]
        self._count_run(run)
        self._admission.free(run.slots)

    def _on_promoted(self, message: Promoted) -> None:
        """A leaf has become an actor: it is live like any other, and has its worker's slot."""
        run, batch = message.run, message.run.batch
        if run.adopted is None:
            run.adopted = set()
        elif message.index in run.adopted:
            return
        run.adopted.add(message.index)
        emission, action = batch.emission, batch.action
        child = batch.children[message.index]
        live = Live(
            action,
            needs_worker=not action.is_async,
            needs_slot=False,
            ref=message.ref,
            emission=emission,
            execution_id=child.id,
            index=batch.place_of(message.index),
            parent_id=emission.parent_id,
            group_id=emission.group_id,
            can_expire=emission.deadline is not None,
            priority=batch.priority,
            phase=Phase.RUNNING,
        )
        self._live[child.id] = live
        if batch.group is not None:
            batch.group.live[child.id] = live
        self._adopt_ledger(run, message.index, live)
        if run.ledger is not None:
            self._end_loan(run, run.ledger, live)
            self._adopt_nap(run, message.index, live)
            return
        known = run in self._runs
        if known:
            self._count_run(run)
        if not action.is_async:
            self._learn(batch, 1)
            run.slots.has_worker, live.has_worker = False, run.slots.has_worker
            if known:
                self._give_back(batch, run.withdraw())
                self._end_run(run)
        self._adopt_nap(run, message.index, live)
        if batch.call is not None:
            self._note_blocked(batch.call, child.id)

    def _adopt_ledger(self, run: Run, index: int, live: Live) -> None:
        """A leaf that has called children in its place has become an actor."""
        attempt = run.owners.get(index)
        ledger = attempt.ledger if isinstance(attempt, LeafAttempt) else None
        if ledger is not None:
            live.ledger = ledger
            self._lenders[live] = None
            run.ledgers.pop(ledger, None)

    def _adopt_nap(self, run: Run, index: int, live: Live) -> None:
        """A leaf that sleeps has become an actor: it is one that waits, or waits to go on."""
        attempt = run.owners.get(index)
        asleep = self._environment.asleep
        nap = asleep.pop(attempt, None) if isinstance(attempt, LeafAttempt) else None
        if nap is not None:
            nap.adopted = True
            live.waits += 1
            live.main_wait = nap
            self._admission.free(live)
            self._count(live, Phase.WAITING)
        elif run.nap is not None and run.nap.returning is not None:
            run.nap.returning.slots = live

    def _end_loan(self, run: Run, ledger: Ledger, live: Live) -> None:
        """A child in its caller's place has become an actor: from now on the caller waits."""
        self._environment.loans.runs.pop(live.execution_id, None)
        ledger.promoted += 1
        self._counts[Phase.RUNNING] += 1
        wait = run.batch.call
        caller = self._live.get(live.parent_id or "")
        if wait is not None and caller is not None and not wait.is_over:
            if not wait.begun:
                self._environment.loans.take_kept(wait)
                self._begin_call_wait(caller, wait)  # it gives up the worker, which the child takes
            self._note_blocked(wait, live.execution_id)
        self._admission.take(live)

    def _take_kept(self) -> bool:
        """Take the workers that are kept by code that waits: from now on, that does as all do."""
        loans = self._environment.loans
        taken = False
        for wait in list(loans.kept):
            caller = self._live.get(wait.attempt.execution_id)
            if caller is not None and loans.take_kept(wait):
                if isinstance(wait, GroupWait):
                    self._begin_wait(WaitBegan(wait, wait.subject, wait.can_expire))
                else:
                    self._begin_call_wait(caller, wait)
                taken = True
        return taken

    def _begin_kept_groups(self) -> None:
        """Know of those who wait for their own groups as of all others."""
        loans = self._environment.loans
        for wait in list(loans.kept):
            if isinstance(wait, GroupWait) and loans.take_kept(wait):
                self._begin_wait(WaitBegan(wait, wait.subject, wait.can_expire))

    def _on_lending(self, message: Lending) -> None:
        live = self._live.get(message.execution_id)
        if live is not None:
            self._count_loans(live)
            live.ledger = message.ledger
            self._lenders[live] = None

    def _count_loans(self, live: Live) -> None:
        """Add up what has become of children in their caller's place since the last time."""
        if live.ledger is not None:
            self._count_ledger(live.ledger)

    def _count_ledger(self, ledger: Ledger) -> None:
        cancelled, completed, began = ledger.cancelled, ledger.completed, ledger.began
        seen = ledger.seen
        ledger.seen = (began, completed, cancelled)
        self._emitted += began - seen[0]
        self._ended[ExecutionState.COMPLETED] += completed - seen[1]
        self._ended[ExecutionState.CANCELLED] += cancelled - seen[2]

    def _count_run(self, run: Run) -> None:
        """Add up what has happened in the run since the last time."""
        for ledger in list(run.ledgers):
            self._count_ledger(ledger)
        completed = run.completed  # read first: what has completed has started
        started = run.started
        new, over = started - run.seen_started, completed - run.seen_completed
        run.seen_started, run.seen_completed = started, completed
        self._counts[Phase.PENDING] -= new
        self._counts[Phase.RUNNING] += new - over
        if over:
            self._ended[ExecutionState.COMPLETED] += over
            group = run.batch.group
            if group is not None:
                group.node.end(over)
                if group.node.blocked:
                    self._break_cycles(group.node.group_id)

    def _is_calm(self) -> bool:
        """Whether nothing is queued, nobody is back, and nothing waits in a run for a worker."""
        return self._admission.is_calm and not (self._shared and self._with_rest())

    def _note_front(self) -> None:
        """Say what is queued that callers might have to stand behind, or workers to make room for.

        While the runtime closes everything has to be told.
        """
        front: Front | None = NOBODY
        only: Run | None = None
        if self._environment.longest_run and not self._draining:
            front = self._admission.front()
            rest = self._with_rest() if self._shared else ()
            if front is None and len(rest) == 1:
                only = rest[0]
            for run in rest:
                batch = run.batch
                emission = batch.emission
                front = frontmost(front, (batch.priority, emission.depth, emission.process.id))
        loans = self._environment.loans
        loans.front, loans.only = front, only

    def _with_rest(self) -> Sequence[Run]:
        """The runs of which some children wait for a worker."""
        shared = self._shared
        if not shared:
            return ()
        for run in tuple(shared):
            if not run.pending:  # for good
                del shared[run]
        return tuple(shared)

    # Taking back

    def _give_back(self, batch: Batch, indexes: Sequence[int]) -> None:
        """Queue what was handed out and not started, in its old place."""
        group = batch.group
        if indexes and group is not None:
            queued = self._requeue_rest(batch, indexes)
            group.queued = [one for one in group.queued if not one.empty]
            group.queued.append(queued)

    def _recall_for(self, work: Batch | Live, *, new_root: bool = False) -> None:
        """Take back what work that is queued now goes ahead of, or takes turns with."""
        emission, priority = work.emission, work.priority
        for run in self._with_rest():
            batch = run.batch
            if priority > batch.priority or (
                priority == batch.priority
                and not new_root
                and (
                    emission.process.id != batch.emission.process.id
                    or emission.depth > batch.emission.depth
                )
            ):
                self._give_back(batch, run.withdraw())

    def _recall_all(self) -> None:
        """Take back everything: a waiter is back, and goes ahead of every start."""
        for run in self._with_rest():
            self._give_back(run.batch, run.withdraw())

    def _share(self) -> bool:
        """Let an idle worker have half of what another was handed; ``False``: there is nothing."""
        if not self._shared or self._admission.busy >= self._admission.workers:
            return False
        richest = max(self._with_rest(), key=_waiting, default=None)
        if richest is None:
            return False
        most = _waiting(richest)
        indexes = richest.withdraw(most) if most else []
        if not indexes:
            return False
        self._begin_run(richest.batch, indexes)
        return True


def _waiting(run: Run) -> int:
    """How many of the children that wait in the run another worker should have."""
    begun = run.thread_id is not None  # else its worker is about to start the first
    return (len(run.pending) + begun) // 2
