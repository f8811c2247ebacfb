"""Compare engines: how many images each has, and which tags differ between them.

python examples/several_hosts.py unix:///var/run/docker.sock ssh://me@build.example
"""

import asyncio
import sys
from contextlib import AsyncExitStack

from docker_images import DockerClient, DockerImagesError, gather_images


async def main(hosts: list[str]) -> int:
    async with AsyncExitStack() as stack:
        clients = {
            host: await stack.enter_async_context(DockerClient(host, connect_timeout=5))
            for host in hosts
        }
        answers = await gather_images(clients, dangling=False, timeout=30)
    ids: dict[str, dict[str, str]] = {}
    failed = 0
    for host, answer in answers.items():
        if isinstance(answer, DockerImagesError):
            failed += 1
            print(f"{host}: {answer.reason}: {answer}", file=sys.stderr)
            continue
        print(f"{host}: {len(answer)} images, {sum(image.size for image in answer) / 1e6:,.1f} MB")
        for image in answer:
            for name in image.tags:
                ids.setdefault(str(name), {})[host] = image.short_id
    for tag, found in sorted(ids.items()):
        if len({*found.values()}) > 1:
            print(tag, *(f"{host}={id_}" for host, id_ in found.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
