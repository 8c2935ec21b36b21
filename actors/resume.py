"""The pending output of an execution: groups merged into it, and who waits to resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actors.environment import Environment
from actors.failures import combined, translated
from actors.merging import merged, runs_user_code
from actors.messages import AwaitUnblock, MergeDone, WithdrawUnblock
from actors.protocol_actor import tell
from orchestrator.values import Execution, MergeRule

if TYPE_CHECKING:
    from contextvars import Context

    from actors.below import Group

__all__ = ["PendingOutput"]


class PendingOutput:
    """Owned by one execution's actor, made anew for every attempt that emits or resumes.

    Args:
        environment: The runtime's.
        ref: The owner's; told `MergeDone` when reducers have run.
        execution_id: For errors.
        variables: The context in which reducers run.
    """

    def __init__(
        self, environment: Environment, ref: Any, execution_id: str, variables: Context
    ) -> None:
        self._environment = environment
        self._ref = ref
        self._execution_id = execution_id
        self._variables = variables
        self._errors: list[Exception] = []  # of merged groups, not yet told to the code
        self._waiting: list[AwaitUnblock] = []
        self.output: Any = None
        self.merging = False

    def merge(self, groups: Sequence[Group]) -> bool:
        """Merge decided groups, in this order; whether it is done, or `MergeDone` follows."""
        steps: list[tuple[list[Any], MergeRule]] = []
        errors: list[Exception] = []
        for group in groups:
            if group.result is None:
                continue
            if group.result.error is not None:
                errors.append(group.result.error)
            else:
                steps.append((group.result.outputs, group.merge))
        if runs_user_code([rule for _outputs, rule in steps]):
            self.merging = True
            self._merge_apart(self.output, steps, errors)
            return False
        for outputs, rule in steps:
            self.output = merged(self.output, outputs, rule)
        self._errors += errors
        return True

    def _merge_apart(
        self, output: Any, steps: Sequence[tuple[list[Any], MergeRule]], errors: list[Exception]
    ) -> None:
        """Run the reducers on a worker thread: no actor's turn may hold user code."""
        variables = self._variables.copy()

        def run() -> None:
            merging = output
            for outputs, rule in steps:
                try:
                    merging = variables.run(merged, merging, outputs, rule)
                except Exception as error:  # noqa: BLE001 - it fails the parent
                    errors.append(error)
                except BaseException as raised:  # noqa: BLE001 - likewise
                    errors.append(translated(raised, "a merge"))
            tell(self._ref, MergeDone(merging, tuple(errors)))

        self._environment.dispatcher.execute(run)

    def done(self, message: MergeDone) -> None:
        """The reducers have run."""
        self.merging = False
        self.output = message.output
        self._errors += message.errors

    def take_error(self) -> Exception | None:
        """The errors of groups that the code was not told of, as one; once."""
        errors, self._errors = self._errors, []
        return combined(errors, self._execution_id) if errors else None

    # Waiting to resume

    @property
    def awaited(self) -> bool:
        """Whether somebody waits to resume."""
        return bool(self._waiting)

    def wait(self, message: AwaitUnblock) -> None:
        """Answer when no group is open."""
        self._waiting.append(message)

    def answer(self, now: Execution) -> None:
        """No group is open: let everyone who waits resume."""
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            error = None if now.state.ended else self.take_error()
            if error is not None:
                message.reply.set_error(error)
            else:
                message.reply.set(now)

    def withdraw(self, message: WithdrawUnblock) -> None:
        """The waiter's patience is over; the answer that it has, if any, stands."""
        self._waiting = [one for one in self._waiting if one.reply is not message.reply]
        if not message.reply.done():
            message.reply.set_error(message.error)
