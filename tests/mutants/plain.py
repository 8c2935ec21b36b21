"""Plans under the plain, undisturbed schedule: what a mutant passes here no order of events shows.

Run as ``python -m tests.mutants.plain``; the exit code says whether everything held.
"""

from __future__ import annotations

from orchestrator import AwaitMode
from runtime.simulation import Schedule
from runtime.simulation.plans import (
    FanOutPlan,
    Fault,
    FaultKind,
    MergePlan,
    Outcome,
    TaskPlan,
    Wait,
    WaiterPlan,
)
from tests.simulation.checks import check_all
from tests.simulation.harness import play

SLOW = TaskPlan(delay=2.0)
QUICK = TaskPlan()
ASYNC = TaskPlan(delay=1.0, is_async=True)
FAILS = TaskPlan(outcome=Outcome.ERROR, delay=1.0)
RETRIES = TaskPlan(fails_first=1, pause=1.0)
HANGS = TaskPlan(outcome=Outcome.HANGS)
SEVERAL = (QUICK, SLOW, ASYNC, RETRIES)

PLANS: tuple[tuple[FanOutPlan, tuple[Fault, ...]], ...] = (
    (FanOutPlan(), ()),
    (FanOutPlan(children=SEVERAL, waiters=(WaiterPlan(), WaiterPlan(after=3.0))), ()),
    *((FanOutPlan(children=SEVERAL, mode=mode), ()) for mode in AwaitMode if mode != "quorum"),
    *((FanOutPlan(children=(*SEVERAL, FAILS), mode=mode, tolerant=True), ()) for mode in
      (AwaitMode.ALL, AwaitMode.ANY_ERROR, AwaitMode.ANY)),
    (FanOutPlan(children=SEVERAL, mode=AwaitMode.QUORUM, quorum=2, cancel_rest=False), ()),
    *((FanOutPlan(children=SEVERAL, wait=wait, merge=merge), ()) for wait, merge in
      ((Wait.RESUME, MergePlan.APPEND), (Wait.RETURN, MergePlan.REDUCER),
       (Wait.ENDS, MergePlan.APPEND), (Wait.CALLS, MergePlan.APPEND))),
    (FanOutPlan(children=(HANGS, QUICK), timeout=1.0, tolerant=True), ()),
    (FanOutPlan(children=(HANGS, QUICK), patience=1.0, tolerant=True, waiters=(WaiterPlan(),)), ()),
    (FanOutPlan(children=SEVERAL, max_in_flight=2, is_async=True), ()),
    (FanOutPlan(children=(HANGS, HANGS)), (Fault(after=1.0),)),
    (FanOutPlan(children=(HANGS, QUICK), tolerant=True),
     (Fault(kind=FaultKind.CANCEL_GROUP, after=1.0),)),
    (FanOutPlan(children=(FanOutPlan(children=SEVERAL), FanOutPlan(children=SEVERAL))), ()),
    (FanOutPlan(children=(QUICK,), fails_first=1), ()),
)  # fmt: skip


def main() -> None:
    """Run them all; what does not hold raises."""
    for plan, faults in PLANS:
        check_all(play(plan, Schedule.plain(), faults=faults))


if __name__ == "__main__":
    main()
