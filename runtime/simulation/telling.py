"""What a failing test says about its schedule."""

from __future__ import annotations

from runtime.simulation.schedule import Schedule
from runtime.simulation.story import render_story

__all__ = ["describe"]


def describe(schedule: Schedule) -> str:
    """The figures of a run, the line that runs it again, and its story."""
    deviations = sum(len(each) for each in schedule.deviations)
    figures = (
        f"{_count(schedule.steps, 'choice')}, {deviations} of them not the plain one,"
        f" {_count(schedule.preemptions, 'preemption')}"
    )
    lines = [
        f"{figures}; to run exactly this again:",
        f'@reproduce_schedule("{schedule.token}")',
    ]
    for number, world in enumerate(schedule.worlds, start=1):
        if len(schedule.worlds) > 1:
            lines.append(f"simulation {number} of {len(schedule.worlds)}:")
        lines.append(render_story(world))
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
