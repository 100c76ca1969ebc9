"""Work that threads share: in order, to the end or not at all, and by threads that live on."""

import os
import threading
import time

import pytest

from dkmeans.data.threads import in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 200])
def test_results_come_in_order(count, threads):
    assert list(in_order(lambda at: at * at, count, threads)) == [at * at for at in range(count)]


def test_threads_work_at_once():
    both = threading.Barrier(2, timeout=30)
    names = list(in_order(lambda at: (both.wait(), threading.get_ident())[1], 2, 2))
    assert len(set(names)) == 2


def test_one_thread_does_all_where_no_other_has_time():
    """Work that shares out work, in more threads than there are."""

    def outer(at):
        return sum(in_order(lambda inner: 10 * at + inner, 3, 300))

    assert list(in_order(outer, 300, 300)) == [30 * at + 3 for at in range(300)]


@pytest.mark.parametrize("where", ["this thread", "another"])
def test_after_an_error_nobody_works_on(where):
    this, begun = threading.get_ident(), []
    both = threading.Barrier(2, timeout=30)

    def work(at):
        begun.append(at)
        if at < 2:
            both.wait()
            if (threading.get_ident() == this) == (where == "this thread"):
                raise ValueError("not this one")
        time.sleep(0.001)

    with pytest.raises(ValueError, match="not this one"):
        list(in_order(work, 10_000, 2))
    many = len(begun)
    assert many < 10_000
    assert list(in_order(lambda at: at, 50, 2)) == list(range(50))
    assert len(begun) == many


def test_who_looks_no_further_ends_the_work():
    begun = []

    def work(at):
        begun.append(at)
        time.sleep(0.001)

    results = in_order(work, 10_000, 2)
    next(results)
    results.close()
    many = len(begun)
    list(in_order(lambda at: at, 50, 2))
    assert many < 10_000
    assert len(begun) == many


def test_threads_live_on():
    list(in_order(lambda at: at, 9, 3))
    before = threading.active_count()
    for _ in range(20):
        list(in_order(lambda at: at, 9, 3))
    assert threading.active_count() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_copy_of_the_process_has_threads_of_its_own():
    list(in_order(lambda at: at, 9, 2))
    both = threading.Barrier(2, timeout=30)
    child = os.fork()
    if child == 0:
        os._exit(len(list(in_order(lambda at: both.wait(), 2, 2))))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
