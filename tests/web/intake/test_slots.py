"""Places for requests: no more at work than there are, none for ever, none lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mammolens.errors import Overloaded
from mammolens.web.intake.slots import Slots


def test_one_user_leaves_places_to_others() -> None:
    slots = Slots(3, each=2)
    assert [slots.take("a"), slots.take("a"), slots.take("a")] == [True, True, False]
    assert [slots.take("b"), slots.take("b")] == [True, False]
    slots.free("a")
    assert slots.take("b")


def test_no_more_are_at_work_than_there_are_places_and_all_get_their_turn() -> None:
    slots, lock = Slots(3, each=3, waiting=20, seconds=30.0), threading.Lock()
    working, most, done = 0, 0, 0

    def work(number: int) -> None:
        nonlocal working, most, done
        with slots.place(f"user{number % 4}"):
            with lock:
                working += 1
                most = max(most, working)
            time.sleep(0.01)
            with lock:
                working -= 1
                done += 1

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(20)))
    assert (most, done) == (3, 20)


def test_who_waits_too_long_is_told_so_and_takes_nothing() -> None:
    slots = Slots(1, each=1, waiting=1, seconds=0.05)
    assert slots.take("a")
    with pytest.raises(Overloaded), slots.place("b"):
        pytest.fail("there was no place")
    slots.free("a")
    assert slots.take("b")


def test_beyond_those_who_may_wait_nobody_waits() -> None:
    slots = Slots(1, each=1, waiting=1, seconds=30.0)
    assert slots.take("a")
    got: list[bool] = []
    waiting = threading.Thread(target=lambda: got.append(slots.take("b")))
    waiting.start()
    while not slots._waiting:
        time.sleep(0.001)
    began = time.monotonic()
    assert not slots.take("c")
    assert time.monotonic() - began < 1.0
    slots.free("a")
    waiting.join()
    assert got == [True]


def test_a_place_is_given_back_where_the_work_fails() -> None:
    slots = Slots(1, each=1)
    with pytest.raises(RuntimeError), slots.place("a"):
        raise RuntimeError
    assert slots.take("a")
