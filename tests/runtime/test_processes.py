import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import util
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from runtime import _process_worker
from runtime.processes import (
    PickleProblem,
    ProcessCall,
    ProcessDiedError,
    ProcessHost,
    ProcessHostClosedError,
    ProcessKilledError,
    ProcessStartError,
    RemoteError,
    check_picklable,
)

GENEROUS = 30.0  # seconds; a test waits this long only if it fails
ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc are Linux's")


# What the processes run; they find it here by name.


def add(one: int, *, other: int) -> int:
    return one + other


def meet(port: int) -> int:
    """Tell the test which process this is, then wait until it hangs up."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"%d\n" % os.getpid())
        connection.recv(1)
    return os.getpid()


def meet_then_exit(port: int, code: int) -> None:
    meet(port)
    os._exit(code)


def close_everything_then_exit(port: int, code: int) -> None:
    os.closerange(3, 256)
    meet_then_exit(port, code)


def leave_a_child_behind(port: int) -> None:
    """Fork one that outlives us and inherits all we have, then wait."""
    child = os.fork()
    meet(port)
    if not child:
        os._exit(0)


def fail(error: BaseException) -> None:
    error.add_note("seen in the function")
    try:
        raise LookupError("at the root", 1)  # noqa: TRY301 - what is tried is the raise
    except LookupError as cause:
        raise error from cause


def fail_while_handling() -> None:
    try:
        raise LookupError("first")  # noqa: TRY301 - what is tried is the raise
    except LookupError:
        raise ValueError("second")  # noqa: B904 - the implicit context is the point


def fail_strangely(how: str) -> None:
    match how:
        case "unpicklable":
            raise Unpicklable("this one stays", threading.Lock())
        case "not to be loaded":
            raise NeedsTwo("left", "right")
        case "no exception":
            raise Disguised("a string, in the end")
        case "unpicklable cause":
            raise ValueError("fine") from Unpicklable("not fine", threading.Lock())


def exit_by_exception(which: str) -> None:
    raise {"SystemExit": SystemExit(3), "KeyboardInterrupt": KeyboardInterrupt()}[which]


def result_of(kind: str) -> Any:
    return {"lock": threading.Lock(), "generator": (_ for _ in ())}.get(kind) or Poison()


class Unpicklable(Exception):  # noqa: N818
    pass


@define
class Slotted(Exception):  # noqa: N818
    """Its pickle has what attrs knows of, which the notes are not."""

    what: str


class NeedsTwo(Exception):  # noqa: N818
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class Disguised(Exception):  # noqa: N818
    def __reduce__(self) -> Any:
        return str, ("not an exception at all",)


class Poison:
    """Pickles, but can't be unpickled."""

    def __reduce__(self) -> Any:
        return int, ("poison",)


class CountsItsPickles:
    pickles = 0

    def __reduce__(self) -> Any:
        type(self).pickles += 1
        return CountsItsPickles, ()


