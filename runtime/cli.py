"""The command ``orchestrate``: run one action of a registry from a shell.

The output goes to stdout as JSON and everything else to stderr: the progress, what actions print,
their tracebacks and the totals. The exit code says how it ended; `EXIT_CODES` lists them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib import metadata
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.registry import Action
from runtime.cli_events import EventLog
from runtime.cli_inbox import Inbox
from runtime.cli_load import UsageError, find_action, load_registry, read_input
from runtime.cli_run import News, Run, end_at_once, end_by_signal, failure, signals_to
from runtime.cli_streams import Stdout, as_json, say
from runtime.handle import Handle
from runtime.local import LocalRuntime
from runtime.progress import drawn_progress

__all__ = ["main"]

DONE, FAILED, USAGE, TIMED_OUT, INTERRUPTED = 0, 1, 2, 124, 130
EXIT_CODES = """\
exit codes:
  0    done; the output is on stdout, as one line of JSON
  1    the action failed, or its output or the events could not be written
  2    bad usage; nothing was started
  124  timed out (--timeout)
  130  interrupted by Ctrl-C (143 by SIGTERM): what runs was cancelled, and what can't be stopped
       was waited for; a second Ctrl-C ends it at once
"""
EVENTS_WAITING = 1_000_000  # for a slow disk; beyond it the oldest are lost, and that is said
LAST_EVENTS = 2.0  # seconds to write them in, where something that can't be stopped is left


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; *argv* is ``sys.argv[1:]`` by default.

    Ends the process itself, with that code, in two cases: at a second signal, and where something
    that can't be stopped still runs some seconds after ``--timeout``.
    """
    try:
        options = _parser().parse_args(argv)
    except SystemExit as ended:  # --help, or a wrong argument
        return ended.code if isinstance(ended.code, int) else USAGE
    try:
        with Stdout() as stdout:
            return _run(options, stdout)
    except UsageError as error:
        say(f"orchestrate: {error}")
        return USAGE
    except KeyboardInterrupt:  # before the action was started, or after its end
        say("interrupted")
        return INTERRUPTED


def _run(options: argparse.Namespace, stdout: Stdout) -> int:
    registry = load_registry(options.registry)
    action = find_action(registry, options.action, options.registry)
    given = read_input(options.input, action)
    events = _opened(options.events)
    runtime = LocalRuntime(registry, workers=options.workers)
    subscription = None if events is None else runtime.subscribe(events, EVENTS_WAITING)
    inbox: Inbox[News] = Inbox()
    with closing(inbox), signals_to(inbox, lambda number: end_by_signal(runtime, number)):
        handle = _spawned(runtime, action, given, options.timeout)
        run = Run(runtime, handle, inbox, action.name)
        with drawn_progress(action.name, run.totals):
            run.wait()
    code = _reported(run, action, stdout, options.timeout)
    if events is not None and subscription is not None:
        subscription.close(LAST_EVENTS if run.abandoned else None)
        loss = events.close()
        if loss is not None:
            say(f"orchestrate: {loss}")
            code = code or FAILED
    say(f"{action.name} {run.ending}: {run.totals()}")
    if run.abandoned:
        say("orchestrate: leaving it, still running")
        sys.stdout.flush()
        end_at_once(runtime, code)
    return code


def _opened(path: str | None) -> EventLog | None:
    if path is None:
        return None
    try:
        return EventLog(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"--events {path}: the file can't be written: {reason}"
        raise UsageError(message) from error


def _spawned(runtime: LocalRuntime, action: Action, given: Any, timeout: float | None) -> Handle:
    try:
        return runtime.spawn(action.name, given, timeout=timeout)
    except OrchestratorError as error:  # a function that can't go to a process, say
        runtime.close()
        raise UsageError(str(error)) from error


def _reported(run: Run, action: Action, stdout: Stdout, timeout: float | None) -> int:
    """Write the output, or say why there is none; the exit code."""
    ended = run.ended
    if run.interrupted is not None:
        return run.interrupted.exit_code
    assert ended is not None  # noqa: S101 - the wait ends with one or the other
    if run.timed_out:
        say(f"orchestrate: {action.name} had not ended after {timeout:g} s (--timeout)")
        return TIMED_OUT
    if ended.error is not None:
        say(failure(ended.error))
        return FAILED
    try:
        stdout.write(as_json(ended.output, action.name))
    except OSError as error:  # before ValueError, which some of its subclasses are too
        say(f"orchestrate: the output can't be written to stdout: {error.strerror or error}")
        return FAILED
    except ValueError as error:
        say(f"orchestrate: {error}")
        return FAILED
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orchestrate",
        description="Run actions that fan out child executions and wait for them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run one action and print its output as JSON",
        description="Run one action. Its output goes to stdout, as JSON; all else to stderr.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.add_argument(
        "registry",
        metavar="MODULE:REGISTRY",
        help="an ActionRegistry in a module; the working directory is looked in first",
    )
    run.add_argument("action", metavar="ACTION", help="the name of an action in it")
    run.add_argument(
        "--input",
        metavar="JSON|@FILE",
        help="an object becomes keyword arguments, anything else one positional argument",
    )
    run.add_argument(
        "--timeout",
        type=_number(float, "seconds, 0 or more", lambda seconds: seconds >= 0),
        metavar="S",
        help="cancel the action after so many seconds",
    )
    run.add_argument(
        "--workers",
        type=_number(int, "an integer, 1 or more", lambda count: count >= 1),
        metavar="N",
        help="run the code of so many blocking actions at once; by default min(32, CPUs + 4)",
    )
    run.add_argument(
        "--events",
        metavar="FILE",
        help="write one line of JSON for every change of an execution's state",
    )
    return parser


def _number(
    kind: Callable[[str], Any], expected: str, fits: Callable[[Any], bool]
) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if not fits(number):  # which nothing says of NaN
            message = f"{text!r} is not {expected}"
            raise argparse.ArgumentTypeError(message)
        return number

    return read


def _version() -> str:
    try:
        return f"orchestrate {metadata.version('actor-orchestrator')}"
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "orchestrate (not installed)"


if __name__ == "__main__":
    sys.exit(main())
