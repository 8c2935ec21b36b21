"""The children of one `emit_for_each`: a template and its items, until somebody asks for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeGuard, overload

from orchestrator.context import ExecutionContext
from orchestrator.errors import InvalidInputError
from orchestrator.ids import new_id
from orchestrator.references import compile_input
from orchestrator.texts import excerpt
from orchestrator.values import Execution, ExecutionState, Task, build_pending

__all__ = ["Expansion", "TemplateChildren", "is_template"]

_NO_META: Mapping[str, Any] = MappingProxyType({})


class Expansion:
    """Makes the child of each item of an `emit_for_each`."""

    def __init__(self, parent: ExecutionContext, as_: str, template: Task) -> None:
        execution = parent.execution
        self._parent_data = execution.data
        self._parent_id = execution.id
        self._process_id = execution.process_id
        base = execution.task_id or execution.id
        self.prefix = f"{base}.{template.id}" if template.id else base
        self._as = as_
        self.template = template
        try:
            self._resolve = compile_input(template.input)
        except RecursionError:
            message = "the template's input is nested too deeply, or holds itself"
            raise InvalidInputError(message, got=excerpt(template.input)) from None

    def inputs(self, items: list[Any]) -> Sequence[Any]:
        """The input of each item's child; raises `InvalidInputError` for a bad reference."""
        if self.template.input is None:
            return items
        if self._resolve is None:
            return [self.template.input] * len(items)
        return [self._resolve(self._lookup({self._as: item})) for item in items]

    def child(self, index: int, item: Any) -> Execution:
        """The child of the *index*-th item; raises `InvalidInputError` for a bad reference."""
        (given,) = self.inputs([item])
        return self.build(index, item, given, new_id())

    def build(self, index: int, item: Any, given: Any, execution_id: str) -> Execution:
        """The child of the *index*-th item, its input resolved."""
        template = self.template
        return build_pending(
            template.action,
            given,
            execution_id,
            self._process_id,
            self._parent_id,
            f"{self.prefix}[{index}]",
            None,
            index,
            {self._as: item},
            ExecutionState.PENDING,
            None,
            None,
            0,
            template.retry,
            template.timeout,
            template.priority,
            None,
            None,
            None,
            _NO_META,
        )

    def _lookup(self, data: Mapping[str, Any]) -> Callable[[str], Any]:
        parent_data = self._parent_data
        return lambda name: data[name] if name in data else parent_data[name]


class TemplateChildren(Sequence[Execution]):
    """The children of a template for *items*, each made when somebody looks at it, and once.

    What a worker needs of a child is there without it: `inputs`, `id_of`. So a million pending
    children cost their items alone (see benchmarks/fan_out.py). Their ids are ``block.index``.

    Raises:
        InvalidInputError: a reference in the template leads nowhere for one of the items.
    """

    def __init__(self, expansion: Expansion, items: list[Any]) -> None:
        self.template = expansion.template
        self.block = new_id()
        self.inputs: Sequence[Any] = expansion.inputs(items)
        self._expansion = expansion
        self._items = items
        self._made: dict[int, Execution] = {}

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Execution: ...

    @overload
    def __getitem__(self, index: slice) -> list[Execution]: ...

    def __getitem__(self, index: int | slice) -> Execution | list[Execution]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self._items)))]
        if index < 0:
            index += len(self._items)
        made = self._made.get(index)
        if made is None:
            made = self._expansion.build(
                index, self._items[index], self.inputs[index], self.id_of(index)
            )
            made = self._made.setdefault(index, made)
        return made

    def id_of(self, index: int) -> str:
        """The id of the child of the *index*-th item."""
        return f"{self.block}.{index}"

    def ids(self) -> list[str]:
        """The ids of all of them."""
        block = self.block
        return [f"{block}.{index}" for index in range(len(self._items))]

    def index_of(self, execution_id: str) -> int | None:
        """Which child has this id; ``None``: none of them."""
        block, _, number = execution_id.rpartition(".")
        if block != self.block or not number.isdecimal():
            return None
        index = int(number)
        return index if index < len(self._items) and self.id_of(index) == execution_id else None


def is_template(children: object) -> TypeGuard[TemplateChildren]:
    """Whether *children* are of a template; an isinstance of a sequence is five times as dear."""
    return children.__class__ is TemplateChildren
