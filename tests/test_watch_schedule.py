"""When a watch lists again: the schedule alone, with times that are written here."""

import random
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docker_images.watch.schedule import Backoff, Bucket, Schedule


def opened(now: float = 0, **options: float) -> Schedule:
    """A schedule whose stream is open, and whose lists after that are made."""
    schedule = Schedule(now, **{"interval": 300, "poll": 30, "reopen": 300, **options})
    schedule.listed(now, now, 1.0, free=True)
    schedule.opened(now, 1.0)
    schedule.listed(now, now, 1.0)
    schedule.listed(now + 2.5, now + 2.5, 1.0)
    return schedule


# Events


def test_nothing_is_listed_before_the_stream_is_open() -> None:
    schedule = Schedule(0, interval=300, poll=30, reopen=300)
    schedule.listed(0, 0.1, 1.0, free=True)
    assert schedule.due() == inf


def test_an_open_stream_means_a_list_at_once_and_one_after_the_engine_listens() -> None:
    schedule = Schedule(0, interval=300, poll=30, reopen=300)
    schedule.listed(0, 0.1, 1.0, free=True)
    schedule.opened(1, 1.0)
    assert schedule.due() == 1
    schedule.listed(1, 1.1, 1.0)
    assert schedule.due() == 3.5
    schedule.listed(3.5, 3.6, 1.0)
    assert schedule.due() == 303.5


@pytest.mark.parametrize(
    ("events", "due"),
    [
        ([10.0], 10.3),
        ([10.0, 10.2], 10.5),
        ([10.0, 10.2, 10.4, 10.6, 10.8, 11.0, 11.2, 11.4, 11.6, 11.8], 12.0),
    ],
)
def test_a_list_waits_until_events_settle_but_no_longer_than_two_seconds(
    events: list[float], due: float
) -> None:
    schedule = opened()
    for at in events:
        schedule.event(at, old=False)
    assert schedule.due() == pytest.approx(due)


def test_events_without_a_pause_are_listed_every_two_seconds() -> None:
    schedule, now, begun = opened(), 10.0, []
    while now < 20:  # an event each 10 ms, and during a list as well
        schedule.event(now, old=False)
        now = round(now + 0.01, 6)
        if schedule.due() <= now:
            begun.append(now)
            for more in (0.01, 0.02, 0.03):
                schedule.event(now + more, old=False)
            schedule.listed(now, now + 0.03, 1.0)
            now = round(now + 0.03, 6)
    assert begun == pytest.approx([12.0, 14.0, 16.0, 18.0, 20.0], abs=0.1)


def test_after_the_last_event_one_more_list_finds_what_came_after_its_event() -> None:
    schedule = opened()
    schedule.event(10, old=False)
    schedule.listed(10.3, 10.4, 1.0)
    assert schedule.due() == 12.5
    schedule.listed(12.5, 12.6, 1.0)
    assert schedule.due() == 312.5


def test_a_list_that_begins_late_enough_stands_for_the_one_after_the_last_event() -> None:
    schedule = opened()
    schedule.event(10, old=False)
    schedule.listed(12.5, 12.6, 1.0)
    assert schedule.due() == 312.5


def test_an_event_that_came_while_a_list_was_made_is_a_reason_for_the_next() -> None:
    schedule = opened()
    schedule.event(10, old=False)
    schedule.event(10.5, old=False)
    schedule.listed(10.3, 11, 1.0)
    assert schedule.due() == 11, "10.8 is over"


def test_an_event_in_the_moment_in_which_a_list_begins_is_a_reason_for_the_next() -> None:
    schedule = opened()
    schedule.event(10, old=False)
    schedule.listed(10, 10.1, 1.0)
    assert schedule.due() == 10.3


def test_an_old_event_is_a_reason_for_the_later_list_only() -> None:
    schedule = opened()
    schedule.event(10, old=True)
    assert schedule.due() == 12.5


def test_a_list_that_is_cut_off_leaves_its_reason() -> None:
    schedule = opened()
    schedule.event(10, old=False)
    before = schedule.due()
    # Nothing is told of the list that began at 10.3: it was cancelled.
    assert schedule.due() == before


# Without events


@pytest.mark.parametrize(("random", "due"), [(0.0, 242.5), (1.0, 302.5)])
def test_the_list_without_an_event_comes_after_80_to_100_percent_of_the_interval(
    random: float, due: float
) -> None:
    schedule = opened()
    schedule.listed(2.5, 2.5, random)
    assert schedule.due() == due


def test_a_stream_that_ends_means_no_list_until_it_is_open_again() -> None:
    schedule = opened()
    schedule.event(10, old=False)
    schedule.lost()
    assert schedule.due() == inf
    schedule.opened(20, 1.0)
    assert schedule.due() <= 20


def test_a_refused_stream_means_a_list_now_and_then_one_each_poll() -> None:
    schedule = opened()
    schedule.lost()
    schedule.refused(10, 1.0)
    assert schedule.due() == 10
    schedule.listed(10, 10, 1.0)
    assert schedule.due() == 40
    assert schedule.reopen_at == 310


