"""Threads before and behind the network: order, bounds, and errors."""

import threading
import time
from contextlib import closing

import pytest

from gslrm.errors import UserError
from gslrm.inference.threads import Behind, ahead


class Meter:
    """How many things exist at a time."""

    def __init__(self) -> None:
        self.now = self.most = self.started = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.now += 1
            self.started += 1
            self.most = max(self.most, self.now)

    def remove(self) -> None:
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_items_whatever_takes_longest(workers):
    def slowest_first(item: int) -> int:
        time.sleep(0.002 * (6 - item))
        return item**2

    assert list(ahead(slowest_first, range(6), workers=workers, limit=3)) == [(i, i**2) for i in range(6)]


@pytest.mark.parametrize(("workers", "limit"), [(0, 1), (1, 2), (3, 4)])
def test_never_more_results_wait_than_the_limit(workers, limit):
    meter = Meter()

    def make(item: int) -> int:
        meter.add()
        return item

    for _ in ahead(make, range(20), workers=workers, limit=limit):
        time.sleep(0.002)
        meter.remove()
    assert meter.started == 20
    assert meter.most <= limit + 1  # and the one that has been taken


@pytest.mark.parametrize("workers", [0, 2])
def test_a_wrong_item_is_told_in_its_place_and_the_others_go_on(workers):
    def odd(item: int) -> int:
        if item == 2:
            raise UserError("two")
        return item

    results = [result for _, result in ahead(odd, range(4), workers=workers, limit=3)]
    assert results[:2] + results[3:] == [0, 1, 3]
    assert isinstance(results[2], UserError)


def test_a_fault_of_the_program_is_no_result():
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda item: 1 // item, [1, 0], workers=1, limit=2))


def test_nothing_more_is_read_when_the_reader_stops():
    meter = Meter()
    with closing(ahead(lambda item: meter.add(), range(100), workers=1, limit=2)) as results:
        next(results)
    assert meter.started <= 3


@pytest.mark.parametrize("workers", [0, 2])
def test_all_jobs_are_done_at_the_end_and_few_at_a_time(workers):
    meter = Meter()

    def job() -> None:
        meter.add()
        time.sleep(0.002)
        meter.remove()

    with Behind(workers=workers, limit=3) as behind:
        for _ in range(12):
            behind.submit(job)
    assert (meter.started, meter.now) == (12, 0)
    assert meter.most <= max(workers, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_job_raises_ends_the_run_and_cancels_the_rest(workers):
    done = []

    def fail() -> None:
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="full"), Behind(workers=workers, limit=1) as behind:
        for _ in range(3):
            behind.submit(fail)
            done.append(1)
    assert len(done) < 3


def test_a_failed_last_job_is_not_passed_over():
    def fail() -> None:
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="full"), Behind(workers=1, limit=2) as behind:
        behind.submit(fail)
