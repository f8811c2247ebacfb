"""The clients that are compared, each used as its own documentation shows.

An adapter is a context manager that gives a function: call it (and await, for an asynchronous
client) to list once. Every import happens inside the adapter, so that a process pays for its own
client only; for the same reason this module imports next to nothing. "+ msgspec" clients and the
floor decode into `plain.Image`: what a careful user would write by hand.
"""

from contextlib import asynccontextmanager, contextmanager
from functools import partial


@asynccontextmanager
async def _ours(path, manifests):
    from docker_images import DockerClient

    async with DockerClient(host=f"unix://{path}") as client:
        yield partial(client.list_images, manifests=True) if manifests else client.list_images


@asynccontextmanager
async def _aiodocker(path, manifests):
    from aiodocker import Docker

    async with Docker(url=f"unix://{path}") as client:
        yield partial(client.images.list, manifests=1) if manifests else client.images.list


@asynccontextmanager
async def _aiohttp(path, manifests):
    import aiohttp

    from .plain import decoder

    url = "http://docker/images/json" + ("?manifests=1" if manifests else "")
    decode = decoder(manifests=manifests).decode

    async def call():
        async with session.get(url) as response:
            response.raise_for_status()
            return decode(await response.read())

    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
        yield call


@asynccontextmanager
async def _httpx(path, manifests):
    import httpx

    from .plain import decoder

    url = "http://docker/images/json" + ("?manifests=1" if manifests else "")
    decode = decoder(manifests=manifests).decode

    async def call():
        response = await client.get(url)
        response.raise_for_status()
        return decode(response.content)

    # Without verify=False every transport reads the system's certificates, 20 to 50 ms.
    transport = httpx.AsyncHTTPTransport(uds=path, verify=False)
    async with httpx.AsyncClient(transport=transport) as client:
        yield call


@asynccontextmanager
async def _floor(path, manifests):
    from .floor import Floor

    floor = Floor(path, manifests)
    try:
        yield floor.list
    finally:
        floor.close()


@contextmanager
def _docker_py(path, manifests):
    from docker import APIClient

    client = APIClient(base_url=f"unix://{path}")
    yield client.images
    client.close()


@contextmanager
def _docker_py_list(path, manifests):
    from docker import DockerClient

    client = DockerClient(base_url=f"unix://{path}")
    yield client.images.list
    client.close()


@contextmanager
def _podman_py(path, manifests):
    from podman import PodmanClient

    with PodmanClient(base_url=f"unix://{path}") as client:
        yield client.images.list


def _attribute(image):
    return image.id


def _key(image):
    return image["Id"]


class Client:
    """One client: how it is opened, and what it can take part in."""

    def __init__(self, opened, identity, needs, *, sync=False, manifests=False, most=10**9):
        self.open, self.identity = opened, identity
        self.needs = needs  # the modules that must be installed
        self.sync, self.manifests, self.most = sync, manifests, most


CLIENTS = {
    "ours": Client(_ours, _attribute, ("docker_images.client",), manifests=True),
    "aiodocker": Client(_aiodocker, _key, ("aiodocker",), manifests=True),
    "aiohttp+msgspec": Client(_aiohttp, _attribute, ("aiohttp", "msgspec"), manifests=True),
    "httpx+msgspec": Client(_httpx, _attribute, ("httpx", "h11", "msgspec"), manifests=True),
    "docker-py": Client(_docker_py, _key, ("docker",), sync=True),
    # One request an image: 300 to 500 times slower, so it is left out of the larger sizes.
    "docker-py list()": Client(_docker_py_list, _attribute, ("docker",), sync=True, most=100),
    "podman-py": Client(_podman_py, _attribute, ("podman",), sync=True),
    "floor": Client(_floor, _attribute, ("msgspec",), manifests=True),
}
LOOPS = ("asyncio", "uvloop", "trio")
"""`ours@uvloop` is ours on uvloop; without a name it is asyncio."""


def once(name, path):
    """List once and close, as a short script would: what a cold start is measured with."""
    client, _, loop = name.partition("@")
    opened = CLIENTS[client].open
    if CLIENTS[client].sync:
        with opened(path, False) as call:
            return call()

    async def main():
        async with opened(path, False) as call:
            return await call()

    if loop == "trio":
        import trio

        return trio.run(main)
    if loop == "uvloop":
        import uvloop

        return uvloop.run(main())
    import asyncio

    return asyncio.run(main())
