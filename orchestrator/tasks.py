"""The tasks of a process: those it began with, and those each `emit_for_each` added.

An emit of a million items adds a million tasks; they are made when someone asks for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import attrs
from attrs import field, frozen

from orchestrator.values import Process, Task

__all__ = ["with_tasks"]

_NUMBERED = re.compile(r"(.*)\[(\d+)\]", re.DOTALL)


@frozen(eq=False, repr=False)
class _Tasks(Mapping[str, Task]):
    """Tasks by id: *base*, and for each template the numbered ones derived from it."""

    base: Mapping[str, Task]
    derived: Mapping[str, tuple[Task, int | None]] = field(factory=dict)  # by prefix; how many

    def __getitem__(self, key: str) -> Task:
        if key in self.base:
            return self.base[key]
        match = _NUMBERED.fullmatch(key)
        if match is not None and match.group(1) in self.derived:
            template, count = self.derived[match.group(1)]
            if count is None or int(match.group(2)) < count:
                return attrs.evolve(template, id=key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        yield from self.base
        for prefix, (_template, count) in self.derived.items():
            for index in range(count or 0):
                yield f"{prefix}[{index}]"

    def __len__(self) -> int:
        return len(self.base) + sum(count or 0 for _template, count in self.derived.values())


def with_tasks(process: Process, prefix: str, template: Task, count: int | None) -> Process:
    """*process* with the tasks ``prefix[0]`` to ``prefix[count - 1]`` made of *template*.

    A *count* of ``None`` is a lazy source's: every index is a task, none is listed.
    """
    tasks = process.tasks
    if isinstance(tasks, _Tasks):
        before = tasks.derived.get(prefix, (template, 0))[1]
        most = None if count is None or before is None else max(count, before)
        return Process(process.id, _Tasks(tasks.base, {**tasks.derived, prefix: (template, most)}))
    return Process(process.id, _Tasks(tasks, {prefix: (template, count)}))
