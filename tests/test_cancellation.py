"""A call that is cancelled at any point leaves nothing behind, and harms no other call.

The cut points are spread by chance over steps of the event loop and over time, with several calls
at once, from the first one of a client on. `DOCKER_IMAGES_CUTS` sets how many rounds are tried
(each with four calls); the figures in docs/reliability.md come from a long run.
"""

import asyncio
import os
import random
import ssl
import threading
from collections import Counter
from pathlib import Path

import anyio
import pytest
import trustme
from anyio.lowlevel import checkpoint
from hostile import OLD, Peer, answer, descriptors, ids, images, serving, until

from docker_images import DockerClient
from docker_images.transport.pool import MAX_CALLS

ROUNDS = int(os.environ.get("DOCKER_IMAGES_CUTS", "60"))


class OldEngine:
    """Refuses newer versions than 1.41, and takes its time in every way."""

    def __init__(self) -> None:
        self.together: int = 0
        """So many requests have to be there before one of them is answered."""
        self._answers = [
            [answer(images(3), headers={"Api-Version": "1.41"})],
            [answer(images(3), headers={"Api-Version": "1.41"}, chunks=30)],
        ]
        whole = self._answers[0][0]
        self._answers.append([whole[:1], whole[1:60], whole[60:200], whole[200:]])

    def __call__(self, peer: Peer) -> None:
        chance = random.Random(peer.number)
        while request := peer.request():
            if b"/v1.55/" in request:
                peer.send(OLD)
                continue
            if self.together:
                peer.gather(self.together)
            for part in chance.choice(self._answers):
                peer.wait(chance.choice([0, 0, 0.0005, 0.001]))
                peer.send(part)


async def cut(
    client: DockerClient, span: float, chance: random.Random, tally: Counter[str]
) -> None:
    """Make a call and cancel it at some point, if it is not over before."""

    async def call() -> None:
        found = await client.list_images()
        assert [image.id for image in found] == ids(3)
        tally["answered"] += 1

    tally["calls"] += 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        if chance.random() < 0.5:
            for _ in range(chance.randrange(40)):
                await checkpoint()
        else:
            await anyio.sleep(chance.random() * span)
        tasks.cancel_scope.cancel()


async def span_of_calls(host: str) -> float:
    """The time in which most calls end, as things are."""
    async with DockerClient(host) as client:
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(client.list_images)
        return anyio.current_time() - start


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["unix", "tcp", "tls"])
async def test_a_call_may_be_cancelled_at_any_point(
    kind: str, anyio_backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = None
    if kind == "tls":
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)

    chance = random.Random(f"{kind} {anyio_backend}")
    rounds = ROUNDS // 4 if kind == "tls" else ROUNDS  # with both sides of TLS in this process
    tally: Counter[str] = Counter()
    engine = OldEngine()
    with serving(engine, tcp=kind == "tcp", tls=tls) as server:
        client = DockerClient(server.host)
        span = await span_of_calls(server.host)
        assert until(lambda: not server.open)
        before = descriptors()
        for number in range(rounds):
            if number % 5 == 0:
                span = await span_of_calls(server.host)
                await client.aclose()
                client = DockerClient(server.host)
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(cut, client, span, chance, tally)
            if number % 5 in (2, 4):
                assert [image.id for image in await client.list_images()] == ids(3)
                assert until(lambda: len(server.open) <= 10), "only idle connections are open"
        assert until(lambda: len(server.open) <= 10)
        engine.together = MAX_CALLS
        async with anyio.create_task_group() as tasks:
            for _ in range(MAX_CALLS):
                tasks.start_soon(client.list_images)
        assert server.most_waiting == MAX_CALLS, "no turn is lost"
        await client.aclose()
        assert until(lambda: not server.open)
        assert until(lambda: descriptors() <= before), "no descriptor is lost"
    print(f"{kind} on {anyio_backend}: {dict(tally)}")
    assert 0 < tally["answered"] < tally["calls"], "the cuts miss the calls"


@pytest.mark.asyncio
async def test_a_native_cancellation_of_asyncio_passes_through() -> None:
    asked = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        while peer.request():
            asked.release()

    with serving(script) as server:
        async with DockerClient(server.host) as client:
            task = asyncio.create_task(client.list_images())
            await asyncio.to_thread(asked.acquire)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError) as info:
                await task
            assert info.value.args == ("enough",)
            assert task.cancelled()
            assert until(lambda: not server.open)
