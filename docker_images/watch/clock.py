"""Time as a watch sees it: the one seam for pauses, deadlines and chance."""

import random

import anyio

__all__ = ["Clock"]


class Clock:
    """The clock of the running event loop. Tests put one of their own in its place."""

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        return anyio.current_time()

    def random(self) -> float:
        """A number between 0 and 1, so that many watches do not ask in one moment."""
        return random.random()  # noqa: S311 - nothing secret

    async def wait(self, event: anyio.Event, until: float) -> None:
        """Wait for the event, at most until then."""
        with self.scope(until):
            await event.wait()

    def scope(self, until: float) -> anyio.CancelScope:
        """A block that is cancelled then."""
        return anyio.CancelScope(deadline=until)