class Meeting:
    """Where the test meets the functions above."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(GENEROUS)
        self.port: int = self._server.getsockname()[1]
        self._guests: list[socket.socket] = []

    def wait_for_one(self) -> int:
        """The pid of a process that has come; it stays until `let_go`."""
        guest, _ = self._server.accept()
        self._guests.append(guest)
        guest.settimeout(GENEROUS)
        with guest.makefile() as lines:
            return int(lines.readline())

    def let_go(self, count: int | None = None) -> None:
        for _ in range(len(self._guests) if count is None else count):
            self._guests.pop().close()

    def close(self) -> None:
        self.let_go()
        self._server.close()


class Caller(threading.Thread):
    """A call on a thread of its own."""

    def __init__(self, host: ProcessHost, function: Callable[..., Any], *args: Any) -> None:
        super().__init__(daemon=True)
        self.control = ProcessCall()
        self._call: Callable[[], Any] = lambda: host.call(function, args, {}, control=self.control)
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - handed over to result()
            self._error = error

    def result(self) -> Any:
        self.join(GENEROUS)
        assert not self.is_alive(), "the call has not ended"
        if self._error is not None:
            raise self._error
        return self._result


def call(host: ProcessHost, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return host.call(function, args, kwargs, control=ProcessCall())


def exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def open_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are what is compared


def wait_for_end_of(pidfd: int) -> None:
    ready, _, _ = select.select([pidfd], [], [], GENEROUS)
    os.close(pidfd)
    assert ready, "the process has not ended"


@pytest.fixture(scope="module")
def shared() -> Iterator[ProcessHost]:
    """One for the tests that leave its processes alive."""
    host = ProcessHost(keep_idle=1)
    yield host
    pids = host.pids
    host.close()
    assert not any(map(exists, pids))


@pytest.fixture
def host() -> Iterator[ProcessHost]:
    host = ProcessHost()
    yield host
    host.close()
    assert host.pids == []


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    meeting = Meeting()
    yield meeting
    meeting.close()


def test_a_call_returns_what_the_function_returns_in_another_process(shared: ProcessHost) -> None:
    assert call(shared, add, 1, other=2) == 3
    assert call(shared, os.getpid) != os.getpid()


def test_a_process_is_kept_for_the_next_call(shared: ProcessHost) -> None:
    assert call(shared, os.getpid) == call(shared, os.getpid)


def test_much_data_travels_both_ways(shared: ProcessHost) -> None:
    data = os.urandom(3_000_000)
    assert call(shared, bytes.upper, data) == data.upper()


def test_an_exception_comes_back_as_itself_with_notes_and_cause(shared: ProcessHost) -> None:
    with pytest.raises(ValueError, match="bad") as caught:
        call(shared, fail, ValueError("bad", 7))
    error = caught.value
    assert type(error) is ValueError
    assert error.args == ("bad", 7)
    assert error.__notes__[0] == "seen in the function"
    assert error.__notes__[1].startswith("In process ")
    assert "raise error from cause" in error.__notes__[1]
    assert "_process_worker" not in error.__notes__[1]  # our own frame says nothing
    assert repr(error.__cause__) == "LookupError('at the root', 1)"


def test_notes_come_back_even_where_the_pickle_drops_them(shared: ProcessHost) -> None:
    with pytest.raises(Slotted) as caught:
        call(shared, fail, Slotted("attrs"))
    assert caught.value.what == "attrs"
    assert caught.value.__notes__[0] == "seen in the function"


def test_the_context_of_an_exception_comes_back_too(shared: ProcessHost) -> None:
    with pytest.raises(ValueError, match="second") as caught:
        call(shared, fail_while_handling)
    assert repr(caught.value.__context__) == "LookupError('first')"
    assert caught.value.__cause__ is None
    assert not caught.value.__suppress_context__


def test_an_exception_with_its_remote_traceback_pickles_on(shared: ProcessHost) -> None:
    with pytest.raises(ValueError, match="bad") as caught:
        call(shared, fail, ValueError("bad"))
    assert pickle.loads(pickle.dumps(caught.value)).__notes__ == caught.value.__notes__


@pytest.mark.parametrize(
    ("how", "name", "text", "reason"),
    [
        ("unpicklable", "Unpicklable", "this one stays", "can't be pickled: TypeError"),
        ("not to be loaded", "NeedsTwo", "left and right", "can't be unpickled: TypeError"),
        ("no exception", "Disguised", "a string, in the end", "can't be pickled"),
    ],
)
def test_an_exception_that_does_not_pickle_is_stood_in_for_by_one_that_names_it(
    shared: ProcessHost, how: str, name: str, text: str, reason: str
) -> None:
    process = call(shared, os.getpid)
    with pytest.raises(RemoteError) as caught:
        call(shared, fail_strangely, how)
    assert caught.value.type_name.endswith(f".{name}")
    assert text in caught.value.message
    assert reason in caught.value.reason
    assert "fail_strangely" in caught.value.__notes__[0]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert call(shared, os.getpid) == process  # it lives on


def test_a_cause_that_does_not_pickle_is_stood_in_for(shared: ProcessHost) -> None:
    with pytest.raises(ValueError, match="fine") as caught:
        call(shared, fail_strangely, "unpicklable cause")
    assert isinstance(caught.value.__cause__, RemoteError)
    assert "not fine" in caught.value.__cause__.message


@pytest.mark.parametrize("which", ["SystemExit", "KeyboardInterrupt"])
def test_what_is_no_exception_ends_its_own_call_alone(shared: ProcessHost, which: str) -> None:
    process = call(shared, os.getpid)
    with pytest.raises(RemoteError, match=which) as caught:
        call(shared, exit_by_exception, which)
    assert type(caught.value.__cause__).__name__ == which
    assert call(shared, os.getpid) == process


@pytest.mark.parametrize("kind", ["lock", "generator"])
def test_a_result_that_can_not_be_pickled_is_an_error_that_names_its_type(
    shared: ProcessHost, kind: str
) -> None:
    process = call(shared, os.getpid)
    with pytest.raises(PickleProblem, match=rf"result_of returned a \S*{kind}\S*, which can't"):
        call(shared, result_of, kind)
    assert call(shared, os.getpid) == process


def test_a_result_that_can_not_be_unpickled_is_an_error_that_names_its_type(
    shared: ProcessHost,
) -> None:
    with pytest.raises(PickleProblem, match=r"Poison, which was pickled but can't be unpickled"):
        call(shared, result_of, "poison")


def test_arguments_that_can_not_be_unpickled_there_are_an_error(shared: ProcessHost) -> None:
    process = call(shared, os.getpid)
    with pytest.raises(PickleProblem, match=r"can't be unpickled in a process: ValueError.*poison"):
        call(shared, repr, Poison())
    assert call(shared, os.getpid) == process


def test_what_can_not_be_pickled_is_refused_before_a_process_is_taken(host: ProcessHost) -> None:
    with pytest.raises(PickleProblem, match=r"argument 2 \(<.*lock.*of type [Ll]ock\).*TypeError"):
        call(host, max, 1, threading.Lock())
    assert host.pids == []


def test_function_and_arguments_are_pickled_once(shared: ProcessHost) -> None:
    before = CountsItsPickles.pickles
    call(shared, repr, CountsItsPickles())
    assert CountsItsPickles.pickles == before + 1


def test_check_picklable_names_what_does_not_pickle_and_what_to_do() -> None:
    check_picklable(add, (1,), {"other": 2}, action="math:add")
    with pytest.raises(PickleProblem, match=r"'math:add'.*function.*<lambda>.*top level"):
        check_picklable(lambda: None, (), {}, action="math:add")
    with pytest.raises(PickleProblem, match=r"'math:add'.*argument 'other'.*lock.*inside"):
        check_picklable(add, (1,), {"other": threading.Lock()}, action="math:add")


def test_calls_at_once_have_a_process_each_and_only_so_many_are_kept(
    shared: ProcessHost, meeting: Meeting
) -> None:
    callers = [Caller(shared, meet, meeting.port) for _ in range(2)]
    met = {meeting.wait_for_one() for _ in callers}
    left = {process: os.pidfd_open(process) for process in met}
    meeting.let_go()
    assert {caller.result() for caller in callers} == met
    assert len(met) == 2
    kept = call(shared, os.getpid)  # keep_idle=1
    assert kept in met
    os.close(left.pop(kept))
    (pidfd,) = left.values()
    wait_for_end_of(pidfd)
    call(shared, os.getpid)  # joins it
    assert shared.pids == [kept]


def test_kill_ends_a_running_call_and_its_process_and_the_next_call_gets_another(
    host: ProcessHost, meeting: Meeting
) -> None:
    caller = Caller(host, meet, meeting.port)
    process = meeting.wait_for_one()
    caller.control.kill()
    caller.control.kill()
    with pytest.raises(ProcessKilledError, match="meet was ended: it was killed"):
        caller.result()
    assert not exists(process)
    assert call(host, os.getpid) != process


def test_a_kill_that_finds_the_answer_there_still_kills_and_the_next_call_gets_another(
    host: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = call(host, os.getpid)
    control = ProcessCall()
    ask = _process_worker.Child.ask

    def ask_then_kill(child: _process_worker.Child, request: bytes) -> bytes | None:
        answer = ask(child, request)
        control.kill()
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(_process_worker.Child, "ask", ask_then_kill)
        with pytest.raises(ProcessKilledError):
            host.call(os.getpid, (), {}, control=control)
    assert not exists(process)
    assert call(host, os.getpid) != process


def test_kill_before_a_call_takes_no_process(host: ProcessHost) -> None:
    control = ProcessCall()
    control.kill()
    with pytest.raises(ProcessKilledError):
        host.call(os.getpid, (), {}, control=control)
    assert host.pids == []


def test_kill_ends_a_process_that_is_still_starting(
    host: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = ProcessCall()
    ask = _process_worker.Child.ask

    def kill_then_ask(child: _process_worker.Child, request: bytes) -> bytes | None:
        assert child.stage is _process_worker.Stage.STARTING
        control.kill()
        return ask(child, request)

    monkeypatch.setattr(_process_worker.Child, "ask", kill_then_ask)
    with pytest.raises(ProcessKilledError):
        host.call(os.getpid, (), {}, control=control)
    assert host.pids == []


def test_kill_between_taking_a_process_and_asking_it_leaves_the_process_alone(
    shared: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = call(shared, os.getpid)
    control = ProcessCall()
    take = ProcessHost._take

    def take_then_kill(host: ProcessHost, name: str) -> Any:
        taken = take(host, name)
        control.kill()
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(ProcessHost, "_take", take_then_kill)
        with pytest.raises(ProcessKilledError):
            shared.call(os.getpid, (), {}, control=control)
    assert call(shared, os.getpid) == process


def test_kill_after_a_call_does_nothing_to_the_one_that_follows(
    shared: ProcessHost, meeting: Meeting
) -> None:
    control = ProcessCall()
    process = shared.call(os.getpid, (), {}, control=control)
    caller = Caller(shared, meet, meeting.port)
    assert meeting.wait_for_one() == process
    control.kill()
    meeting.let_go()
    assert caller.result() == process


def test_a_kill_that_races_with_the_end_of_its_call_never_hits_the_next_one(
    host: ProcessHost,
) -> None:
    used = set()
    for turn in range(400):
        control = ProcessCall()
        go = threading.Barrier(2)

        def kill(
            control: ProcessCall = control,
            go: threading.Barrier = go,
            spins: int = turn * 37 % 4000,
        ) -> None:
            go.wait(GENEROUS)
            for _ in range(spins):  # about as long as a call takes, at most
                pass
            control.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        go.wait(GENEROUS)
        with contextlib.suppress(ProcessKilledError):
            assert host.call(divmod, (turn, 7), {}, control=control) == divmod(turn, 7)
        assert call(host, divmod, turn, 5) == divmod(turn, 5)  # kill may still be under way
        killer.join()
        used.update(host.pids)
        if len(used) == 6:
            break  # each is a new process


def test_a_handle_serves_one_call(shared: ProcessHost) -> None:
    control = ProcessCall()
    shared.call(os.getpid, (), {}, control=control)
    with pytest.raises(ValueError, match="one for each call"):
        shared.call(os.getpid, (), {}, control=control)


def test_a_process_that_exits_fails_its_call_alone_with_its_exit_code(
    host: ProcessHost, meeting: Meeting
) -> None:
    bystander = Caller(host, meet, meeting.port)
    meeting.wait_for_one()
    with pytest.raises(ProcessDiedError, match=r"_exit has ended with exit code 7") as caught:
        call(host, os._exit, 7)
    assert caught.value.exit_code == 7
    assert call(host, add, 1, other=1) == 2
    meeting.let_go()
    assert bystander.result() in host.pids


def test_a_process_that_has_closed_its_pipe_is_waited_for_and_gives_its_exit_code(
    host: ProcessHost, meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_process_worker, "END_WITHIN", GENEROUS)
    caller = Caller(host, close_everything_then_exit, meeting.port, 5)
    meeting.wait_for_one()
    meeting.let_go()
    with pytest.raises(ProcessDiedError) as caught:
        caller.result()
    assert caught.value.exit_code == 5


def test_a_process_that_has_closed_its_pipe_and_goes_on_is_ended(
    host: ProcessHost, meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_process_worker, "END_WITHIN", 0.1)
    caller = Caller(host, close_everything_then_exit, meeting.port, 5)
    with pytest.raises(ProcessDiedError) as caught:
        caller.result()
    assert caught.value.exit_code == -signal.SIGKILL


def test_a_crash_is_told_by_its_signal(host: ProcessHost) -> None:
    with pytest.raises(ProcessDiedError, match="was ended by SIGSEGV") as caught:
        call(host, signal.raise_signal, signal.SIGSEGV)
    assert caught.value.exit_code == -signal.SIGSEGV


def test_an_interrupt_is_ignored_there_and_sigterm_ends_the_process(
    host: ProcessHost, meeting: Meeting
) -> None:
    caller = Caller(host, meet, meeting.port)
    process = meeting.wait_for_one()
    os.kill(process, signal.SIGINT)
    meeting.let_go()
    assert caller.result() == process

    caller = Caller(host, meet, meeting.port)
    assert meeting.wait_for_one() == process
    os.kill(process, signal.SIGTERM)
    with pytest.raises(ProcessDiedError) as caught:
        caller.result()
    assert caught.value.exit_code == -signal.SIGTERM


def test_an_interrupt_does_not_hit_a_process_that_is_still_starting(
    host: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn = util.spawnv_passfds

    def spawn_and_interrupt(*args: Any) -> int:
        process: int = spawn(*args)
        os.kill(process, signal.SIGINT)
        return process

    call(host, os.getpid)  # the resource tracker runs from here on
    host.close()
    host = ProcessHost()
    monkeypatch.setattr(util, "spawnv_passfds", spawn_and_interrupt)
    assert call(host, signal.pthread_sigmask, signal.SIG_BLOCK, []) == set()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    host.close()


def test_a_process_that_died_while_it_was_idle_is_replaced_without_an_error(
    host: ProcessHost,
) -> None:
    process = call(host, os.getpid)
    pidfd = os.pidfd_open(process)
    os.kill(process, signal.SIGKILL)
    wait_for_end_of(pidfd)
    assert call(host, os.getpid) != process
    assert process not in host.pids


def test_a_kill_is_not_held_up_by_what_the_function_has_left_running(
    host: ProcessHost, meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_process_worker, "END_WITHIN", 2 * GENEROUS)
    caller = Caller(host, leave_a_child_behind, meeting.port)
    pids = {meeting.wait_for_one(), meeting.wait_for_one()}
    assert set(host.pids) < pids
    caller.control.kill()
    with pytest.raises(ProcessKilledError):
        caller.result()  # while the grandchild still holds what it has inherited
    meeting.let_go()


def test_a_process_that_can_not_start_is_an_error_that_says_so(
    host: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/bin/false")
    with pytest.raises(
        ProcessStartError, match=r"getpid: it has ended with exit code 1; .*__main__"
    ):
        call(host, os.getpid)
    assert host.pids == []


def test_a_process_that_starts_too_slowly_is_ended(
    host: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_process_worker, "START_WITHIN", 0.0)
    with pytest.raises(ProcessStartError, match=r"not ready within .* was ended by SIGKILL"):
        call(host, os.getpid)
    assert host.pids == []


def test_close_kills_running_calls_ends_idle_processes_and_refuses_new_calls(
    meeting: Meeting,
) -> None:
    host = ProcessHost()
    running = [Caller(host, meet, meeting.port) for _ in range(2)]
    meeting.wait_for_one()
    meeting.wait_for_one()
    meeting.let_go(1)  # this one goes back to being idle, sooner or later
    pids = host.pids
    closers = [threading.Thread(target=host.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(GENEROUS)
        assert not closer.is_alive()
    assert not any(map(exists, pids))
    assert host.pids == []
    ends = []
    for caller in running:
        try:
            ends.append(caller.result() in pids)
        except ProcessKilledError as error:
            ends.append("closed" in str(error))
    assert ends == [True, True]
    host.close()
    with pytest.raises(ProcessHostClosedError):
        call(host, os.getpid)


def test_close_waits_for_the_calls_under_way_to_be_gone(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = ProcessHost()
    caller = Caller(host, meet, meeting.port)
    meeting.wait_for_one()
    may_end = threading.Event()
    end = _process_worker.Child.end

    def end_later(child: _process_worker.Child) -> None:
        assert may_end.wait(GENEROUS)
        end(child)

    monkeypatch.setattr(_process_worker.Child, "end", end_later)
    closer = threading.Thread(target=host.close)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    may_end.set()
    closer.join(GENEROUS)
    assert not closer.is_alive()
    assert host.pids == []
    with pytest.raises(ProcessKilledError, match="closed"):
        caller.result()


def test_a_process_that_becomes_idle_during_close_is_ended_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = ProcessHost()
    closer = threading.Thread(target=host.close)
    idle_ended = threading.Event()
    keep, end_idle = ProcessHost._keep, ProcessHost._end_idle

    def close_then_keep(host: ProcessHost, child: _process_worker.Child) -> None:
        closer.start()
        assert idle_ended.wait(GENEROUS)
        keep(host, child)

    def end_idle_and_tell(host: ProcessHost) -> None:
        end_idle(host)
        idle_ended.set()

    monkeypatch.setattr(ProcessHost, "_keep", close_then_keep)
    monkeypatch.setattr(ProcessHost, "_end_idle", end_idle_and_tell)
    assert call(host, divmod, 7, 2) == (3, 1)
    closer.join(GENEROUS)
    assert not closer.is_alive()
    assert host.pids == []


def test_nothing_is_left_behind_by_many_kills_and_deaths(meeting: Meeting) -> None:
    warm_up = ProcessHost()  # starts the resource tracker, which stays
    call(warm_up, os.getpid)
    warm_up.close()
    before = open_descriptors()

    errors: list[Exception] = []  # kept, tracebacks and all
    host = ProcessHost(keep_idle=0)
    for turn in range(2):
        caller = Caller(host, meet, meeting.port)
        process = meeting.wait_for_one()
        caller.control.kill()
        with pytest.raises(ProcessKilledError) as killed:
            caller.result()
        errors.append(killed.value)
        with pytest.raises(ProcessDiedError) as died:
            call(host, os._exit, turn)
        errors.append(died.value)
        meeting.let_go()
        assert not exists(process)
    call(host, os.getpid)
    host.close()
    assert open_descriptors() == before


@pytest.mark.parametrize("keep_idle", [-1, 1.5, True])
def test_a_bad_keep_idle_is_refused(keep_idle: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="keep_idle"):
        ProcessHost(keep_idle)


def test_a_forked_child_has_no_processes_and_leaves_its_parents_alone(
    host: ProcessHost, meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = Caller(host, meet, meeting.port)
    process = meeting.wait_for_one()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        host.close()
        with pytest.raises(ProcessHostClosedError, match="forked"):
            call(host, divmod, 1, 1)
    assert exists(process)
    meeting.let_go()
    assert caller.result() == process


SCRIPT = """
import os, signal, sys, threading
from runtime.processes import ProcessCall, ProcessHost

