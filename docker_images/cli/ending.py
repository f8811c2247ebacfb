"""How a command ends that runs until somebody ends it: by ctrl-c, by SIGTERM, or by an error."""

import signal
from collections.abc import Awaitable, Callable

import anyio

from docker_images.errors import DockerImagesError

__all__ = ["until_ended"]


async def until_ended(run: Callable[[], Awaitable[None]]) -> int:
    """Run until it returns or somebody ends it; the exit status. Raises what `run` raises."""
    status = 0
    failed: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            nonlocal status
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for number in signals:
                    status = 128 + number
                    tasks.cancel_scope.cancel()

        tasks.start_soon(end)
        try:
            await run()
        except (DockerImagesError, OSError, TypeError, ValueError) as error:
            failed = error  # by itself, and not in a group
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return status
