"""An engine behind a proxy, over real sockets: what passes, what fails, and what is left open.

The proxies of these tests know the engine by a name that no one else knows, so that an answer is
proof of the way it took; nothing leaves this machine, and nobody is asked for an address.
"""

import base64
import gc
import logging
import socket
import ssl
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

CONNECT = (
    b"CONNECT engine.test:2376 HTTP/1.1\r\nHost: engine.test:2376\r\nUser-Agent: docker-images"
)

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


async def test_calls_one_after_the_other_share_a_connection(proxy: Server, engine: Server) -> None:
    async with DockerClient(PLAIN) as client:
        for _ in range(3):
            assert len(await client.list_images()) == 3
        await client.ping()
        assert proxy.connections == 1
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
        assert proxy.requests == [CONNECT]
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
            PLAIN, saying(ASKS), EngineResponseError, "HTTP_PROXY have the right user", id="407"
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
            "'407 Proxy Authentication Required'; does HTTPS_PROXY have the right user",
            id="CONNECT, 407",
        ),
        pytest.param(
            TLS,
            saying(DOWN),
            EngineConnectionError,
            "'502 Bad Gateway'; does it know the engine",
            id="CONNECT, 502",
        ),
        pytest.param(
            TLS,
            saying(b""),
            EngineConnectionError,
            "no connection to the proxy: it closed the connection; fix HTTPS_PROXY",
            id="CONNECT, closes",
        ),
        pytest.param(
            TLS,
            saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
            EngineConnectionError,
            "the proxy says",
            id="CONNECT, no HTTP",
        ),
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
        "Connection refused; fix HTTP_PROXY, or name engine.test in NO_PROXY to go there directly"
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
        "proxy": "no connection to the proxy: its certificate is signed by a CA that is not in",
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
        with pytest.raises(EndpointError, match="does not contain a certificate in PEM format"):
            await ask(TLS)
        assert proxy.connections == 0


@pytest.mark.parametrize(
    ("host", "target"),
    [
        pytest.param("tcp://[2001:db8::1]:2375", b"GET http://[2001:db8::1]:2375/v", id="plain"),
        pytest.param("tcp://[2001:db8::1]:2376", b"CONNECT [2001:db8::1]:2376 HTTP", id="TLS"),
    ],
)
async def test_an_ipv6_address_is_named_in_brackets(
    host: str, target: bytes, monkeypatch: pytest.MonkeyPatch, home: Path, ca: trustme.CA
) -> None:
    if b"CONNECT" in target:
        ca.cert_pem.write_to_path(str(home / "ca.pem"))
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(home))
    with serving(saying(DOWN), tcp=True) as proxy:
        monkeypatch.setenv("HTTP_PROXY", url_of(proxy))
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy))
        with pytest.raises(DockerImagesError, match="502"):
            await ask(host)
    assert proxy.requests[0].startswith(target)


# ── SOCKS5: RFC 1928 and 1929 ───────────────────────────────────────────────────────────────────


