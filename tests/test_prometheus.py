"""A real Prometheus scrapes the exporter, in front of a live engine and of fake ones with faults.

What its queries answer is compared with what `list_images` does. Slow: it waits for scrapes.
"""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import engines
import pytest
import suites
from test_cli_metrics import SHOP, exporting

from docker_images import ImageSummary, sync
from docker_images.testing import FakeEngine, faults, image

pytestmark = pytest.mark.slow

STOPPED_WITHIN = 15  # seconds: what is promised for an engine that ends
SILENT_WITHIN = 90  # and for a network that is cut


class Prometheus:
    """One that scrapes every second; `query` is an instant query of its API."""

    def __init__(self, url: str) -> None:
        self._at = urlsplit(url)

    def _get(self, target: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._at.netloc, timeout=60)
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ready(self) -> bool:
        """Whether it answers queries yet."""
        with suppress(OSError):
            return self._get("/-/ready")[0] == 200
        return False

    def query(self, text: str) -> dict[tuple[str, ...], float]:
        """The values by their labels, sorted by name, without those of the scrape."""
        answer = json.loads(self._get(f"/api/v1/query?query={quote(text)}")[1])
        assert answer["status"] == "success", answer
        about_the_scrape = ("__name__", "instance", "job")
        return {
            tuple(
                value
                for name, value in sorted(one["metric"].items())
                if name not in about_the_scrape
            ): float(one["value"][1])
            for one in answer["data"]["result"]
        }

    def until(self, text: str, wanted: dict[tuple[str, ...], float]) -> float:
        """Wait for an answer; how many seconds it took."""
        began = time.monotonic()
        while (found := self.query(text)) != wanted:
            assert time.monotonic() < began + 120, (text, found)
            time.sleep(0.2)
        return time.monotonic() - began


