"""A run of a simulation told as a story: what happened, in order, with the choices that mattered.

Made from the facts that the world has written down, when somebody asks: of a failed run, mostly the
smallest one that fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.simulation.marks import Line
from runtime.simulation.narrator import Narrator

if TYPE_CHECKING:
    from runtime.simulation.world import World

__all__ = ["render_story"]

LONGEST = 160  # lines
AROUND = 6  # lines that are kept on both sides of a marked one


def render_story(world: World, *, limit: int = LONGEST) -> str:
    """Tell what happened in *world*, one line for each event, in order.

    The same run gives the same text. Lines that begin with ``>>`` are the choices by which the
    schedule differs from the plain order. Of a story of more than *limit* lines some are left out,
    and their number is told; marked lines and those beside them are kept where there is room.
    """
    lines = Narrator(world).tell()
    texts = [_text(line) for line in lines]
    if len(lines) <= limit:
        return "\n".join(texts)
    kept = _keep(lines, limit)
    told: list[str] = []
    left_out = 0
    for index, text in enumerate(texts):
        if index in kept:
            if left_out:
                told.append(_gap(left_out))
                left_out = 0
            told.append(text)
        else:
            left_out += 1
    return "\n".join(told)


def _text(line: Line) -> str:
    return f"{'>>' if line.mark else '':2}{line.at:9.3f} s  {line.text}"


def _gap(count: int) -> str:
    return f"{'...':>13}  {count} {'line' if count == 1 else 'lines'} left out"


def _keep(lines: list[Line], limit: int) -> set[int]:
    """Which lines of a long story are told."""
    kept: set[int] = set()
    for reach in (0, AROUND):  # the marks first, then what is around them
        for index, line in enumerate(lines):
            if line.mark and len(kept) < limit * 3 // 4:
                kept.update(range(max(0, index - reach), min(len(lines), index + reach + 1)))
    left = max(limit - len(kept), 4)
    # The rest is shared between the beginning and the end, and the end gets more of it.
    front, back = 0, len(lines) - 1
    for turn in range(left):
        if turn % 3 == 0:
            while front in kept:
                front += 1
            kept.add(front)
        else:
            while back in kept:
                back -= 1
            kept.add(back)
    return kept
