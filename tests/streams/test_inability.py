"""When a partition is given up, and when it is tried again."""

from streams.stage.inability import Inability


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_partition_when_its_store_refuses_for_long_enough_then_given_up_once() -> None:
    clock = Clock()
    inability = Inability(10.0, 60.0, clock)
    told = []
    for clock.now_s in (0.0, 1.0, 3.0, 7.0, 15.0, 31.0):
        told.append(inability.failed(1, "full"))
    assert told == [False, False, False, False, True, False]
    assert inability.partitions == {1}
    assert inability.page() == {"1": "full"}


def test_partition_when_it_was_served_well_in_between_then_the_time_begins_anew() -> None:
    clock = Clock()
    inability = Inability(10.0, 60.0, clock)
    assert not inability.failed(1, "full")
    clock.now_s = 100.0
    assert not inability.failed(1, "full", served_s=95.0)
    clock.now_s = 105.0
    assert not inability.failed(1, "full", served_s=4.0), "a store that opens and then fails is no better"
    clock.now_s = 111.0
    assert inability.failed(1, "full", served_s=4.0)


def test_partition_when_it_fails_again_after_it_was_taken_back_then_the_next_try_waits_twice_as_long() -> None:
    clock = Clock()
    inability = Inability(1.0, 60.0, clock)
    waited = []
    for _ in range(3):
        inability.failed(0, "denied")
        clock.now_s += 2.0
        assert inability.failed(0, "denied")
        began_s = clock.now_s
        while not inability.due():
            clock.now_s += 1.0
        waited.append(clock.now_s - began_s)
        inability.recovered(0)
        assert not inability.partitions
    assert waited == [60.0, 120.0, 240.0]


def test_partition_when_its_state_is_of_a_newer_release_then_given_up_at_once_and_never_due() -> None:
    clock = Clock()
    inability = Inability(10.0, 60.0, clock)
    assert inability.refused(0, "layout 2")
    assert not inability.refused(0, "layout 2")
    clock.now_s = 1e6
    assert not inability.due()
    assert inability.partitions == {0}
