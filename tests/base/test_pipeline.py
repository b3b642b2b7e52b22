"""Work beside work gives what work in turn gives; it keeps little, tells of errors, and leaves no thread behind."""

import threading
import time
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geonb.base.pipeline import ahead, behind


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@settings(deadline=None, max_examples=30)
@given(number=st.integers(0, 12), depth=st.integers(1, 4))
def test_all_come_in_their_order_and_few_are_made_early(number, depth):
    made = 0

    def items():
        nonlocal made
        for item in range(1, number + 1):
            made = item
            yield item

    with ahead(items(), depth) as some:
        for taken, item in enumerate(some, 1):
            assert item == taken
            time.sleep(0.001)  # a slow caller
            assert made <= taken + depth, "more was made than there is room for"
    assert made == number


@settings(deadline=None, max_examples=30)
@given(number=st.integers(0, 12), depth=st.integers(1, 4))
def test_a_slow_writer_bounds_what_is_kept(number, depth):
    written = []

    def write(item):
        time.sleep(0.001)
        written.append(item)

    with behind(write, depth) as send:
        for sent in range(number):
            send(sent)
            assert sent + 1 - len(written) <= depth, "more waits than there is room for"
    assert written == list(range(number))


def test_threads_work_while_the_caller_does():
    here, there = threading.Event(), threading.Event()

    def items():
        yield 1
        assert here.wait(10)  # the caller has the first one by now
        there.set()
        yield 2

    with ahead(items()) as made:
        assert next(made) == 1
        here.set()
        assert there.wait(10) and list(made) == [2]
    started, ended = threading.Event(), threading.Event()
    with behind(lambda: started.set() or ended.wait(10)) as send:
        send()
        assert started.wait(10)
        ended.set()


def test_what_fails_ahead_is_told_in_its_turn():
    def items():
        yield 1
        raise OSError("the disk is gone")

    with ahead(items(), 3) as made:
        assert next(made) == 1
        with pytest.raises(OSError, match="gone"):
            next(made)


def test_what_fails_behind_is_told_by_the_next_call():
    done = []

    def write(item):
        if item == 2:
            raise OSError("the disk is full")
        done.append(item)

    with pytest.raises(OSError, match="full"), behind(write) as send:
        for item in count():
            assert item < 4, "went on although a call had failed"
            send(item)
    assert done == [0, 1]
    with pytest.raises(OSError, match="full"), behind(write) as send:
        send(2)  # the last one, too


def test_calls_that_wait_when_one_fails_are_not_done():
    """Else rows would count as written after others that are not."""
    done, gate = [], threading.Event()

    def write(item):
        if item == 0:
            assert gate.wait(10)
            raise OSError("the disk is full")
        done.append(item)

    with pytest.raises(OSError, match="full"), behind(write, 3) as send:
        for item in range(3):
            send(item)
        gate.set()
    assert done == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_who_leaves_early_gets_what_was_opened_closed_where_it_was(error):
    opened, closed, written = [], [], []

    def items():
        opened.append(threading.get_ident())
        try:
            yield from count()
        finally:
            closed.append(threading.get_ident())

    def write(item):
        time.sleep(0.05)
        written.append(item)

    with pytest.raises(error), ahead(items()) as made, behind(write, 3) as send:
        for item in made:
            send(item)
            if item == 2:
                raise error
    assert opened == closed and opened[0] != threading.get_ident()
    assert written == [0, 1, 2], "what was computed is lost"


def test_lists_and_one_within_another():
    with ahead([1, 2, 3]) as made:
        assert list(made) == [1, 2, 3]

    def doubled():
        with ahead(range(4)) as inner:
            yield from (2 * item for item in inner)

    with ahead(doubled()) as made:
        assert next(made) == 0  # the rest is left
    with ahead(doubled()) as made:
        assert list(made) == [0, 2, 4, 6]
