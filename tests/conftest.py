"""What holds for every test: Hypothesis profiles, no crashed actor, no thread left behind."""

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import settings

_ENDING = 5.0  # seconds that threads which are about to end get for it, all together

settings.register_profile(
    "ci", derandomize=True, max_examples=100, deadline=None, print_blob=True, database=None
)
settings.register_profile("dev", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("thorough", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)

# Real threads that take turns every microsecond meet between steps where they hardly ever do.
if interval := os.environ.get("SWITCH_INTERVAL"):
    sys.setswitchinterval(float(interval))

# In the background of a script Ctrl-C is ignored, and by all that is started there: not by tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Many tests start Python anew, and each of those would compile the whole library again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_finish() -> None:
    """Thousands of test items live to the end: no collection, of a test's or else, visits them."""
    gc.collect()
    gc.freeze()


class _Errors(logging.Handler):
    """Keeps the error records of a logger and of those below it, as text."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))  # the traceback included


@pytest.fixture(autouse=True)
def _no_actor_crashes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pykka logs an actor's crash and carries on; a test must not."""
    errors = _Errors()
    logger = logging.getLogger("pykka")
    logger.addHandler(errors)
    try:
        yield
    finally:
        logger.removeHandler(errors)
    expected = request.node.get_closest_marker("pykka_errors_expected")
    if errors.texts and expected is None:
        pytest.fail("pykka logged errors:\n" + "\n".join(errors.texts), pytrace=False)


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_test() -> Iterator[None]:
    """Only daemons may, since nothing waits for them."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + _ENDING
    left = [
        thread for thread in threading.enumerate() if thread not in before and not thread.daemon
    ]
    for thread in left:
        thread.join(max(0.0, deadline - time.monotonic()))
    names = [thread.name for thread in left if thread.is_alive()]
    if names:
        pytest.fail(f"threads still alive after the test: {', '.join(names)}", pytrace=False)
