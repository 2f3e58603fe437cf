"""Memory is never over the budget, and neither line of tasks waits for all of the other."""

import random

from wsgiapp.inference.turns import Turn, Turns

MILLION = 1_000_000
LARGE, SMALL = 80 * MILLION, 3 * MILLION


class Tasks:
    """Tasks that are started in turn, and go on when they are told to."""

    def __init__(self, threads: int = 3, max_bytes: int = 100 * MILLION) -> None:
        self.turns = Turns(threads, max_bytes)
        self.running: list[tuple[str, Turn]] = []
        self.order: list[str] = []
        self._pending: list[tuple[str, Turn, int]] = []

    def add(self, name: str, size: int) -> Turn:
        """A new task that reserves `size` bytes as soon as it runs."""
        turn = Turn()
        if self.turns.start(turn):
            self._run(name, turn, size)
        else:
            self.turns.wait_in_line(turn, lambda: self._run(name, turn, size))
        return turn

    def _run(self, name: str, turn: Turn, size: int) -> None:
        self.running.append((name, turn))
        self._pending.append((name, turn, size))

    def settle(self) -> None:
        """Let those that run reserve what they need; who does not get it waits in line."""
        while self._pending:
            name, turn, size = self._pending.pop(0)
            if self.turns.reserve(turn, size):
                self.order.append(name)
            else:
                self.running.remove((name, turn))
                self.turns.finish(turn)
                self.turns.wait_in_line(turn, lambda name=name, turn=turn, size=size: self._run(name, turn, size))

    def finish_one(self) -> None:
        self.settle()
        _, turn = self.running.pop(0)
        self.turns.finish(turn)
        self.settle()

    def held(self) -> int:
        return sum(turn.holds for _, turn in self.running)


def test_a_small_one_does_not_wait_for_all_large_ones() -> None:
    tasks = Tasks()
    for number in range(8):
        tasks.add(f"large {number}", LARGE)
        tasks.settle()
    tasks.add("small", SMALL)
    tasks.settle()
    assert tasks.order == ["large 0", "small"], "a thread and memory are there"
    tasks = Tasks()
    for number in range(8):
        tasks.add(f"large {number}", 100 * MILLION)
        tasks.settle()
    tasks.add("small", SMALL)
    tasks.settle()
    while tasks.running:
        tasks.finish_one()
    assert tasks.order.index("small") <= 2, tasks.order


def test_a_large_one_does_not_wait_for_all_small_ones() -> None:
    """Others come without end, and take all threads."""
    tasks = Tasks()
    for number in range(6):
        tasks.add(f"small {number}", SMALL)
    tasks.add("large", 100 * MILLION)
    tasks.settle()
    for number in range(200):
        tasks.add(f"later {number}", SMALL)
        tasks.settle()
        tasks.finish_one()
        if "large" in tasks.order:
            break
    assert "large" in tasks.order
    assert len(tasks.order) < 60, "it waits for no more bytes of small ones than it has itself, and for those before it"


def test_large_ones_leave_a_thread() -> None:
    tasks = Tasks(threads=2)
    tasks.add("large 0", 20 * MILLION)
    tasks.add("large 1", 20 * MILLION)
    tasks.settle()
    tasks.add("small", SMALL)
    tasks.settle()
    assert tasks.order == ["large 0", "small"]


def test_a_small_one_overtakes_a_large_one_only_where_that_does_not_delay_it() -> None:
    tasks = Tasks(threads=9)
    tasks.add("large 0", 60 * MILLION)
    tasks.settle()
    tasks.add("large 1", 90 * MILLION)
    tasks.settle()
    for number in range(6):
        tasks.add(f"small {number}", 8 * MILLION)
        tasks.settle()
    first = tasks.order.copy()
    tasks.finish_one()  # large 0
    assert tasks.order[0] == "large 0" and "small 0" in first
    while tasks.running:
        tasks.finish_one()
    assert sorted(tasks.order) == sorted(["large 0", "large 1", *(f"small {number}" for number in range(6))])


def test_whatever_comes_runs_once_within_the_budget() -> None:
    chance = random.Random(5)
    for _ in range(60):
        threads = chance.randint(2, 5)
        tasks = Tasks(threads=threads)
        sizes = [chance.choice([0, 1, SMALL, 15 * MILLION, 30 * MILLION, LARGE, 100 * MILLION]) for _ in range(40)]
        gone = []
        for number, size in enumerate(sizes):
            turn = tasks.add(str(number), size)
            if chance.random() < 0.5:
                tasks.settle()
            if chance.random() < 0.1 and not turn.running and not any(turn is each for _, each in tasks.running):
                tasks.turns.cancel(turn)
                gone.append(str(number))
            if chance.random() < 0.3 and tasks.running:
                tasks.finish_one()
            assert tasks.held() <= 100 * MILLION and len(tasks.running) <= threads
        while tasks.running:
            tasks.finish_one()
            assert tasks.held() <= 100 * MILLION and len(tasks.running) <= threads
        assert sorted([*tasks.order, *gone]) == sorted(map(str, range(40)))


def test_who_is_cancelled_when_it_may_run_already_gives_all_back() -> None:
    tasks = Tasks(threads=1)
    first, second = Turn(), Turn()
    assert tasks.turns.start(first) and not tasks.turns.start(second)
    woken: list[bool] = []
    tasks.turns.wait_in_line(second, lambda: woken.append(True))
    tasks.turns.finish(first)
    assert woken and second.running
    tasks.turns.cancel(second)
    assert tasks.turns.start(Turn())