@contextmanager
def scraping(url: str, folder: Path) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        engines.absent("ENGINE MISSING: prometheus is not here; it is a package of Debian")
    with socket.create_server(("127.0.0.1", 0)) as free:
        at = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: docker-images\n"
        f"    static_configs: [{{targets: ['{urlsplit(url).netloc}']}}]\n"
    )
    command = suites.tied(
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={at}",
        "--log.level=warn",
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        prometheus = Prometheus(f"http://{at}")
        deadline = time.monotonic() + 120
        while not prometheus.ready():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield prometheus
    finally:
        engines.end(process)


def kinds(images: list[ImageSummary], of: Callable[[ImageSummary], int]) -> dict[Any, float]:
    """What a list comes to, by whether images dangle and are used; without what is 0."""
    found: dict[Any, float] = {}
    for one in images:
        kind = (
            str(one.is_dangling).lower(),
            {True: "true", False: "false"}.get(one.in_use, "unknown"),
        )
        found[kind] = found.get(kind, 0) + of(one)
    return {kind: value for kind, value in found.items() if value}


LIVE = ["docker 20.10", "docker 28.5 containerd", "podman 5.8"]


@pytest.mark.parametrize("name", LIVE)
def test_queries_answer_what_list_images_answers(
    name: str, live: engines.Live, tmp_path: Path
) -> None:
    host = live.host(name)
    with (
        FakeEngine(SHOP) as shop,
        exporting("-H", host, "-H", shop.host) as exporter,
        scraping(exporter.url, tmp_path) as prometheus,
    ):
        prometheus.until("docker_images_up", {(host,): 1, (shop.host,): 1})
        for engine in (host, shop.host):
            images = sync.list_images(host=engine, containers=True)
            assert images
            of = f'{{engine="{engine}"}}'
            for series, number in (("", lambda _: 1), ("_size_bytes", lambda one: one.size)):
                told = prometheus.query(f"docker_images{series}{of} > 0")
                assert {(dangling, used): value for (dangling, _, used), value in told.items()} == (
                    kinds(images, number)
                )
            dated = [one.created for one in images if one.created_at is not None]
            newest = prometheus.query(f"docker_images_newest_created_timestamp_seconds{of}")
            oldest = prometheus.query(f"docker_images_oldest_created_timestamp_seconds{of}")
            assert (newest, oldest) == ({(engine,): max(dated)}, {(engine,): min(dated)})
            assert prometheus.query(f"sum(docker_images{of})") == {(): len(images)}


def test_an_engine_that_ends_is_seen_within_15_seconds_and_heals(tmp_path: Path) -> None:
    with (
        FakeEngine(SHOP) as shop,
        FakeEngine(SHOP, "podman 5.8", faults=[faults.forbidden(path="/events")]) as polled,
        FakeEngine(SHOP, faults=[faults.garbage()]) as broken,
        FakeEngine(SHOP, faults=[faults.slow(size=1000)]) as slow,
    ):
        every = (shop.host, polled.host, broken.host, slow.host)
        arguments = [word for host in every for word in ("-H", host)]
        with (
            exporting(*arguments, "--repositories", "9", "--poll-interval", "1") as exporter,
            scraping(exporter.url, tmp_path) as prometheus,
        ):
            ups = {(host,): float(host != broken.host) for host in every}
            prometheus.until("docker_images_up", ups)
            web = f'docker_images_repository_images{{engine="{shop.host}",repository="shop/web"}}'
            assert prometheus.query(web) == {(shop.host, "shop/web"): 1}
            shop.images.remove("shop/web:1")
            shop.images.add(image("shop/new:1"))
            polled.images.add(image("shop/new:1"))
            prometheus.until(web, {})
            of = f'sum(docker_images{{engine="{polled.host}"}})'
            prometheus.until(of, {(): 4})
            for stopped in (shop, polled):
                stopped.stop()
                seconds = prometheus.until("docker_images_up", {**ups, (stopped.host,): 0})
                print(f"seen after {seconds:.1f} s")
                assert seconds < STOPPED_WITHIN
                of = f'docker_images{{engine="{stopped.host}"}}'
                assert prometheus.query(of) == {}, "no series outlives its engine"
                stopped.start()
                prometheus.until("docker_images_up", ups)
                assert len(prometheus.query(of)) == 6
            broken.faults.clear()
            prometheus.until("docker_images_up", {**ups, (broken.host,): 1})


def test_a_live_engine_that_is_stopped_is_seen_and_heals(tmp_path: Path) -> None:
    name = engines.at_hand("docker")
    with engines.folder() as folder, ExitStack() as stack:
        with engines.start(name, folder) as host:
            engines.fill(host)
            expected = len(sync.list_images(host=host))
            exporter = stack.enter_context(exporting("-H", host))
            prometheus = stack.enter_context(scraping(exporter.url, tmp_path))
            prometheus.until("docker_images_up", {(host,): 1})
        seconds = prometheus.until("docker_images_up", {(host,): 0})
        print(f"seen after {seconds:.1f} s")
        assert seconds < STOPPED_WITHIN
        with engines.start(name, folder):
            prometheus.until("docker_images_up", {(host,): 1})
            prometheus.until("sum(docker_images)", {(): expected})


# Runs where it has a network of its own, whose packets it may drop.
CUT = """
import subprocess, sys, time
sys.path.insert(0, "tests")
from test_cli_metrics import SHOP, exporting
from docker_images.testing import FakeEngine

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with FakeEngine(SHOP, tcp=True) as engine, exporting("-H", engine.host) as exporter:
    def up(value):
        began = time.monotonic()
        while exporter.series()["docker_images_up", (engine.host,)] != value:
            assert time.monotonic() < began + 200
            time.sleep(0.2)
        return time.monotonic() - began

    def wire(what):
        for end in ("--dport", "--sport"):
            port = engine.host.rpartition(":")[2]
            subprocess.run(
                ["iptables", what, "INPUT", "-p", "tcp", end, port, "-j", "DROP"], check=True
            )

    up(1)
    time.sleep(5)  # until the lists after the connect are made
    wire("-A")
    cut = up(0)
    wire("-D")
    print(cut, up(1))
"""


def test_a_network_that_is_cut_is_seen_within_90_seconds_and_heals() -> None:
    own = ["unshare", "--net", "--mount", "--propagation", "private"]
    tools = all(map(shutil.which, ("unshare", "ip", "iptables")))
    if not tools or subprocess.run([*own, "iptables", "-L", "-n"], capture_output=True).returncode:
        pytest.skip("cutting a network takes root, ip and iptables")
    done = subprocess.run(
        [*own, sys.executable, "-c", CUT],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cut, healed = map(float, done.stdout.split())
    print(f"seen after {cut:.1f} s, healed after {healed:.1f} s")
    assert cut < SILENT_WITHIN
