"""Threads that run at most so many tasks, periodic tasks, and deadlines of calls that wait."""

import threading
import time

from support.processes import poll
from wsgiapp.modelserver.lifecycle.threads import (
    CHECK_SECONDS,
    MAX_WAIT_SECONDS,
    PeriodicTask,
    WaitDeadline,
    WorkerThreads,
    remaining,
)


def test_worker_threads_run_at_most_so_many_tasks() -> None:
    threads, gate, begun = WorkerThreads("test", 2), threading.Event(), threading.Semaphore(0)

    def task() -> None:
        begun.release()
        assert gate.wait(30)

    for _ in range(3):
        threads.run(task)
    assert begun.acquire(timeout=30) and begun.acquire(timeout=30)
    assert not begun.acquire(timeout=0.1), "the third one has to wait"
    assert not threads.join(0.0)
    gate.set()
    assert begun.acquire(timeout=30)
    assert threads.join(30)


def test_a_task_that_fails_frees_its_thread() -> None:
    threads, done = WorkerThreads("test", 1), threading.Event()
    threads.run(lambda: [][0])
    threads.run(done.set)
    assert done.wait(30)
    assert threads.join(30)


def test_a_periodic_task_goes_on_after_an_error_until_it_is_stopped() -> None:
    calls: list[int] = []

    def task() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise ValueError("the first call fails")

    periodic = PeriodicTask("test", 0.01, task)
    periodic.start()
    poll(lambda: len(calls) >= 3, 30)
    periodic.stop(30)
    stopped = len(calls)
    time.sleep(0.05)
    assert len(calls) == stopped


def test_a_deadline_has_a_maximum_and_ends_with_its_caller() -> None:
    for seconds in (None, 2 * MAX_WAIT_SECONDS):
        assert remaining(WaitDeadline.after(seconds).deadline) <= MAX_WAIT_SECONDS
    deadline = WaitDeadline.after(60.0)
    assert not deadline.has_passed
    assert deadline.step == CHECK_SECONDS
    assert WaitDeadline.after(60.0, lambda: False).has_passed
    passed = WaitDeadline.after(0.0)
    assert passed.has_passed
    assert passed.step == remaining(passed.deadline) == 0.0
