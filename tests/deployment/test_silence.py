"""Who may be replaced, round by round."""

from itertools import pairwise

from wsgiapp.deployment.silence import FORGET_SECONDS, STOPPED_SECONDS, Key, Silence

A, B, C = ("app_00", 10), ("app_01", 11), ("app_02", 12)
ALL = (A, B, C)
LIMIT = 3.0


def after(
    silence: Silence, seconds: float, *alive: Key, watched: tuple[Key, ...] = ALL, **more: list[Key]
) -> list[Key]:
    silence.round(seconds, watched, alive, more.get("stopped", []))
    return silence.to_replace(len(ALL))


def test_nobody_before_the_limit_and_a_sign_of_life_starts_afresh() -> None:
    silence = Silence(LIMIT)
    assert after(silence, 2.9, B, C) == []
    assert after(silence, 0.2, A, B, C) == []
    assert after(silence, 2.9, B, C) == []
    assert after(silence, 0.2, B, C) == [A]
    assert after(silence, 0.0, B, C) == [A], "also when the round itself counts nothing"


def test_one_at_a_time_and_the_next_when_the_first_is_back() -> None:
    silence = Silence(LIMIT)
    assert after(silence, LIMIT, C) == [A]
    silence.replaced(A)
    assert after(silence, 1.0, C, watched=(B, C)) == [], "A is on its way"
    assert after(silence, 0.1, ("app_00", 20), C, watched=(("app_00", 20), B, C)) == [B]


def test_all_at_once_where_nobody_is_left() -> None:
    silence = Silence(LIMIT)
    assert after(silence, LIMIT) == [A, B, C]
    assert after(silence, 0.0, watched=(B,)) == [B], "where the others do not come back, either"


def test_no_loop_of_replacements() -> None:
    """Each of a row waits twice as long as the one before it."""
    silence, times, now, pid = Silence(LIMIT), [], 0.0, 10
    while len(times) < 4:
        now += 0.25
        if after(silence, 0.25, B, C, watched=(("app_00", pid), B, C)):
            silence.replaced(("app_00", pid))
            times.append(now)
            pid += 1
    assert [later - earlier for earlier, later in pairwise(times)] == [6.0, 12.0, 24.0]
    after(silence, FORGET_SECONDS, ("app_00", pid), B, C, watched=(("app_00", pid), B, C))
    assert after(silence, LIMIT, B, C, watched=(("app_00", pid), B, C)) == [("app_00", pid)]


def test_a_stopped_process_does_not_get_so_long() -> None:
    silence = Silence(LIMIT)
    assert after(silence, STOPPED_SECONDS / 2, B, C, stopped=[A]) == []
    assert after(silence, STOPPED_SECONDS / 2, B, C, stopped=[A]) == [A]
    assert after(silence, STOPPED_SECONDS / 2, B, C, stopped=[]) == [], "it was continued"
