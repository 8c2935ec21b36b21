"""How many jobs may run at a time, counted without a lock."""

from collections import deque


class Permits:
    """A number that may be taken from without waiting, and overdrawn on purpose.

    Two deques of tokens, so that every change is one atomic step.
    """

    __slots__ = ("_debts", "_free")

    def __init__(self, number: int) -> None:
        self._free: deque[None] = deque([None] * number)
        self._debts: deque[None] = deque()

    @property
    def overdrawn(self) -> bool:
        """Whether more have been taken than there are."""
        return bool(self._debts)

    @property
    def left(self) -> bool:
        """Whether there is one to be taken."""
        return bool(self._free)

    def take(self) -> bool:
        """Take one if there is one."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def give(self) -> None:
        """Give one back; a debt is paid first."""
        self._free.append(None)
        while self._debts and self.take():
            try:
                self._debts.pop()
            except IndexError:
                self._free.append(None)  # somebody else has paid it

    def overdraw(self) -> None:
        """Take one, there or not; one that is not there is paid by the next that is given."""
        if not self.take():
            self._debts.append(None)
            if self.take():  # given in between by someone who saw no debt
                self.give()
