"""`docker-images metrics` and `docker-images exporter`: the same series, once and for ever."""

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from command import run
from test_metrics import Series, of_images, series_in

from docker_images import DockerClient
from docker_images.cli.exporter import keep
from docker_images.cli.serve import address, serving
from docker_images.metrics import Watched
from docker_images.testing import FakeEngine, faults, image

SHOP = [
    image("shop/web:1", size=100, shared_size=30, containers=2),
    image("shop/db:1", size=50, shared_size=10),
    image(size=7, shared_size=1),
]


def counted(series: Series, engine: str) -> dict[tuple[str, ...], float]:
    """How many images of an engine there are of each kind, where there are some."""
    return {
        labels[1:]: value
        for (name, labels), value in series.items()
        if name == "docker_images" and labels[0] == engine and value
    }


EXPECTED = {("false", "true"): 1.0, ("false", "false"): 1.0, ("true", "false"): 1.0}


# ── Once ────────────────────────────────────────────────────────────────────────────────────────


def test_metrics_prints_the_series_of_each_engine() -> None:
    with FakeEngine(SHOP, "docker 28.5") as one, FakeEngine(engine="podman 5.8") as other:
        shop, empty = one.host, other.host
        done = run("metrics", "-H", shop, "-H", empty, "--repositories", "1")
    assert (done.returncode, done.stderr) == (0, "")
    series = series_in(done.stdout)
    assert counted(series, shop) == EXPECTED
    assert counted(series, empty) == {}
    assert series["docker_images_up", (empty,)] == 1
    assert series["docker_images_reclaimable_min_bytes", (shop,)] == 46
    assert series["docker_images_reclaimable_max_bytes", (shop,)] == 57
    assert series["docker_images_lists_total", (shop,)] == 1
    assert series["docker_images_list_duration_seconds_sum", (shop,)] > 0
    assert abs(series["docker_images_last_list_timestamp_seconds", (shop,)] - time.time()) < 60
    assert series["docker_images_repository_images", (shop, "shop/web")] == 1


def test_an_engine_that_is_down_is_told_as_such_and_makes_the_status_1() -> None:
    with FakeEngine(SHOP) as one:
        shop = one.host
        done = run("metrics", "-H", shop, "-H", "unix:///nowhere/docker.sock")
    assert done.returncode == 1
    assert "no engine at unix:///nowhere/docker.sock" in done.stderr
    series = series_in(done.stdout)
    assert counted(series, shop) == EXPECTED
    assert series["docker_images_up", (shop,)] == 1
    assert series["docker_images_up", ("unix:///nowhere/docker.sock",)] == 0


def test_the_engine_that_nobody_named_is_called_by_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeEngine(SHOP) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        assert counted(series_in(run("metrics").stdout), engine.host) == EXPECTED
    monkeypatch.setenv("DOCKER_HOST", "nonsense://x")
    done = run("metrics")
    assert done.returncode == 1
    assert series_in(done.stdout)["docker_images_up", ("default",)] == 0


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "docker_images.prom"
    path.write_text("old\n")
    with path.open() as old, FakeEngine(SHOP) as engine:
        shop = engine.host
        done = run("metrics", "-H", shop, "--output", str(path))
        assert old.read() == "old\n", "who reads meanwhile gets the old file, not half of the new"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert counted(series_in(path.read_text()), shop) == EXPECTED
    assert [one.name for one in tmp_path.iterdir()] == ["docker_images.prom"]


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with FakeEngine(SHOP) as engine:
        done = run("metrics", "-H", engine.host, "--output", str(tmp_path / "taken"))
        assert (done.returncode, done.stdout) == (1, "")
        assert "cannot write the answer: Is a directory" in done.stderr
        missing = str(tmp_path / "missing/x.prom")
        done = run("metrics", "-H", engine.host, "--output", missing)
        assert done.returncode == 1
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("subcommand", ["metrics", "exporter"])
def test_where_prometheus_client_is_missing_it_says_what_to_install(subcommand: str) -> None:
    program = (
        "import sys; sys.modules['prometheus_client'] = None; from docker_images.cli import main;"
        f"sys.exit(main(['{subcommand}']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "docker-images: metrics need prometheus_client; install it: "
        "pip install 'docker-images[metrics]'\n"
    )


