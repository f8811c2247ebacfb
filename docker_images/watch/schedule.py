"""When a watch lists again, and when it tries to connect again. Pure: times come from outside.

All times are seconds of one monotonic clock, `inf` for never. Refuses to know events, connections
and lists beyond that they happened.
"""

from collections import deque
from math import inf
from statistics import median
from typing import ClassVar, Literal

__all__ = ["Backoff", "Bucket", "Schedule"]

SETTLE = 0.3  # without an event, before a list
SETTLE_AT_MOST = 2.0  # from the first event on
TRAILING = 2.5  # after the last event, or a connect: for events that come before their change
REFUSALS = 6  # asked again before they are an outage
PAUSE = 0.1
LONGEST_PAUSE = 30.0


class Backoff:
    """Pauses between attempts: 85 to 100 % of 0.1 s · 2ⁿ, and of 30 s at most.

    An engine that is down for an hour is tried 150 times.
    """

    def __init__(self) -> None:
        self.attempts: int = 0

    def next(self, random: float) -> float:
        """The pause after one more attempt; `random` is between 0 and 1."""
        pause = min(LONGEST_PAUSE, PAUSE * 2.0 ** min(self.attempts, 10))
        self.attempts += 1
        return pause * (0.85 + 0.15 * random)


class Bucket:
    """Time for lists: no ten minutes see more than one of listing, whatever a list takes.

    It holds 2 s, or two lists that take up to 3 s each. A list may begin while anything is in it,
    and takes out what it took: one that asked for the time of the last list in advance was told to
    wait 31 s after a list that had waited 1.7 s for a lock. It fills while nothing is listed, at a
    speed that gives each list *d* eleven times *d*, or so.
    """

    WINDOW: ClassVar[float] = 600.0
    SHARE: ClassVar[float] = 60.0
    LEAST: ClassVar[float] = 2.0
    MOST: ClassVar[float] = 6.0

    def __init__(self, now: float) -> None:
        self._durations: deque[float] = deque(maxlen=5)
        self._level, self._at = self.LEAST, now

    @property
    def typical(self) -> float:
        """What a list takes: the median of the last five."""
        return median(self._durations) if self._durations else 0.0

    @property
    def size(self) -> float:
        """How much it holds. Twice a list of a minute would be two minutes of ten."""
        return min(max(self.LEAST, 2 * self.typical), self.MOST)

    @property
    def speed(self) -> float:
        """Seconds that it gets in a second without a list.

        So that a full bucket, ten minutes, and the list that ends beyond them make one minute.
        """
        each = min(self.typical, self.SHARE)
        whole = self.SHARE // each * each if each > self.MOST else self.SHARE - each
        return (whole - self.size) / (self.WINDOW - self.SHARE)

    def take(self, began: float, ended: float, *, free: bool = False) -> None:
        """A list was made; a free one only tells how long it took."""
        took = ended - began
        level = self._level + (began - self._at) * self.speed
        self._durations.append(took)
        self._level = self.size if free else min(level, self.size) - took
        self._at = ended

    def ready(self, need: float = 0.0) -> float:
        """From when on more than `need` is in it, unless another list comes before."""
        missing = min(need, self.size) - self._level
        return self._at + max(0.0, missing) / self.speed


class Schedule:
    """The next list, and the next attempt to open the stream anew.

    `interval` is the longest time between lists while the stream is open, `inf` where opening it
    anew makes for them; `poll` the one without a stream; `reopen` the time after which the stream
    is tried anew. All of them are told: what happened, and when.
    """

    def __init__(self, now: float, *, interval: float, poll: float, reopen: float) -> None:
        self.bucket: Bucket = Bucket(now)
        self.state: Literal["connecting", "open", "polling"] = "connecting"
        self._interval, self._poll, self._reopen = interval, poll, reopen
        self._began = now  # of the last list
        self._span = 1.0  # of the interval until the next
        self._wanted = inf  # since when a list is due that waits for nothing
        self._first = self._last = inf  # events since the last list
        self._hint = -inf  # when there was reason for a trailing list
        self._backoff = Backoff()
        self._retry = inf
        self.reopen_at: float = inf
        """When to open the stream anew."""

    # What happens to the stream.

    def opened(self, now: float, random: float) -> None:
        """The head of the stream is here. The engine begins to listen only now, or a bit later."""
        self.state = "open"
        self._wanted = self._hint = now
        self._recovered()
        self.reopen_later(now, random)

    def lost(self) -> None:
        """The stream has ended or could not be opened: no list until it is there again."""
        self.state = "connecting"

    def refused(self, now: float, random: float) -> None:
        """The engine has no stream for us: lists are made without."""
        if self.state != "polling":
            self.state = "polling"
            self._wanted = now
            self._recovered()
        self.reopen_later(now, random)

    def reopen_later(self, now: float, random: float) -> None:
        """Open the stream anew after its time, where that is of use: 80 to 100 % of it."""
        useful = self.state == "polling" or self._interval == inf
        self.reopen_at = now + self._reopen * (0.8 + 0.2 * random) if useful else inf

    def event(self, now: float, *, old: bool) -> None:
        """An event came; an old one is about a time before the last list began."""
        self._hint = now
        if not old:
            self._first = min(self._first, now)
            self._last = now

    # What happens to the lists.

    def listed(
        self, began: float, ended: float, random: float, *, free: bool = False, back: bool = False
    ) -> None:
        """A list came: what had happened before it began is done with."""
        self.bucket.take(began, ended, free=free)
        self._began, self._span = began, 0.8 + 0.2 * random
        if self._wanted <= began:
            self._wanted = inf
        if self._last < began:
            self._first = self._last = inf
        self._first = max(self._first, began)
        if self._hint + TRAILING <= began:
            self._hint = -inf
        if back and self.state == "polling":
            self.reopen_at = ended  # the engine is there again, perhaps with its events
        self._recovered()

    def failed(self, now: float, random: float, *, refused: bool, hopeless: bool) -> bool:
        """A list failed; whether that is an outage.

        A refusal is asked again some times: engines fail a whole list for an image that is removed
        meanwhile. What waiting does not help is asked again after the longest interval.
        """
        n = self._backoff.attempts
        pause = self._backoff.next(random)
        outage = not refused or n >= REFUSALS
        if hopeless:
            pause = self._reopen
        elif not outage:
            pause = PAUSE * 2.0**n
        self._retry = now + pause
        return outage

    def _recovered(self) -> None:
        self._backoff = Backoff()
        self._retry = inf

    # What is next.

    def due(self) -> float:
        """When to list."""
        if self.state == "connecting":
            return inf
        if self._retry < inf:
            return self._retry
        settled = min(self._last + SETTLE, self._first + SETTLE_AT_MOST)
        interval = self._poll if self.state == "polling" else self._interval * self._span
        soonest = min(self._wanted, settled, self._began + interval)
        # It must not make another wait: its time has to be there in advance.
        trailing = self._hint + TRAILING if self._hint > -inf else inf
        bucket = self.bucket
        return min(max(soonest, bucket.ready()), max(trailing, bucket.ready(bucket.typical)))