def test_a_refused_stream_is_tried_anew_as_soon_as_the_engine_is_back() -> None:
    schedule = opened()
    schedule.refused(10, 1.0)
    schedule.listed(11, 12, 1.0, back=True)
    assert schedule.reopen_at == 12


def test_where_the_network_can_lose_a_stream_silently_it_is_opened_anew_instead() -> None:
    schedule = opened(interval=inf)
    assert schedule.due() == inf
    assert schedule.reopen_at == 300


# Failures


def test_a_refused_list_is_asked_again_six_times_before_it_is_an_outage() -> None:
    schedule, now, pauses, outages = opened(), 10.0, [], []
    schedule.event(now, old=False)
    for _ in range(8):
        outages.append(schedule.failed(now, 1.0, refused=True, hopeless=False))
        pauses.append(round(schedule.due() - now, 6))
        now = schedule.due()
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8]
    assert outages == [False] * 6 + [True] * 2


def test_a_list_that_did_not_reach_the_engine_is_an_outage_at_once() -> None:
    schedule = opened()
    assert schedule.failed(10, 1.0, refused=False, hopeless=False)
    assert schedule.due() == 10.1


def test_what_waiting_does_not_help_is_asked_again_after_the_interval() -> None:
    schedule = opened()
    assert schedule.failed(10, 1.0, refused=True, hopeless=True) is False
    assert schedule.due() == 310


def test_a_list_that_comes_ends_the_outage() -> None:
    schedule = opened()
    schedule.failed(10, 1.0, refused=False, hopeless=False)
    schedule.listed(10.1, 10.2, 1.0)
    assert schedule.due() == 310.1
    schedule.failed(310.1, 1.0, refused=False, hopeless=False)
    assert schedule.due() == pytest.approx(310.2)


@pytest.mark.parametrize("seed", range(10))
def test_an_hour_of_outage_costs_at_most_170_attempts(seed: int) -> None:
    backoff, dice, now, attempts = Backoff(), random.Random(seed), 0.0, 0
    while now < 3600:
        now += backoff.next(dice.random())
        attempts += 1
    assert 100 < attempts <= 170


def test_pauses_are_85_to_100_percent_of_doubling_times() -> None:
    longest, shortest = Backoff(), Backoff()
    assert [longest.next(1.0) for _ in range(10)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30]
    )
    assert [shortest.next(0.0) for _ in range(2)] == pytest.approx([0.085, 0.17])


# The share of time


def lists(bucket: Bucket, seconds: float, until: float, pause: float = 0.3) -> list[float]:
    """When lists of so many seconds begin where something always changes."""
    begun, now = [], 0.0
    while (now := max(now + pause, bucket.ready())) < until:
        bucket.take(now, now + seconds)
        begun.append(now)
        now += seconds
    return begun


def listing(begun: list[float], seconds: float, start: float) -> float:
    """How much of the ten minutes from `start` on is spent with lists."""
    return sum(max(0.0, min(at + seconds, start + 600) - max(at, start)) for at in begun)


@pytest.mark.parametrize("seconds", [0.03, 0.5, 1, 2, 3, 5, 7, 10, 21, 30, 31, 45, 60])
def test_no_ten_minutes_see_more_than_one_of_listing(seconds: float) -> None:
    bucket = Bucket(0)
    bucket.take(0, seconds, free=True)
    begun = lists(bucket, seconds, 1300 if seconds < 1 else 7200)
    starts = [
        at + shift
        for at in begun[: 20 if seconds < 1 else 400]
        for shift in (0, seconds, seconds - 600)
    ]
    assert max(listing(begun, seconds, start) for start in starts) <= 60.001