def test_a_limit_that_is_none_is_a_command_line_that_cannot_work() -> None:
    done = run("metrics", "--demo", "--repositories", "-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "repositories must be 0 or more" in done.stderr


# ── For ever ────────────────────────────────────────────────────────────────────────────────────


class Exporter:
    """A process that exports, and what it said."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        self.process = process
        self.said: list[str] = [process.stderr.readline()]
        self.url = self.said[0].partition("serving ")[2].partition("/metrics")[0]
        stderr = process.stderr
        threading.Thread(target=lambda: self.said.extend(stderr), daemon=True).start()

    def ask(self, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def series(self) -> Series:
        status, text = self.ask()
        assert status == 200
        return series_in(text)

    def until(self, holds: Callable[[Series], bool]) -> Series:
        deadline = time.monotonic() + 60
        while not holds(series := self.series()):
            assert time.monotonic() < deadline, (series, self.said)
            time.sleep(0.05)
        return series


@contextmanager
def exporting(*arguments: str) -> Iterator[Exporter]:
    command = [sys.executable, "-m", "docker_images", "exporter", "--listen", "127.0.0.1:0"]
    with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Exporter(process)
        finally:
            process.kill()


@pytest.fixture
def shop() -> Iterator[FakeEngine]:
    with FakeEngine(SHOP, "docker 28.5") as engine:
        yield engine


def up(engine: FakeEngine, value: int = 1) -> Callable[[Series], bool]:
    return lambda series: series["docker_images_up", (engine.host,)] == value


def test_the_exporter_tells_what_metrics_prints(shop: FakeEngine) -> None:
    printed = series_in(run("metrics", "-H", shop.host, "--repositories", "9").stdout)
    with exporting("-H", shop.host, "--repositories", "9") as exporter:
        served = exporter.until(up(shop))
    assert served.keys() == printed.keys()
    about_images = of_images(printed)
    assert {key: value for key, value in served.items() if key[0] in about_images} == {
        key: value for key, value in printed.items() if key[0] in about_images
    }


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/metrics", "GET", 200),
        ("/metrics?name[]=docker_images_up", "GET", 200),
        ("/metrics", "POST", 405),
        ("/-/healthy", "GET", 200),
        ("/-/healthy", "HEAD", 200),
        ("/-/healthy", "DELETE", 404),
        ("/", "GET", 404),
        ("/metrics/", "GET", 404),
        ("/favicon.ico", "GET", 404),
        ("/metrics/../etc/passwd", "GET", 404),
        ("http://other.example/metrics", "GET", 404),
    ],
)
def test_nothing_else_is_served(one: Exporter, path: str, method: str, status: int) -> None:
    answered, text = one.ask(path, method)
    assert answered == status
    if "name" in path:
        assert {name for name, _ in series_in(text)} == {"docker_images_up"}
    if path == "/-/healthy":
        assert text == {"GET": "healthy\n", "HEAD": "", "DELETE": "not found\n"}[method]


@pytest.fixture(scope="module")
def one() -> Iterator[Exporter]:
    with exporting("-H", "unix:///nowhere/docker.sock") as exporter:
        yield exporter


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_in_order(shop: FakeEngine, number: int, status: int) -> None:
    with exporting("-H", shop.host, "-H", "unix:///nowhere/docker.sock") as exporter:
        exporter.until(up(shop))
        exporter.process.send_signal(number)
        assert exporter.process.wait(60) == status
    assert not [line for line in exporter.said if "Traceback" in line]


def test_an_engine_that_is_down_at_the_start_is_told_as_such_and_heals(shop: FakeEngine) -> None:
    shop.stop()
    with exporting("-H", shop.host) as exporter:
        series = exporter.series()
        assert series["docker_images_up", (shop.host,)] == 0
        assert of_images(series) == set()
        shop.start()
        assert counted(exporter.until(up(shop)), shop.host) == EXPECTED
        shop.stop()
        assert of_images(exporter.until(up(shop, 0))) == set()
        shop.images.remove("shop/db:1")
        shop.start()
        assert counted(exporter.until(up(shop)), shop.host) == {
            ("false", "true"): 1,
            ("true", "false"): 1,
        }
        wanted = ("no engine at", f"{shop.host} answers", f"{shop.host} answers again")
        deadline = time.monotonic() + 60
        while not all(any(text in line for line in exporter.said) for text in wanted):
            assert time.monotonic() < deadline, exporter.said
            time.sleep(0.05)


def test_an_engine_is_asked_for_no_more_than_it_can_tell(shop: FakeEngine) -> None:
    with exporting("-H", shop.host) as exporter:
        series = exporter.until(up(shop))
        assert series["docker_images_reclaimable_min_bytes", (shop.host,)] == 46
        shop.become("docker 20.10")  # it knows no shared sizes
        series = exporter.until(
            lambda series: (
                up(shop)(series)
                and ("docker_images_reclaimable_min_bytes", (shop.host,)) not in series
            )
        )
        assert counted(series, shop.host) == EXPECTED


def test_where_a_proxy_refuses_to_tell_of_containers_their_use_is_unknown() -> None:
    refused = faults.forbidden(path="/containers/json")
    with (
        FakeEngine(SHOP, "docker 26.1", faults=[refused]) as engine,
        exporting("-H", engine.host) as exporter,
    ):
        series = exporter.until(up(engine))
        assert counted(series, engine.host) == {("false", "unknown"): 2, ("true", "unknown"): 1}


@pytest.mark.anyio
async def test_a_list_that_was_replaced_is_let_go(anyio_backend: str, shop: FakeEngine) -> None:
    """Also where nothing changed, so that no update came: 200 engines would hold two lists each."""
    options = Namespace(resync_interval=0.2, poll_interval=30.0)
    watches: dict[str, Watched] = {}
    async with DockerClient(shop.host) as client, anyio.create_task_group() as tasks:

        async def until(holds: Callable[[], bool]) -> None:
            with anyio.fail_after(60):
                while not holds():  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.01)

        tasks.start_soon(keep, "a", client, watches, options)
        await until(lambda: "a" in watches and len(watches["a"].images) == 3)
        shop.images.add(image("shop/new:1"))
        await until(lambda: len(watches["a"].images) == 4)
        kept = [watches["a"].images]
        await until(lambda: sys.getrefcount(kept[0]) == 2)
        tasks.cancel_scope.cancel()


def test_what_names_no_engine_is_an_error_at_once() -> None:
    done = run("exporter", "--listen", "127.0.0.1:0", "-c", "nothing-such")
    assert done.returncode == 1
    assert "nothing-such" in done.stderr


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("exporter", "--demo", "--listen", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr == (
        f"docker-images: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "name another with --listen HOST:PORT\n"
    )


# ── The server ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("127.0.0.1:19587", ("127.0.0.1", 19587)),
        ("[::1]:1", ("::1", 1)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_an_address_is_host_and_port(text: str, at: tuple[str, int]) -> None:
    assert address(text) == at


@pytest.mark.parametrize(
    "text", ["", "19587", ":19587", "127.0.0.1", "127.0.0.1:", "::1:19587", "[]:1", "a:-1", "a:²"]
)
def test_what_is_no_address_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address; write HOST:PORT"):
        address(text)


def test_a_port_is_at_most_65535() -> None:
    with pytest.raises(ValueError, match="up to 65535"):
        address("a:65536")


def healthy(environ: object, start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]


def answer_of(url: str, request: bytes = b"GET / HTTP/1.0\r\n\r\n") -> bytes:
    """What comes back, `b""` where the connection is closed."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=60) as connection:
        try:
            connection.sendall(request)
            return connection.makefile("rb").read()
        except ConnectionError:
            return b""


def test_only_so_many_are_served_at_once_and_only_for_so_long() -> None:
    with serving(("127.0.0.1", 0), healthy, connections=3, seconds=1) as url:
        assert answer_of(url).endswith(b"fine")
        at = urlsplit(url)
        with ExitStack() as stack:
            slow = [
                stack.enter_context(socket.create_connection((at.hostname, at.port), timeout=60))
                for _ in range(3)
            ]
            deadline = time.monotonic() + 60
            while answer_of(url) and time.monotonic() < deadline:
                pass  # until all three were seen
            slow[0].sendall(b"GET")
            assert slow[0].recv(100) == b"", "it is closed, whatever it has sent"
            while not answer_of(url) and time.monotonic() < deadline:
                time.sleep(0.05)
        assert answer_of(url).endswith(b"fine")


@pytest.mark.parametrize("request_", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.0\r\n", b""])
def test_who_hangs_up_or_speaks_something_else_stops_nobody(
    request_: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(("127.0.0.1", 0), healthy) as url:
        at = urlsplit(url)
        with socket.create_connection((at.hostname, at.port)) as connection:
            connection.sendall(request_)
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
            )  # a reset
        assert answer_of(url).endswith(b"fine")
    assert capfd.readouterr().err == ""
