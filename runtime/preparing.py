"""Checks what is to be run, before anything is queued, and finds the actions for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from orchestrator.checks import checked_timeout
from orchestrator.context import peek_context
from orchestrator.errors import InvalidInputError, UnknownTaskError
from orchestrator.expansion import TemplateChildren
from orchestrator.ids import new_id
from orchestrator.registry import Action, ActionRegistry
from orchestrator.texts import excerpt, function_name
from orchestrator.values import Execution, ExecutionState, Task
from runtime.processes import PickleProblem, check_picklable

__all__ = ["Preparing"]


class Preparing:
    """Knows the registry; holds no other state. Safe from any thread."""

    def __init__(self, actions: ActionRegistry) -> None:
        if not isinstance(actions, ActionRegistry):
            message = f"a runtime needs an ActionRegistry, not {excerpt(actions)}"
            raise TypeError(message)
        self._actions = actions

    def children(
        self, children: Sequence[Execution]
    ) -> tuple[Sequence[Execution], Sequence[Action]]:
        """The children as they will run, and an action for each, or a single one for all.

        Raises:
            TypeError: a child is no execution.
            InvalidInputError, UnknownActionError, UnknownTaskError: a child can't run.
        """
        if children.__class__ is TemplateChildren:  # as an isinstance of a sequence is dear
            return children, self._of_template(children)
        actions: list[Action] = []
        whole: list[Execution] | None = None
        last: Action | None = None
        alike = True
        for place, given in enumerate(children):
            child = given
            if not isinstance(child, Execution):
                message = f"child {place} must be an Execution, not {excerpt(child)}"
                raise TypeError(message)
            if not child.action:
                child = self._of_task(child)
                whole = list(children) if whole is None else whole
                whole[place] = child
            if last is None or child.action != last.name:
                alike = alike and last is None
                last = self._actions.get(child.action)
            self._check(child, last)
            actions.append(last)
        if alike and last is not None:
            actions = [last]
        return (children if whole is None else whole), actions

    def _of_template(self, children: TemplateChildren) -> Sequence[Action]:
        """The one action of all of them; what they have in common is checked once."""
        if not children:
            return ()
        action = self._actions.get(children.template.action)
        self._check(children[0], action)
        action.binder.check_each(children.inputs)
        if action.runs_in == "process":
            for given in children.inputs:
                _check_picklable(given, action)
        return (action,)

    def one(self, given: Execution) -> tuple[Execution, Action]:
        """The same for a single child."""
        child = given if given.action else self._of_task(given)
        action = self._actions.get(child.action)
        self._check(child, action)
        return child, action

    def child(self, child: Execution) -> Action:
        """The action of one child that was drawn from a source."""
        action = self._actions.get(child.action)
        self._check(child, action)
        return action

    def root(self, target: Any, given: Any) -> tuple[Execution, Action]:
        """What `spawn` and `run` were given, as an execution and its action.

        Raises:
            TypeError: *target* is no name, execution, task or function.
        """
        if isinstance(target, Execution):
            if given is not None:
                message = "an Execution has its input already; give it there, not beside it"
                raise TypeError(message)
            execution = target if target.action else self._of_task(target)
        elif isinstance(target, str):
            execution = Execution.ad_hoc(target, given)
        elif callable(target):
            action = Action.of(target, function_name(target))
            execution = Execution.ad_hoc(action.name, given)
            self._check(execution, action)
            return execution, action
        else:
            message = (
                f"give an action's name, an Execution or a function to run, not {excerpt(target)}"
            )
            raise TypeError(message)
        return execution, self.child(execution)

    def _check(self, child: Execution, action: Action) -> None:
        if child.state is not ExecutionState.PENDING:
            return  # a snapshot has no claim, and is refused for that
        if not child.id.__class__ is child.task_id.__class__ is child.process_id.__class__ is str:
            _check_names(child)
        if child.priority is not None and not isinstance(child.priority, int):
            message = f"priority must be an integer or None, not {excerpt(child.priority)}"
            raise TypeError(message)
        if child.timeout is not None:
            checked_timeout(child.timeout)
        action.binder.check(child.input)
        if action.runs_in == "process":
            _check_picklable(child.input, action)

    def _of_task(self, child: Execution) -> Execution:
        """An execution that names a task of its process instead of an action."""
        context = peek_context()
        tasks: Mapping[str, Task] = {} if context is None else context.process.tasks
        process_id = "" if context is None else context.process.id
        if not child.task_id:
            message = "the execution has no action; make it with Execution.ad_hoc('service:method')"
            raise InvalidInputError(message, got=repr(child))
        try:
            task = tasks[child.task_id]
        except KeyError:
            raise UnknownTaskError(child.task_id, process_id) from None
        if not child.claim():
            return child
        return attrs.evolve(
            child,
            id=child.id or new_id(),
            action=task.action,
            input=task.input if child.input is None else child.input,
            retry=child.retry or task.retry,
            timeout=task.timeout if child.timeout is None else child.timeout,
            priority=task.priority if child.priority is None else child.priority,
        )


def _check_names(child: Execution) -> None:
    for name in (child.id, child.task_id, child.process_id):
        if not isinstance(name, str):
            message = f"the ids of an execution must be strings, not {excerpt(name)}"
            raise TypeError(message)


def _check_picklable(given: Any, action: Action) -> None:
    args = () if given is None or isinstance(given, Mapping) else (given,)
    kwargs = dict(given) if isinstance(given, Mapping) else {}
    try:
        check_picklable(action.function, args, kwargs, action=action.name)
    except PickleProblem as problem:
        raise InvalidInputError(str(problem)) from problem