@pytest.mark.parametrize(("seconds", "share"), [(0.03, 0.091), (3, 0.086), (60, 0.091)])
def test_changes_without_end_are_told_every_eleven_lists_or_so(
    seconds: float, share: float
) -> None:
    bucket = Bucket(0)
    begun = lists(bucket, seconds, 1200 * max(1.0, seconds))
    later = begun[len(begun) // 2 :]
    each = (later[-1] - later[0]) / (len(later) - 1)
    assert seconds / each == pytest.approx(share, abs=0.001)


@pytest.mark.parametrize("seconds", [0.03, 3, 60])
def test_the_first_change_after_a_quiet_time_is_never_put_off(seconds: float) -> None:
    bucket = Bucket(0)
    for _ in range(5):
        bucket.take(0, seconds, free=True)
    bucket.take(10, 10 + seconds)
    assert bucket.ready() <= 10 + seconds + seconds / 0.08
    quiet = bucket.ready(bucket.size)
    bucket.take(quiet, quiet + seconds)
    assert bucket.ready(0) - quiet <= seconds * 12


def test_one_list_that_waited_for_a_lock_puts_off_nothing() -> None:
    bucket = Bucket(0)
    for at in range(5):
        bucket.take(at, at + 0.03)
    bucket.take(100, 101.7)
    assert bucket.ready() == 101.7


def test_the_later_list_waits_until_it_leaves_enough_for_another() -> None:
    schedule = opened()
    for at in (0, 20, 40):
        schedule.bucket.take(at, at + 5, free=True)
    schedule.event(100, old=False)
    schedule.listed(100.3, 105.3, 1.0)
    assert schedule.due() > 105.3 + 30  # it takes 5 s, and 1 is left
    schedule.event(106, old=False)
    assert schedule.due() == 106.3  # a change is not put off


# Whatever comes when


class Told:
    """What a schedule was told, in order, and by when it must list therefore.

    A list stands for what was told before it began, whatever came while it was made. No two things
    happen in one moment.
    """

    def __init__(self, takes: float, *, interval: float) -> None:
        self.now, self._takes, self._interval = 1_800_000_000.0, takes, interval
        self.schedule = Schedule(self.now, interval=interval, poll=30, reopen=300)
        self._listing: tuple[float, int, int] | None = None
        self._fresh: list[float] = []  # events that are a reason for a list
        self._opened: list[float] = []  # heads of streams, and refusals
        self._hint: float | None = None
        self._failed_at: float | None = None
        self._began = self.now
        self.schedule.listed(self.now, self.now + takes, 0.5, free=True)
        self.now += takes

    def passes(self, seconds: float) -> None:
        """Let time pass; the consumer lists as soon as it shall."""
        self.now += 0.001
        end = self.now + seconds
        if self._listing is None and self.schedule.due() <= end:
            self.now = max(self.now, self.schedule.due())
            self._listing = self.now, len(self._fresh), len(self._opened)
        self.now = max(self.now, end)

    def event(self, old: bool) -> None:
        if self.schedule.state == "open":
            self.now += 0.001
            self.schedule.event(self.now, old=old)
            self._hint = self.now
            if not old:
                self._fresh.append(self.now)

    def burst(self, count: int) -> None:
        for _ in range(count):
            self.event(old=False)
            self.passes(0.1)
            self.holds()

    def lost(self) -> None:
        if self.schedule.state == "open":
            self.schedule.lost()

    def opened(self) -> None:
        if self.schedule.state != "open":
            self.now += 0.001
            self.schedule.opened(self.now, 0.5)
            self._opened.append(self.now)
            self._hint, self._failed_at = self.now, None

    def refused(self) -> None:
        if self.schedule.state != "open":
            self.now += 0.001
            if self.schedule.state == "connecting":
                self._opened.append(self.now)
                self._failed_at = None
            self.schedule.refused(self.now, 0.5)

    def answers(self) -> None:
        """The list that is made comes."""
        if self._listing is None:
            return
        (began, fresh, opened), self._listing = self._listing, None
        self.now = max(self.now, began + self._takes)
        self.schedule.listed(began, self.now, 0.5)
        del self._fresh[:fresh], self._opened[:opened]
        if self._hint is not None and self._hint + 2.5 <= began:
            self._hint = None
        self._began, self._failed_at = began, None

    def fails(self, refused: bool) -> None:
        if self._listing is not None:
            self._listing = None
            self.schedule.failed(self.now, 0.5, refused=refused, hopeless=False)
            self._failed_at = self.now

    def holds(self) -> None:
        """Whether the next list is due in time, and not without a reason."""
        schedule, bucket = self.schedule, self.schedule.bucket
        if self._listing is not None:
            return
        due = schedule.due()
        if schedule.state == "connecting":
            assert due == inf, "it is not known whether the engine is there"
            return
        if self._failed_at is not None:
            assert self._failed_at < due <= self._failed_at + 30
            return
        wanted = self._opened[-1:]
        if self._fresh:
            wanted.append(min(self._fresh[-1] + 0.3, self._fresh[0] + 2.0))
        interval = 30 if schedule.state == "polling" else 0.9 * self._interval
        wanted.append(self._began + interval)
        latest = max(min(wanted), bucket.ready())
        if self._hint is not None:
            latest = min(latest, max(self._hint + 2.5, bucket.ready(bucket.typical)))
        assert due <= latest + 1e-6
        if self._fresh:  # two seconds from the first on, or from the begin of the last list
            latest = min(latest, max(self._began + 2.0, bucket.ready()))
        if not self._opened:
            assert due >= latest - 1e-6


TOLD = (
    *((Told.passes, seconds) for seconds in (0.0, 0.1, 0.3, 1.0, 2.5, 31.0, 301.0)),
    *((Told.event, False), (Told.event, True), (Told.burst, 30)),
    *((Told.lost,), (Told.opened,), (Told.refused,)),
    *((Told.answers,), (Told.answers,), (Told.fails, True), (Told.fails, False)),
)


@settings(max_examples=1000)
@given(
    told=st.lists(st.sampled_from(TOLD), min_size=10, max_size=40),
    takes=st.sampled_from([0.0, 0.03, 0.5, 3.0, 60.0]),
    interval=st.sampled_from([300.0, inf]),
)
def test_in_whatever_order_things_come_a_list_that_begins_after_each_is_due_in_time(
    told: list[tuple[Any, ...]], takes: float, interval: float
) -> None:
    life = Told(takes, interval=interval)
    for happens, *arguments in [(Told.opened,), *told]:
        happens(life, *arguments)
        life.holds()
