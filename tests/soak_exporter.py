"""One exporter for many engines, some of them down, others changing: its memory and CPU.

    PYTHONPATH=. python tests/soak_exporter.py --seconds 900

The engines live in a process of their own, so the figures are those of the exporter alone. Each
line: seconds, MiB resident, seconds of CPU so far, lists so far, milliseconds of the last scrape.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import anyio
from test_cli_metrics import exporting
from test_metrics import series_in

from docker_images.testing import FakeEngine, image

ENGINES, DOWN, IMAGES = 200, 20, 300


async def serve(pause: float) -> None:
    """All engines that are up; one of them changes every `pause` seconds."""
    draw = random.Random(1)
    async with anyio.create_task_group() as tasks:
        engines: list[FakeEngine] = []

        async def one(number: int) -> None:
            shown = [image(f"web{number}:{n}", containers=n % 2) for n in range(IMAGES)]
            async with FakeEngine(shown, draw.choice(["docker 28.5", "podman 5.8"])) as engine:
                engines.append(engine)
                await anyio.sleep_forever()

        for number in range(ENGINES - DOWN):
            tasks.start_soon(one, number)
        while len(engines) < ENGINES - DOWN:  # noqa: ASYNC110 - for a moment
            await anyio.sleep(0.1)
        print(*(engine.host for engine in engines), flush=True)
        for number in range(10**9):
            await anyio.sleep(pause)
            engine = draw.choice(engines)
            engine.requests.clear()
            engine.images.add(image(f"new:{number}"))
            if len(engine.images) > IMAGES + 3:
                engine.images.remove(next(iter(engine.images)).id)


def measure(seconds: float) -> None:
    """Export and scrape for so long."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as engines:
        assert engines.stdout is not None
        hosts = engines.stdout.readline().split()
        hosts += [f"unix:///nowhere/{number}.sock" for number in range(DOWN)]
        try:
            with exporting(*(word for host in hosts for word in ("-H", host))) as exporter:
                began = time.monotonic()
                time.sleep(60)  # until all of them were listed
                while time.monotonic() < began + seconds:
                    time.sleep(15)
                    at = time.perf_counter()
                    _, text = exporter.ask()
                    took = time.perf_counter() - at
                    series = series_in(text)
                    process = Path(f"/proc/{exporter.process.pid}")
                    resident = int((process / "statm").read_text().split()[1])
                    times = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                    lists = sum(
                        v for (name, _), v in series.items() if name.endswith("lists_total")
                    )
                    up = sum(v for (name, _), v in series.items() if name == "docker_images_up")
                    print(
                        f"{time.monotonic() - began:5.0f} s  up {up:.0f}  "
                        f"{resident * os.sysconf('SC_PAGE_SIZE') / 2**20:6.1f} MiB  "
                        f"{sum(map(int, times)) / os.sysconf('SC_CLK_TCK'):6.1f} s of CPU  "
                        f"{lists:5.0f} lists  {took * 1000:4.0f} ms  "
                        f"{len(os.listdir(process / 'fd'))} files",
                        flush=True,
                    )
        finally:
            engines.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        anyio.run(serve, 5.0)
    else:
        measure(options.seconds)
