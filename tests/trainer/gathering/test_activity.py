"""How idle each part is, worked out by hand."""

from podium_trainer.gathering.activity import Activity


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_two_threads_at_a_part_count_once() -> None:
    clock = Watch()
    activity = Activity(clock)
    assert activity.read() == {}
    first, second, update = (activity.part(name) for name in ("rollout", "rollout", "update"))
    first.__enter__()  # rollout [0, 6], update [6, 8] of 8 seconds
    clock.now = 2.0
    second.__enter__()
    clock.now = 4.0
    first.__exit__(None, None, None)
    clock.now = 6.0
    second.__exit__(None, None, None)
    with update:
        clock.now = 8.0
    assert activity.read() == {"rollout": 0.25, "rank": 1.0, "update": 0.75}


def test_a_part_that_goes_on_is_shared_out_among_the_rows() -> None:
    clock = Watch()
    activity = Activity(clock)
    with activity.part("rank"):
        clock.now = 4.0
        assert activity.read()["rank"] == 0.0
        clock.now = 5.0
    clock.now = 8.0
    assert activity.read() == {"rollout": 1.0, "rank": 0.75, "update": 1.0}