class Point:
    def __init__(self, x):
        self.x = x

def moved(point):
    print("moved in", __name__)
    return Point(point.x + 1)

def spin(started):
    print(os.getpid(), flush=True)
    while True:
        pass

if __name__ == "__main__":
    host = ProcessHost()
    point = host.call(moved, (Point(1),), {}, control=ProcessCall())
    print(type(point) is Point, point.x, flush=True)
    spinning = threading.Thread(
        target=host.call, args=(spin, (0,), {}), kwargs={"control": ProcessCall()}, daemon=True
    )
    if sys.argv[1] == "die":
        host.call(moved, (Point(1),), {}, control=ProcessCall())
        spinning.start()
        sys.stdin.read()
    else:
        spinning.start()
        sys.stdin.readline()
        # and leave without closing
"""


@pytest.mark.parametrize("end", ["die", "leave"])
def test_functions_of_a_script_work_and_processes_end_with_it_however_it_ends(
    tmp_path: Path, end: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "moved in __mp_main__\n"
        assert program.stdout.readline() == "True 2\n"
        if end == "die":
            assert program.stdout.readline() == "moved in __mp_main__\n"
        spinner = os.pidfd_open(int(program.stdout.readline()))
        if end == "die":
            program.kill()
        else:
            program.stdin.write("\n")
            program.stdin.flush()
        wait_for_end_of(spinner)  # in the middle of its call
        program.communicate(timeout=GENEROUS)  # the end of stdout: nobody holds it any more
