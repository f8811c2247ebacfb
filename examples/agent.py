"""An agent that prints each change as one line of JSON, until it gets SIGTERM or Ctrl-C."""

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime

from docker_images import DockerClient, DockerImagesError


def tell(event: str, **facts: object) -> None:
    print(json.dumps({"at": datetime.now(UTC).isoformat(), "event": event, **facts}), flush=True)


async def watch() -> None:
    async with DockerClient() as client, client.watch_images(dangling=False) as watch:
        tell("started", images=len(watch.images), source=watch.source)
        async for update in watch:
            if update.error is not None:
                tell("outage", reason=update.error.reason, error=str(update.error))
            elif not update.tag_changes:
                tell("checked", images=len(update.images))
            for tag, (before, after) in update.tag_changes.items():
                tell("tag", tag=tag, before=before, after=after)


async def main() -> int:
    task = asyncio.create_task(watch())
    for number in signal.SIGINT, signal.SIGTERM:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        tell("ended")
    except DockerImagesError as error:  # only at the start; later outages are updates
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
