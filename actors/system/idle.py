"""The threads of a dispatcher that have nothing to do, and how many of them there are to be."""

from contextlib import suppress

from actors.system.clock import Clock
from actors.system.worker import Worker


class IdleLine:
    """Idle workers in the order in which they came; the last one is the warmest, and sent first.

    Those that are too many end after a while, and all of them at the close: one after another, as
    each that is woken for it wakes the next one. Thousands of threads that wake at the same moment
    all want the interpreter's lock, and hardly let the one run that has it.

    All state changes by single atomic steps, so that nobody ever waits for a lock. A worker that
    is taken out of the line belongs to whoever took it, who wakes it.
    """

    def __init__(self, keep: int, linger: float, clock: Clock) -> None:
        """Make an empty one.

        Args:
            keep: How many may stand in it for as long as they like.
            linger: Seconds that further ones may.
            clock: Tells when these are over.
        """
        self._keep = keep
        self._linger = linger
        self._clock = clock
        self._line: list[Worker] = []
        self.pop = self._line.pop  # take out the warmest; an IndexError: there is none
        self._closed = False
        self._unthinned: list[None] = [None]  # empty while somebody sees to those to spare

    def stand(self, worker: Worker) -> bool:
        """Stand in line until somebody sends for this worker; ``False``: it is to end."""
        spare = len(self._line) >= self._keep
        if self._closed or (spare and not self._linger):
            return False
        worker.idle_since = self._clock.now()
        self._line.append(worker)
        if self._closed:
            self._wake_one()
        elif len(self._line) > self._keep and self._unthinned:  # of several that come, one sees it
            self._thin_out_later(self._linger)
        worker.parker.park()
        if worker.has_permit:
            return True
        if self._closed:
            self._wake_one()
        else:  # it is one too many, and so may be the next one
            self._thin_out()
        return False

    def close(self) -> None:
        """Have all end, now and from now on."""
        self._closed = True
        self._wake_one()

    def _wake_one(self) -> None:
        with suppress(IndexError):
            self._line.pop().parker.unpark()

    def _thin_out_later(self, seconds: float) -> None:
        """See to those to spare in a while, unless somebody else does."""
        try:
            self._unthinned.pop()
        except IndexError:
            return
        try:
            self._clock.call_later(seconds, self._thin_out)
        except RuntimeError:  # no thread is to be had for the clock: the next one tries again
            self._unthinned.append(None)

    def _thin_out(self) -> None:
        """End who has stood here for longest, if there are too many; that one has the next."""
        line, wait = self._line, self._linger
        if len(line) > self._keep and not self._closed:
            with suppress(IndexError):
                wait += line[0].idle_since - self._clock.now()
                if wait <= 0:
                    line.pop(0).parker.unpark()
                    return
        self._unthinned.append(None)
        if len(line) > self._keep and not self._closed:  # some came before that, and left it to us
            self._thin_out_later(max(0.0, wait))