class Socks:
    """A proxy that leads everybody to one engine, and says its replies byte by byte."""

    def __init__(self, engine: Server, *, method: int = 0, login: int = 0, reply: int = 0) -> None:
        self.engine = engine
        self.method, self.login, self.reply = method, login, reply
        self.target = b""
        self.credentials = b""

    def __call__(self, peer: Peer) -> None:
        def take(count: int) -> bytes:
            return peer.socket.recv(count, socket.MSG_WAITALL)

        with suppress(IndexError, OSError):
            take(take(2)[1])
            peer.drip(bytes([5, self.method]))
            if self.method == 2:
                user = take(take(2)[1])
                self.credentials = user + b":" + take(take(1)[0])
                peer.drip(bytes([1, self.login]))
            kind = take(4)[3]
            self.target = bytes([kind]) + take({1: 4, 4: 16}.get(kind) or take(1)[0]) + take(2)
            peer.drip(bytes([5, self.reply, 0, 3, 4]) + b"here" + b"\x00\x01")
            with socket.create_connection(("127.0.0.1", port_of(self.engine))) as far:
                back = threading.Thread(target=copy, args=(far, peer.socket))
                back.start()
                copy(peer.socket, far)
                back.join()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize(
    ("hostname", "address"),
    [
        pytest.param("engine.test", b"\x03engine.test", id="a name"),
        pytest.param("192.0.2.1", b"\x01\xc0\x00\x02\x01", id="IPv4"),
        pytest.param("[2001:db8::1]", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01", id="IPv6"),
    ],
)
async def test_a_socks_proxy_is_told_the_address_and_keeps_the_connection(
    scheme: str, hostname: str, address: bytes, engine: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    socks = Socks(engine)
    with serving(socks, tcp=True) as proxy:
        monkeypatch.setenv("HTTP_PROXY", url_of(proxy).replace("http", scheme))
        async with DockerClient(f"tcp://{hostname}:2375") as client:
            for _ in range(2):
                assert len(await client.list_images()) == 3
        assert proxy.connections == 1
    assert socks.target == address + (2375).to_bytes(2, "big")
    assert engine.requests[0].startswith(b"GET /v")


async def test_a_socks_proxy_is_told_user_and_password_if_it_wants_them(
    engine: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    socks = Socks(engine, method=2)
    with serving(socks, tcp=True) as proxy:
        monkeypatch.setenv("HTTP_PROXY", url_of(proxy, "me:p%40ss@").replace("http", "socks5"))
        assert await ask() == ids(3)
    assert socks.credentials == b"me:p@ss"


async def test_an_engine_with_tls_is_reached_through_a_socks_proxy(
    engines_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(over_tls(answering(LIST), engines_tls), tcp=True) as engine,
        serving(Socks(engine), tcp=True) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy).replace("http", "socks5"))
        assert await ask(TLS) == ids(3)


@pytest.mark.parametrize(
    ("answers", "user", "says"),
    [
        pytest.param({"reply": 5}, "", "'the connection was refused'; does it know", id="refused"),
        pytest.param({"reply": 99}, "", "'error 99'; does it know the engine", id="odd"),
        pytest.param({"method": 255}, "", "the right user and password?", id="wants a password"),
        pytest.param(
            {"method": 2, "login": 1}, "me:no@", "the right user and password?", id="wrong password"
        ),
    ],
)
async def test_a_socks_proxy_that_refuses_is_named(
    answers: dict[str, int],
    user: str,
    says: str,
    engine: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(Socks(engine, **answers), tcp=True) as proxy:
        monkeypatch.setenv("HTTP_PROXY", url_of(proxy, user).replace("http", "socks5"))
        with pytest.raises(EngineConnectionError) as caught:
            await ask()
        assert says in str(caught.value)
        assert caught.value.reason == "proxy"
        assert until(lambda: not proxy.open)


# ── Secrets ─────────────────────────────────────────────────────────────────────────────────────


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
    pytest.param(PLAIN, "http", hanging(), "waiting for the answer", id="before the answer"),
    pytest.param(PLAIN, "http", hanging(LIST[:-9]), "reading the answer", id="in the answer"),
    pytest.param(TLS, "http", hanging(), "waiting for the proxy", id="in CONNECT"),
    pytest.param(TLS, "http", hanging(ESTABLISHED), "connecting", id="in the TLS handshake"),
    pytest.param(
        TLS, "https", hanging(), "waiting for the proxy", id="in the TLS handshake of the proxy"
    ),
]


@pytest.mark.parametrize(("host", "scheme", "script", "stage"), STAGES)
async def test_a_proxy_that_hangs_is_given_up_and_leaves_nothing_open(
    host: str,
    scheme: str,
    script: Script,
    stage: str,
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
                if caught.value.stage == stage:
                    break
            assert (caught.value.stage, caught.value.seconds) == (stage, seconds)
            assert f"through the proxy {url}) took longer than" in str(caught.value)
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
        before = descriptors()
        for n in range(60):
            with anyio.move_on_after(n * 0.0002):
                await client.list_images()
        assert len(await client.list_images()) == 3
        assert until(lambda: descriptors() <= before)
        gc.collect()
    assert until(lambda: not proxy.open)


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
