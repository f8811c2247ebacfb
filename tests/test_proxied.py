"""An engine behind a proxy, over real sockets: what passes, what fails, and what is left open.

The proxies of these tests know the engine by a name that no one else knows, so that an answer is
proof of the way it took; nothing leaves this machine, and nobody is asked for an address.
"""

import base64
import gc
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

import anyio
import pytest
import trustme
from hostile import (
    LIST,
    Peer,
    Script,
    Server,
    answer,
    answering,
    descriptors,
    ids,
    images,
    serving,
    until,
)

from docker_images import (
    DockerClient,
    DockerImagesError,
    EndpointError,
    EngineConnectionError,
    EngineResponseError,
    EngineTimeoutError,
    ResponseFormatError,
    resolve_endpoint,
)

pytestmark = pytest.mark.anyio

PLAIN, TLS = "tcp://engine.test:2375", "tcp://engine.test:2376"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it, and no proxy in the environment."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def port_of(server: Server) -> int:
    return int(server.listener.getsockname()[1])


def url_of(proxy: Server, user: str = "") -> str:
    return f"http://{user}127.0.0.1:{port_of(proxy)}"


def passing_to(engine: Server, tls: ssl.SSLContext | None = None) -> Script:
    """A proxy that has one engine behind it; with `tls` it wants to be spoken to in TLS."""

    def script(peer: Peer) -> None:
        if tls:
            peer.socket = tls.wrap_socket(peer.socket, server_side=True)
        head = peer.request()
        if not head:
            return
        method, target, rest = head.split(b" ", 2)
        with socket.create_connection(("127.0.0.1", port_of(engine))) as far:
            if method == b"CONNECT":
                assert target == b"engine.test:2376"
                peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = target.removeprefix(b"http://engine.test:2375")
                far.sendall(b" ".join([method, path, rest]) + b"\r\n\r\n")
            back = threading.Thread(target=copy, args=(far, peer.socket))
            back.start()
            copy(peer.socket, far)
            back.join()

    return script


def copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        source.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def over_tls(script: Script, context: ssl.SSLContext) -> Script:
    def wrapped(peer: Peer) -> None:
        peer.socket = context.wrap_socket(peer.socket, server_side=True)
        script(peer)

    return wrapped


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def engines_tls(ca: trustme.CA, home: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What the engine shows, and an environment that trusts it."""
    ca.cert_pem.write_to_path(str(home / "ca.pem"))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(home))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("engine.test", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def engine() -> Iterator[Server]:
    with serving(answering(LIST), tcp=True) as server:
        yield server


@pytest.fixture
def proxy(engine: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(passing_to(engine), tcp=True) as server:
        monkeypatch.setenv("HTTP_PROXY", url_of(server))
        yield server


async def ask(host: str = PLAIN, timeout: float = 60, **options: int) -> list[str]:
    async with DockerClient(host, timeout=timeout, **options) as client:  # type: ignore[arg-type]
        return [image.id for image in await client.list_images()]


# ── What passes ─────────────────────────────────────────────────────────────────────────────────


async def test_a_plain_engine_is_asked_through_the_proxy(proxy: Server, home: Path) -> None:
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"HttpHeaders": {"X-Team": "blue"}}')

    assert await ask(f"{PLAIN}/sub/path") == ids(3)

    line, *headers = proxy.requests[0].decode().split("\r\n")
    assert line == f"GET {PLAIN.replace('tcp', 'http')}/sub/path/v1.55/images/json HTTP/1.1"
    assert {"Host: engine.test:2375", "X-Team: blue", "User-Agent: docker-images"} <= set(headers)


async def test_each_call_has_a_connection_of_its_own_that_ends_with_it(
    proxy: Server, engine: Server
) -> None:
    async with DockerClient(PLAIN) as client:
        for n in range(1, 4):
            assert len(await client.list_images()) == 3
            assert proxy.connections == n
            assert until(lambda: not proxy.open)
        await client.ping()
        assert until(lambda: not proxy.open)
    assert len(engine.requests) == 4


async def test_an_engine_with_tls_is_reached_by_connect(
    engines_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(over_tls(answering(LIST), engines_tls), tcp=True) as engine,
        serving(passing_to(engine), tcp=True) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy))
        assert await ask(TLS) == ids(3)
        assert proxy.requests[0].startswith(b"CONNECT engine.test:2376 HTTP/1.1\r\n")
        assert until(lambda: not proxy.open)


async def test_a_proxy_with_tls_is_trusted_as_the_engine_is(
    engines_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(over_tls(answering(LIST), engines_tls), tcp=True) as engine,
        serving(passing_to(engine, engines_tls), tcp=True) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy).replace("http", "https"))
        assert await ask(TLS) == ids(3)


# 0.0.0.0 is this machine, and yet no loopback address.
@pytest.mark.parametrize(
    ("no_proxy", "passes"),
    [("", True), ("0.0.0.0", False), ("0.0.0.0/8", False), ("10.0.0.0/8", True), ("*", False)],
)
async def test_no_proxy_names_those_who_are_asked_directly(
    no_proxy: str, passes: bool, proxy: Server, engine: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert await ask(f"tcp://0.0.0.0:{port_of(engine)}") == ids(3)
    assert proxy.connections == passes


async def test_loopback_never_passes_a_proxy(proxy: Server, engine: Server) -> None:
    assert await ask(engine.host) == ids(3)
    assert proxy.connections == 0


async def test_a_unix_socket_never_passes_a_proxy(proxy: Server) -> None:
    with serving(answering(LIST)) as engine:
        assert await ask(engine.host) == ids(3)
    assert proxy.connections == 0


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        pytest.param("tcp://h:1", True, id="tcp"),
        pytest.param("unix:///h", False, id="unix"),
        pytest.param("ssh://h", False, id="ssh"),
        pytest.param("npipe://h", False, id="npipe"),
        pytest.param("tcp://localhost:1", False, id="localhost"),
        pytest.param("tcp://[::1]:1", False, id="loopback"),
    ],
)
def test_only_tcp_to_other_machines_has_a_proxy(host: str, passes: bool) -> None:
    env = {"HTTP_PROXY": "http://proxy:1", "HTTPS_PROXY": "http://proxy:1"}
    assert resolve_endpoint(env, host).proxy == ("http://proxy:1" if passes else None)


async def test_other_settings_of_http_clients_change_nothing(
    proxy: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "junk").write_text("junk")
    (home / ".netrc").write_text("default login me password secret\n")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(home / "junk"))
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert await ask() == ids(3)
    assert b"authorization" not in proxy.requests[0].lower()


# ── What fails ──────────────────────────────────────────────────────────────────────────────────


def saying(raw: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(raw)

    return script


def no_tls(peer: Peer) -> None:
    peer.request()
    peer.send(ESTABLISHED)
    peer.socket.recv(65536)
    peer.send(DOWN)


def resetting(peer: Peer) -> None:
    peer.request()
    peer.reset()


ESTABLISHED = b"HTTP/1.1 200 OK\r\n\r\n"
ASKS = answer(b"<html>Who are you?</html>", "407 Proxy Authentication Required")
DOWN = answer(b"<html>Down</html>", "502 Bad Gateway")


@pytest.mark.parametrize(
    ("host", "script", "kind", "says"),
    [
        pytest.param(
            PLAIN, saying(ASKS), EngineConnectionError, "HTTP_PROXY the right user", id="407"
        ),
        pytest.param(PLAIN, saying(DOWN), EngineResponseError, "answered 502: Down", id="502"),
        pytest.param(PLAIN, saying(b""), EngineConnectionError, "closed the", id="closes"),
        pytest.param(PLAIN, resetting, EngineConnectionError, "broke the", id="resets"),
        pytest.param(PLAIN, saying(LIST[:-1]), EngineConnectionError, "closed the", id="cut off"),
        pytest.param(PLAIN, saying(b"junk\r\n\r\n"), ResponseFormatError, "junk", id="no HTTP"),
        pytest.param(
            PLAIN, saying(answer(b"<html>")), ResponseFormatError, "cannot be read", id="a page"
        ),
        pytest.param(
            TLS,
            saying(ASKS),
            EngineConnectionError,
            "'407 Proxy Authentication Required'; has HTTPS_PROXY the right user",
            id="CONNECT, 407",
        ),
        pytest.param(
            TLS,
            saying(DOWN),
            EngineConnectionError,
            "'502 Bad Gateway'; does it know the engine",
            id="CONNECT, 502",
        ),
        pytest.param(TLS, saying(b""), EngineConnectionError, "closed the", id="CONNECT, closes"),
        pytest.param(
            TLS, saying(ESTABLISHED), EngineConnectionError, "it hung up on a TLS", id="no engine"
        ),
        pytest.param(
            TLS, no_tls, EngineConnectionError, "the port does not speak TLS", id="no TLS"
        ),
    ],
)
async def test_a_proxy_that_refuses_is_named(
    host: str,
    script: Script,
    kind: type[DockerImagesError],
    says: str,
    engines_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if host is PLAIN:
        monkeypatch.delenv("DOCKER_TLS_VERIFY")
    with serving(script, tcp=True) as proxy:
        monkeypatch.setenv("HTTP_PROXY", url_of(proxy))
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy))
        with pytest.raises(kind) as caught:
            await ask(host)
        assert f"{host} (host=, through the proxy {url_of(proxy)})" in str(caught.value)
        assert says in str(caught.value)
        assert until(lambda: not proxy.open)


async def test_a_proxy_that_is_not_there_is_named_with_the_way_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("HTTP_PROXY", url)
        with pytest.raises(EngineConnectionError) as caught:
            await ask()
    assert str(caught.value) == (
        f"cannot reach {PLAIN} (host=, through the proxy {url}): no connection to the proxy: "
        "Connection refused; mend HTTP_PROXY, or name engine.test in NO_PROXY to go there directly"
    )


@pytest.mark.parametrize("of", ["engine", "proxy"])
async def test_a_certificate_of_another_ca_is_explained(
    of: str, engines_tls: ssl.SSLContext, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("engine.test", "127.0.0.1").configure_cert(other)
    with (
        serving(over_tls(answering(LIST), other), tcp=True) as engine,
        serving(passing_to(engine, other if of == "proxy" else None), tcp=True) as proxy,
    ):
        url = url_of(proxy).replace("http", "https" if of == "proxy" else "http")
        monkeypatch.setenv("HTTPS_PROXY", url)
        with pytest.raises(EngineConnectionError) as caught:
            await ask(TLS)
    says = {
        "engine": f"is signed by a CA that is not in {home}/ca.pem",
        "proxy": "no connection to the proxy: [SSL: CERTIFICATE_VERIFY_FAILED]",
    }
    assert says[of] in str(caught.value)
    assert f"{TLS} (host=, through the proxy {url})" in str(caught.value)


async def test_a_missing_client_certificate_is_explained(
    ca: trustme.CA, engines_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines_tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(engines_tls)
    with (
        serving(over_tls(answering(LIST), engines_tls), tcp=True) as engine,
        serving(passing_to(engine), tcp=True) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy))
        # TLS 1.3 tells after the handshake: the alert may be lost when the engine hangs up.
        wanted = "it wants a client certificate|shows no client certificate"
        with pytest.raises(EngineConnectionError, match=wanted):
            await ask(TLS)


async def test_a_missing_ca_is_an_error_before_anything_is_sent(
    engines_tls: ssl.SSLContext, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "ca.pem").write_text("junk")
    with serving(saying(b""), tcp=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy))
        with pytest.raises(EndpointError, match="holds no certificate in PEM form"):
            await ask(TLS)
        assert proxy.connections == 0


async def test_a_socks_proxy_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(EndpointError, match=r"needs the package socksio; pip install 'httpx\[soc"):
        await ask()


async def test_an_ipv6_address_behind_a_proxy_is_refused(proxy: Server) -> None:
    with pytest.raises(EndpointError, match="use a name for the engine, or name 2001:db8::1 in NO"):
        await ask("tcp://[2001:db8::1]:2375")
    assert proxy.connections == 0


async def test_the_password_of_the_proxy_is_sent_and_never_shown(
    proxy: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HTTP_PROXY", url_of(proxy, "me:p%40ss-w0rd@"))
    async with DockerClient(PLAIN) as client:
        assert len(await client.list_images()) == 3
        shown = [repr(client.endpoint), repr(client)]
    basic = base64.b64encode(b"me:p@ss-w0rd")
    assert b"Proxy-Authorization: Basic " + basic in proxy.requests[0]

    for raw in (ASKS, b"", b"junk\r\n\r\n"):
        with serving(saying(raw), tcp=True) as bad:
            monkeypatch.setenv("HTTP_PROXY", url_of(bad, "me:p%40ss-w0rd@"))
            with pytest.raises(DockerImagesError) as caught:
                await ask()
            shown.append(str(caught.value))
    shown += [record.getMessage() for record in caplog.records]

    assert any("through the proxy http://127.0.0.1:" in text for text in shown)
    for secret in ("p%40ss", "p@ss", basic.decode()):
        assert secret not in "\n".join(shown)


# ── What is left open: nothing ──────────────────────────────────────────────────────────────────


def hanging(*before: bytes) -> Script:
    """Answers so many requests, and then says nothing more."""

    def script(peer: Peer) -> None:
        for raw in before:
            peer.request()
            peer.send(raw)
        with suppress(OSError):
            while peer.socket.recv(65536):
                pass

    return script


STAGES = [
    pytest.param(PLAIN, "http", hanging(), id="before the answer"),
    pytest.param(PLAIN, "http", hanging(LIST[:-9]), id="in the answer"),
    pytest.param(TLS, "http", hanging(), id="in CONNECT"),
    pytest.param(TLS, "http", hanging(ESTABLISHED), id="in the TLS handshake"),
    pytest.param(TLS, "https", hanging(), id="in the TLS handshake of the proxy"),
]


@pytest.mark.parametrize(("host", "scheme", "script"), STAGES)
async def test_a_proxy_that_hangs_is_given_up_and_leaves_nothing_open(
    host: str,
    scheme: str,
    script: Script,
    engines_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if host is PLAIN:
        monkeypatch.delenv("DOCKER_TLS_VERIFY")
    with serving(script, tcp=True) as proxy:
        url = url_of(proxy).replace("http", scheme)
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("HTTPS_PROXY", url)
        async with DockerClient(host) as client:
            for seconds in (0.1, 1, 10):  # on a busy machine it may come before the proxy is asked
                with pytest.raises(EngineTimeoutError) as caught:
                    await client.list_images(timeout=seconds)
                told = str(caught.value).replace("reading the answer", "waiting for the proxy")
                if "waiting for the proxy." in told:
                    break
            way = f"through the proxy {url}) took longer than {seconds} s; the call was"
            assert f"{way} waiting for the proxy." in told
            assert until(lambda: not proxy.open)
            before = descriptors()
            for _ in range(4):
                seen = proxy.connections
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(partial(client.list_images, timeout=60))
                    while proxy.connections == seen:  # noqa: ASYNC110
                        await anyio.sleep(0.005)
                    await anyio.sleep(0.02)
                    tasks.cancel_scope.cancel()
            gc.collect()  # what was forgotten would warn
            assert until(lambda: not proxy.open and descriptors() <= before)


@pytest.mark.skipif(
    version("anyio") < "4.16", reason="older ones forget the socket of a cancelled connect"
)
async def test_calls_that_are_cancelled_at_any_moment_leave_nothing_open(proxy: Server) -> None:
    async with DockerClient(PLAIN) as client:
        await client.list_images()
        assert until(lambda: not proxy.open)
        before = descriptors()
        for n in range(60):
            with anyio.move_on_after(n * 0.0002):
                await client.list_images()
        assert until(lambda: not proxy.open)
        assert len(await client.list_images()) == 3
        assert until(lambda: not proxy.open and descriptors() <= before)
        gc.collect()


@pytest.mark.parametrize(
    ("raw", "most"),
    [
        pytest.param(answer(images(2000)), 10_000, id="too long"),
        pytest.param(answer(b"[{}, junk" + b" " * 300_000), 2**20, id="no list"),
        pytest.param(answer(b" " * 300_000, "500 Oops"), 2**20, id="a long excuse"),
    ],
)
async def test_an_answer_that_is_not_read_to_its_end_leaves_nothing_open(
    raw: bytes, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(answering(raw), tcp=True) as engine,
        serving(passing_to(engine), tcp=True) as proxy,
    ):
        monkeypatch.setenv("HTTP_PROXY", url_of(proxy))
        for _ in range(3):
            with pytest.raises(DockerImagesError):
                await ask(max_response_bytes=most)
            gc.collect()
        assert until(lambda: not proxy.open)
