"""`ReadyQueue` against a list that is searched from one end to the other for each start."""

from __future__ import annotations

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from actors.ready import Queued, ReadyQueue, Turns, frontmost, goes_ahead


@define(eq=False)
class Work:
    """One queued child, as the model sees it."""

    item: Queued
    index: int


@define
class Model:
    """The queue as a list; the order of starts as DESIGN.md tells it."""

    works: list[Work] = field(factory=list)
    served: dict[str, int] = field(factory=dict)  # when each process was last served
    tick: int = 0

    def may_be_next(self) -> list[Queued]:
        """The items that may be next; several only where nothing is said between processes."""
        if not self.works:
            return []
        most = max(work.item.priority for work in self.works)
        works = [work for work in self.works if work.item.priority == most]
        running = [work for work in works if not work.item.new_root]
        if not running:
            return [min(works, key=lambda work: work.item.seq).item]
        turns = {work.item.process_id: self.turn(work.item.process_id) for work in running}
        first = [name for name, turn in turns.items() if turn == min(turns.values())]
        return [
            min(
                (work for work in running if work.item.process_id == name),
                key=lambda work: (-work.item.depth, work.item.seq),
            ).item
            for name in first
        ]

    def turn(self, process_id: str) -> int:
        return self.served.get(process_id, 0)

    def start(self, item: Queued) -> int:
        """Take the first child that is left of *item*."""
        work = next(work for work in self.works if work.item is item)
        self.works.remove(work)
        self.tick += 1
        self.served[item.process_id] = self.tick
        return work.index

    def left(self, item: Queued) -> list[int]:
        return [work.index for work in self.works if work.item is item]


items = st.fixed_dictionaries(
    {
        "priority": st.integers(-1, 1),
        "process_id": st.sampled_from("abc"),
        "depth": st.integers(0, 2),
        "new_root": st.booleans(),
        "size": st.integers(0, 4),
    }
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), items),
        st.tuples(st.just("start"), st.none()),
        st.tuples(st.just("start"), st.none()),
        st.tuples(st.just("start many"), st.integers(1, 5)),
        st.tuples(st.just("drop"), st.integers(0, 30)),
        st.tuples(st.just("drop all"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(steps=steps)
def test_starts_come_by_priority_then_running_processes_in_turns_then_depth_then_arrival(
    steps: list[tuple[str, object]],
) -> None:
    turns = Turns()
    queue, model, everything = ReadyQueue(turns), Model(), []
    for what, given_ in steps:
        match what, given_:
            case "push", dict():
                item = queued(given_, seq=len(everything) + 1)
                if item.indexes:
                    queue.push(item)
                    everything.append(item)
                    model.works += [Work(item, index) for index in item.indexes]
            case "start", _:
                start_next(queue, model, turns)
            case "start many", int() if (head := queue.head()) is not None:
                taken = head[1].take_many(given_)
                assert 1 <= len(taken) <= given_
                turns.served(head[1].process_id)
                assert list(taken) == [model.start(head[1]) for _ in taken]
            case "drop", int() if model.works:
                work = model.works.pop(given_ % len(model.works))
                work.item.drop(work.index)
            case "drop all", int() if everything:
                item = everything[given_ % len(everything)]
                assert list(item.drop_all()) == model.left(item)
                model.works = [work for work in model.works if work.item is not item]
            case _:
                pass
        for item in everything:
            assert list(item.left) == model.left(item)
            assert item.empty is (not model.left(item))
            assert all(item.has(index) for index in item.left)
            assert not any(item.has(index) for index in range(20) if index not in item.left)
    while model.works:
        start_next(queue, model, turns)
    assert queue.head() is None


def queued(given_: dict[str, object], seq: int) -> Queued:
    size = given_["size"]
    assert isinstance(size, int)
    indexes = (0,) if given_["new_root"] else tuple(range(10, 10 + size))
    return Queued(
        given_["priority"],  # type: ignore[arg-type]
        given_["process_id"],  # type: ignore[arg-type]
        given_["depth"],  # type: ignore[arg-type]
        seq,
        bool(given_["new_root"]),
        None,
        indexes,
    )


def start_next(queue: ReadyQueue, model: Model, turns: Turns) -> None:
    candidates = model.may_be_next()
    head = queue.head()
    if not candidates:
        assert head is None
        return
    assert head is not None
    _key, item = head
    assert item in candidates
    assert queue.head() == head  # looking changes nothing
    turns.served(item.process_id)
    assert item.take() == model.start(item)


def test_processes_that_have_as_much_work_take_strict_turns() -> None:
    turns = Turns()
    queue = ReadyQueue(turns)
    for seq, process_id in enumerate("aabbcc"):
        queue.push(Queued(0, process_id, 1, seq, new_root=False, payload=None, indexes=(0, 1, 2)))
    order = []
    while (head := queue.head()) is not None:
        turns.served(head[1].process_id)
        order.append(head[1].process_id)
        head[1].take()
    assert sorted(order) == list("aaaaaabbbbbbcccccc")
    assert order == order[:3] * 6


def test_a_process_that_has_ended_leaves_no_turn_behind() -> None:
    turns = Turns()
    turns.served("a")
    assert turns.of("a") == 1
    turns.forget("a")
    turns.forget("a")
    assert turns.of("a") == 0


def test_keys_of_several_queues_compare_as_their_heads_do_in_one() -> None:
    turns = Turns()
    queues = [ReadyQueue(turns) for _ in range(4)]
    turns.served("late")
    queues[0].push(Queued(0, "r", 0, 1, new_root=True, payload=None))
    queues[1].push(Queued(0, "late", 2, 2, new_root=False, payload=None))
    queues[2].push(Queued(0, "early", 1, 3, new_root=False, payload=None))
    queues[3].push(Queued(1, "s", 0, 4, new_root=True, payload=None))
    heads = [head for queue in queues if (head := queue.head()) is not None]
    heads.sort(key=lambda head: head[0])
    assert [head[1].seq for head in heads] == [4, 3, 2, 1]


KEYS = st.tuples(st.integers(0, 1), st.sampled_from("ab"), st.integers(0, 3))


@given(
    queued=st.lists(st.tuples(KEYS, st.booleans(), st.booleans(), st.integers(0, 1)), max_size=6),
    key=KEYS,
)
def test_what_goes_ahead_of_the_front_would_be_next_and_so_would_all_that_is_deeper(
    queued: list[tuple[tuple[int, str, int], bool, bool, int]], key: tuple[int, str, int]
) -> None:
    turns = Turns()
    queues = ReadyQueue(turns), ReadyQueue(turns)
    left: list[Queued] = []
    for seq, ((priority, process, depth), new_root, dropped, lane) in enumerate(queued):
        item = Queued(priority, process, 0 if new_root else depth, seq, new_root, None)
        queues[lane].push(item)
        if dropped:
            item.drop_all()
        else:
            left.append(item)
    priority, process, depth = key
    front = frontmost(queues[0].front(), queues[1].front())
    ahead = front is None or goes_ahead(front, priority, depth, process)
    new = Queued(priority, process, depth, len(queued), new_root=False, payload=None)
    for queue in queues:
        queue.push(new)
        head = queue.head()
        if ahead:
            assert head is not None
            assert head[1] is new
    if all(item.process_id == process and item.depth < depth for item in left) and all(
        item.priority <= priority for item in left
    ):
        assert ahead
