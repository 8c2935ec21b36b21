"""Where the choices of one run of a test come from, and what they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from runtime.simulation.choices import CLOCK, Deviation
from runtime.simulation.choosers import Draws, Plain, SeededDraws, portfolio
from runtime.simulation.covering import note_finished
from runtime.simulation.tasks import SimTask
from runtime.simulation.tokens import Recording, decode, encode
from runtime.simulation.world import LAG, World

if TYPE_CHECKING:
    from runtime.simulation.choices import Chooser

__all__ = ["SEEDED_MODES", "Replay", "Schedule", "lag_of"]

SEEDED_MODES = (
    *("few", "few", "few", "uniform", "uniform", "uniform", "uniform"),
    *("pct-2", "pct-3", "pct-3", "clock", "still", "starve", "starve"),
)


def lag_of(clock: str | float) -> float:
    """How many virtual seconds may pass while something can run.

    Raises:
        ValueError: *clock* is none of those that `Schedule` names.
    """
    if clock == "choose":
        return LAG
    if clock == "jump":
        return 0.0
    if isinstance(clock, int | float) and not isinstance(clock, bool) and clock >= 0:
        return float(clock)
    message = (
        f"clock={clock!r}: it is 'choose', 'jump', or a number of seconds that is not negative"
    )
    raise ValueError(message)


class Replay:
    """Makes the choices that were recorded, and the plain one everywhere else.

    A choice is found by the task that was at a switch point, how many it had passed, and how many
    choices were made there before: so leaving one out does not shift the others.
    """

    def __init__(self, deviations: Sequence[Deviation]) -> None:
        self._chosen: Mapping[tuple[str, int, int], str] = {
            (task, step, visit): chosen for task, step, visit, chosen in deviations
        }

    def choose(self, current: SimTask, options: Sequence[SimTask], clock: bool) -> int:  # noqa: FBT001
        """What was chosen here; the first where it is no option now."""
        chosen = self._chosen.get((current.name, current.step, current.visits))
        if chosen is None:
            return 0
        if chosen == CLOCK:
            return len(options) if clock else 0
        for index, task in enumerate(options):
            if task.name == chosen:
                return index
        return 0

    def decide(self, current: SimTask, what: str, options: int) -> int:
        """What was decided here; the plain answer where it is none now."""
        chosen = self._chosen.get((current.name, current.step, current.visits), "")
        asked, _, answer = chosen.rpartition("=")
        if asked != what or not answer.isdecimal() or int(answer) >= options:
            return 0
        return int(answer)


class Schedule:
    """The choices of one run of a test, for all its simulations, one after another.

    Make one with `plain`, `seeded` or `replay`, or let `simulate` or `schedules` make many.

    Args:
        choosers: Called for each simulation: makes its choices.
        description: How such a schedule is made, as an expression.
        clock: ``"choose"``: a timer may also fire while tasks can run, which is as if these were
            slow, by 5 virtual seconds in all at most; so a timeout beyond that means what it says.
            A number: the same with so many seconds, ``math.inf`` without a limit. ``"jump"``: time
            moves only when nothing can run.
        backend: ``"greenlet"``, or ``"threads"`` for real threads that take turns.
        expected: What its run was when it was recorded, if that is known.
    """

    def __init__(
        self,
        choosers: Callable[[], Chooser],
        description: str,
        *,
        clock: str | float = "choose",
        backend: str = "greenlet",
        expected: list[Recording] | None = None,
    ) -> None:
        lag_of(clock)
        self.clock = clock
        self.backend = backend
        self.worlds: list[World] = []  # of simulations that are over, in their order
        self._choosers = choosers
        self._description = description
        self._expected = expected

    @classmethod
    def plain(cls, *, clock: str | float = "choose", backend: str = "greenlet") -> Self:
        """The undisturbed order: each task runs for as long as it can."""
        return cls(Plain, "Schedule.plain()", clock=clock, backend=backend)

    @classmethod
    def seeded(
        cls,
        seed: int | str,
        *,
        modes: Sequence[str] = SEEDED_MODES,
        length: int | None = None,
        clock: str | float = "choose",
        backend: str = "greenlet",
    ) -> Self:
        """One of the portfolio, the same for the same seed and code.

        Args:
            seed: Any number or text.
            modes: Which ways of choosing may be drawn, by their names in `choosers.MODES`.
            length: How many choices the run will have, roughly, if that is known.
            clock: See the class.
            backend: See the class.
        """
        return cls.drawn(
            SeededDraws(seed),
            f"Schedule.seeded({seed!r})",
            modes=modes,
            length=length,
            clock=clock,
            backend=backend,
        )

    @classmethod
    def drawn(
        cls,
        draws: Draws,
        description: str = "<schedule, drawn as its run goes on>",
        *,
        modes: Sequence[str] = SEEDED_MODES,
        length: int | None = None,
        clock: str | float = "choose",
        backend: str = "greenlet",
    ) -> Self:
        """One of the portfolio, from a ``Random`` or what looks like one."""
        return cls(
            lambda: portfolio(draws, modes, length),
            description,
            clock=clock,
            backend=backend,
        )

    @classmethod
    def replay(
        cls, token: str, *, clock: str | float = "choose", backend: str = "greenlet"
    ) -> Self:
        """The schedule of a token, as far as the code still takes the same way.

        `difference` tells afterwards whether it did.

        Raises:
            ReplayError: it is no token.
        """
        expected = decode(token)
        left = iter(expected)

        def chooser() -> Chooser:
            recording = next(left, None)
            return Replay(() if recording is None else recording.deviations)

        description = f"Schedule.replay({token!r})"
        return cls(chooser, description, clock=clock, backend=backend, expected=expected)

    @classmethod
    def replaying(
        cls,
        worlds: Sequence[Sequence[Deviation]],
        *,
        clock: str | float = "choose",
        backend: str = "greenlet",
    ) -> Self:
        """The plain order but for the given choices, for each simulation in turn."""
        left = iter(worlds)
        return cls(
            lambda: Replay(next(left, ())),
            "<schedule, replayed>",
            clock=clock,
            backend=backend,
        )

    # For simulations

    def chooser(self) -> Chooser:
        """The chooser of the next simulation."""
        return self._choosers()

    def finished(self, world: World) -> None:
        """A simulation that this schedule made the choices of is over."""
        self.worlds.append(world)
        note_finished(world)

    # What they were

    @property
    def recordings(self) -> list[Recording]:
        """What each finished simulation did."""
        return [Recording.of(world) for world in self.worlds]

    @property
    def deviations(self) -> list[tuple[Deviation, ...]]:
        """The choices that were not the plain ones, for each finished simulation."""
        return [tuple(world.deviations) for world in self.worlds]

    @property
    def preemptions(self) -> int:
        """How often a task was taken off that could have gone on."""
        return sum(world.preemptions for world in self.worlds)

    @property
    def steps(self) -> int:
        """How many choices there were."""
        return sum(world.steps for world in self.worlds)

    @property
    def token(self) -> str:
        """What `replay` and `reproduce_schedule` need to run the same again, anywhere."""
        return encode(self.recordings)

    def difference(self) -> str | None:
        """Where this run was not, to the letter, the one of the token; ``None``: nowhere."""
        if self._expected is None:
            return None
        ran, expected = self.recordings, self._expected
        if len(ran) != len(expected):
            return f"the test ran {len(ran)} simulations, the token's {len(expected)}"
        for number, (mine, other) in enumerate(zip(ran, expected, strict=True), start=1):
            left = [each for each in other.deviations if each not in mine.deviations]
            if left:
                task, step, _, chosen = left[0]
                return (
                    f"in simulation {number}, {chosen} could not be chosen at step {step} of {task}"
                )
            if mine.trace != other.trace:
                return f"in simulation {number}, the tasks took another way between the choices"
        return None

    def __repr__(self) -> str:
        return f"Schedule.replay({self.token!r})" if self.worlds else self._description
