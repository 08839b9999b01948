"""The stock of decoding processes: started when needed, lent to one caller at a time, replaced when unfit."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from mammolens.errors import DecoderDied
from mammolens.imaging.child import Child

NOT_STARTED = (
    "No decoding process could be started. Check MAMMOLENS_DECODE_MEMORY_BYTES and how many processes may run."
)

_CLOSED = "The decoding pool was closed before this file was decoded. Read it again with an open one."
_CLOSE_SECONDS = 5.0


class Stock:
    """Decoding processes that are lent and given back; thread-safe.

    Parameters
    ----------
    module : str
        Module that they run.
    memory : int
        Address space of each, bytes.
    most : int
        How many there may be at a time.
    recycle_after : int
        Jobs after which one is replaced.
    """

    def __init__(self, module: str, memory: int, most: int, recycle_after: int) -> None:
        self._module, self._memory = module, memory
        self._most, self._recycle_after = most, recycle_after
        self._changed = threading.Condition()
        self._free_places = most
        self._idle: list[Child] = []
        self._living: set[Child] = set()
        self._closed = False
        self._owner = os.getpid()

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the living children."""
        with self._changed:
            return sorted(child.pid for child in self._living)

    def start(self, count: int) -> None:
        """Have at least so many children (not more than there may be), without waiting until they are ready.

        Raises
        ------
        DecoderDied
            If the system starts no more processes.
        """
        while True:
            with self._changed:
                if self._closed or self._most - self._free_places >= min(count, self._most):
                    return
                self._free_places -= 1
            self.give_back(self._spawn())

    def take(self) -> Child:
        """Lend an idle child, else a new one, else the first that is given back.

        Raises
        ------
        DecoderDied
            If there is none and none can be started, or the stock is closed.
        """
        with self._changed:
            while not self._closed:
                while self._idle:
                    child = self._idle.pop()
                    if child.alive():
                        child.busy = True
                        return child
                    self._bury(child)
                if self._free_places:
                    self._free_places -= 1
                    break
                self._changed.wait()
            else:
                raise DecoderDied(_CLOSED)
        return self._spawn()

    def give_back(self, child: Child) -> None:
        """Take a child back; replace it where it is no longer fit, so that the next job finds a warm one."""
        with self._changed:
            child.busy = False
            if child.fit and not self._closed and not child.worn(self._recycle_after):
                # The warm ones are taken first, from the end.
                self._idle.insert(len(self._idle) if child.ready else 0, child)
                self._changed.notify()
                return
            self._bury(child)
            if self._closed or not child.ready or not self._free_places:
                return
            self._free_places -= 1
        with suppress(DecoderDied):
            # Where no new one can be started now, the next job tries again and says so.
            self.give_back(self._spawn())

    def close(self) -> None:
        """Kill all children, and wait for those who were waiting for one."""
        if os.getpid() != self._owner:
            return  # a forked copy: the children are not its own
        with self._changed:
            self._closed = True
            self._idle.clear()
            self._changed.notify_all()
            living = list(self._living)
        for child in living:
            child.kill()
        with self._changed:
            # Whoever waited for a killed child gives it back, which closes its pipes.
            self._changed.wait_for(lambda: not any(child.busy for child in self._living), timeout=_CLOSE_SECONDS)
            self._living.clear()

    def _spawn(self) -> Child:
        """Start a child on a place that the caller has taken; it is busy until it is given back."""
        try:
            child = Child(self._module, self._memory)
        except OSError as error:
            with self._changed:
                self._free_places += 1
                self._changed.notify()
            raise DecoderDied(NOT_STARTED) from error
        child.busy = True
        with self._changed:
            self._living.add(child)
            if self._closed:
                self._bury(child)
                raise DecoderDied(_CLOSED)
        return child

    def _bury(self, child: Child) -> None:
        child.busy = False
        child.kill()
        self._living.discard(child)
        self._free_places += 1
        self._changed.notify_all()
