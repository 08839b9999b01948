"""How many of a kind of request may be at work at once, so that no kind takes all of the server's threads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mammolens.errors import Overloaded


class Slots:
    """Places for requests; thread-safe.

    Parameters
    ----------
    most : int
        How many may be at work at once.
    each : int
        How many of them may be one user's.
    waiting : int
        How many may wait for a place.
    seconds : float
        How long they wait.
    """

    def __init__(self, most: int, each: int, waiting: int = 0, seconds: float = 0.0) -> None:
        self._most, self._each = most, each
        self._most_waiting, self._seconds = waiting, seconds
        self._changed = threading.Condition()
        self._taken: Counter[str] = Counter()
        self._waiting = 0

    def take(self, user_id: str) -> bool:
        """Take a place, if there is one or one gets free in time; `free` gives it back."""
        with self._changed:
            if self._fits(user_id):
                self._taken[user_id] += 1
                return True
            if self._waiting >= self._most_waiting:
                return False
            self._waiting += 1
            try:
                if not self._changed.wait_for(lambda: self._fits(user_id), self._seconds):
                    return False
                self._taken[user_id] += 1
                return True
            finally:
                self._waiting -= 1

    def free(self, user_id: str) -> None:
        """Give a place back."""
        with self._changed:
            self._taken[user_id] -= 1
            if self._taken[user_id] <= 0:
                del self._taken[user_id]
            self._changed.notify_all()

    @contextmanager
    def place(self, user_id: str) -> Iterator[None]:
        """Hold a place.

        Raises
        ------
        Overloaded
            If there is none.
        """
        if not self.take(user_id):
            raise Overloaded("Too many uploads at once. This one will do again in a few seconds.")
        try:
            yield
        finally:
            self.free(user_id)

    def _fits(self, user_id: str) -> bool:
        return self._taken.total() < self._most and self._taken[user_id] < self._each
