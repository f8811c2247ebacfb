"""TLS: what is trusted, what is shown, and that each way to fail says something of its own."""

import datetime
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import engines
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hostile import LIST, Peer, answer, serving, until

from docker_images import DockerClient
from docker_images.address import TLS, Endpoint
from docker_images.errors import EndpointError, EngineConnectionError, EngineResponseError
from docker_images.transport.failures import FOREIGN, translate
from docker_images.transport.sockets import SocketStream
from docker_images.transport.tls import TLSStream, open_tls, ssl_context
from docker_images.transport.tls_failures import tls_meaning

PING = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"


class Material(NamedTuple):
    """Paths of what two CAs have signed; the engine of these tests trusts and shows the first."""

    ca: str
    cert: str
    key: str
    server_cert: str
    server_key: str
    other_ca: str
    other_cert: str
    other_key: str
    locked_key: str
    junk: str
    broken: str

    @property
    def client(self) -> TLS:
        return TLS(ca=self.ca, cert=self.cert, key=self.key)


@pytest.fixture(scope="module")
def pki() -> Iterator[Material]:
    with tempfile.TemporaryDirectory(prefix="di-") as name:
        folder = Path(name)

        def write(name: str, content: bytes) -> str:
            (folder / name).write_bytes(content)
            return str(folder / name)

        def pair(name: str, cert: trustme.LeafCert) -> tuple[str, str]:
            chain = b"".join(pem.bytes() for pem in cert.cert_chain_pems)
            return (
                write(f"{name}-cert.pem", chain),
                write(f"{name}-key.pem", cert.private_key_pem.bytes()),
            )

        ours, other = trustme.CA(), trustme.CA()
        client = ours.issue_cert("client@example.org")
        key = load_pem_private_key(client.private_key_pem.bytes(), None)
        locked = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        yield Material(
            write("ca.pem", ours.cert_pem.bytes()),
            *pair("client", client),
            *pair("server", ours.issue_cert("127.0.0.1", "engine.test")),
            write("other-ca.pem", other.cert_pem.bytes()),
            *pair("other", other.issue_cert("client@example.org")),
            write("locked-key.pem", locked),
            write("junk.pem", b"\x00junk\xff" * 100),
            write("broken.pem", ours.cert_pem.bytes().replace(b"\nM", b"\n?", 1)),
        )


def at(port: int, tls: TLS, hostname: str = "127.0.0.1") -> Endpoint:
    return Endpoint(
        kind="tcp",
        host=f"tcp://{hostname}:{port}",
        hostname=hostname,
        port=port,
        source="DOCKER_HOST",
        tls=tls,
    )


class TestFiles:
    """Nobody is asked, and every message names the file, who said so, and the next step."""

    @pytest.mark.parametrize(
        ("parts", "says"),
        [
            pytest.param({"ca": "/no/ca.pem"}, "/no/ca.pem: no such file", id="missing CA"),
            pytest.param({"ca": "/"}, "the CA certificate /: is a directory", id="folder for a CA"),
            pytest.param({"ca": "/dev/zero"}, "/dev/zero: not a regular file", id="a device"),
            pytest.param(
                {"ca": "{junk}"}, "{junk} does not contain a certificate", id="junk for a CA"
            ),
            pytest.param(
                {"ca": "{key}"}, "{key} does not contain a certificate", id="key for a CA"
            ),
            pytest.param({"ca": "{broken}"}, "{broken} cannot be used", id="broken CA"),
            pytest.param({"cert": "{broken}"}, "{broken} and {key} cannot be used", id="broken"),
            pytest.param({"cert": "/no/cert.pem"}, "/no/cert.pem: no such", id="missing cert"),
            pytest.param({"key": "/no/key.pem"}, "the client's key /no/key.pem", id="missing key"),
            pytest.param(
                {"cert": "{junk}"}, "{junk} does not contain a certificate", id="junk for a cert"
            ),
            pytest.param(
                {"cert": "{key}"}, "{key} does not contain a certificate", id="key for a cert"
            ),
            pytest.param(
                {"key": "{junk}"}, "{junk} does not contain a private key", id="junk for a key"
            ),
            pytest.param(
                {"key": "{cert}"}, "{cert} does not contain a private key", id="cert for a key"
            ),
            pytest.param(
                {"key": "{other_key}"}, "{other_key} does not belong to {cert}", id="other key"
            ),
            pytest.param(
                {"key": "{locked_key}"}, "{locked_key} is locked by a passphrase", id="locked key"
            ),
        ],
    )
    def test_that_cannot_be_used_are_named(
        self, pki: Material, parts: dict[str, str], says: str
    ) -> None:
        paths = pki._asdict()
        tls = TLS(
            **{"cert": pki.cert, "key": pki.key, **{k: v.format(**paths) for k, v in parts.items()}}
        )
        with pytest.raises(EndpointError) as caught:
            ssl_context(at(2376, tls))
        text = str(caught.value)
        assert text.startswith("no TLS for tcp://127.0.0.1:2376 (DOCKER_HOST): ")
        assert says.format(**paths) in text
        assert "; " in text

    def test_a_certificate_without_its_key_is_not_read(self) -> None:
        ssl_context(at(2376, TLS(cert="/no/cert.pem")))


class TestContext:
    def test_with_a_ca_trusts_nothing_else(self, pki: Material) -> None:
        (trusted,) = ssl_context(at(2376, TLS(ca=pki.ca))).get_ca_certs(binary_form=True)
        assert ssl.DER_cert_to_PEM_cert(trusted).split() == Path(pki.ca).read_text().split()

    def test_without_a_ca_asks_the_system_which_ssl_cert_file_moves(
        self, pki: Material, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", pki.ca)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
        monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
        assert len(ssl_context(at(2376, TLS())).get_ca_certs()) == 1

    def test_writes_no_session_keys(
        self, pki: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        assert ssl_context(at(2376, pki.client)).keylog_filename is None

    def test_needs_tls_1_2(self, pki: Material) -> None:
        assert ssl_context(at(2376, pki.client)).minimum_version == ssl.TLSVersion.TLSv1_2

    def test_checks_the_certificate_and_its_name_unless_told_not_to(self, pki: Material) -> None:
        strict = ssl_context(at(2376, TLS(ca=pki.ca)))
        assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert not strict.hostname_checks_common_name
        lax = ssl_context(at(2376, TLS(ca=pki.ca, verify=False)))
        assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


async def connect(endpoint: Endpoint, port: int | None = None) -> TLSStream:
    """The port where the endpoint's name does not resolve."""
    sock = socket.create_connection(("127.0.0.1", port or endpoint.port or 0), 60)
    sock.setblocking(False)
    return await open_tls(SocketStream(sock), endpoint, ssl_context(endpoint), endpoint.hostname)


async def ask(endpoint: Endpoint, port: int | None = None) -> bytes:
    """Ask as the smallest client would, and read to the end."""
    answer = b""
    with anyio.fail_after(60):
        async with aclosing(await connect(endpoint, port)) as stream:
            await stream.send(PING)
            try:
                while True:
                    answer += await stream.receive()
            except anyio.EndOfStream:
                return answer


async def refusal(endpoint: Endpoint, port: int | None = None) -> str:
    """What the user is told, whether it went wrong in the handshake or after it."""
    with pytest.raises(FOREIGN) as caught:
        await ask(endpoint, port)
    assert isinstance(caught.value, Exception)
    error = translate(caught.value, endpoint)
    start = f"cannot connect to {endpoint.host} (DOCKER_HOST): "
    assert str(error).startswith(start)
    assert (error.endpoint, error.reason) == (endpoint, "tls")
    return str(error).removeprefix(start)


@contextmanager
def serve(serve_one: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback, in a thread, for connections one after the other; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def run() -> None:
            while True:
                connection = listener.accept()[0]
                with connection:
                    if stopping.is_set():
                        return
                    connection.settimeout(60)
                    try:
                        serve_one(connection)
                    except OSError:
                        continue  # the client hung up, as it is wanted to

        stopping = threading.Event()
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield port
        finally:
            stopping.set()
            socket.create_connection(("127.0.0.1", port), 5).close()
            thread.join(10)


def over_tls(
    cert: str, key: str, client_ca: str | None = None
) -> tuple[ssl.SSLContext, Callable[[socket.socket], None]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED

    def serve_one(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(4096)
            secure.sendall(b"HTTP/1.1 200 OK\r\n\r\nOK")

    return context, serve_one


@pytest.mark.anyio
class TestCertificates:
    """Against a server of Python's own, which can show what trustme signs and dockerd would not."""

    @pytest.mark.parametrize(
        ("names", "issued", "says"),
        [
            pytest.param(
                ["127.0.0.1"],
                {"not_after": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)},
                "its certificate has expired; renew it",
                id="expired",
            ),
            pytest.param(
                ["127.0.0.1"],
                {
                    "not_before": datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC),
                    "not_after": datetime.datetime(2101, 1, 1, tzinfo=datetime.UTC),
                },
                "its certificate is not valid yet; check the clocks",
                id="not yet valid",
            ),
            pytest.param(["127.0.0.2"], {}, "for another name: IP address", id="another IP"),
            pytest.param(["engine.test"], {}, "for another name: IP address", id="a DNS name"),
        ],
    )
    async def test_that_are_wrong_say_why(
        self, tmp_path: Path, names: list[str], issued: dict[str, Any], says: str
    ) -> None:
        ca = trustme.CA()
        cert = ca.issue_cert(*names, **issued)
        ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        cert.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
        _, serve_one = over_tls(str(tmp_path / "server.pem"), str(tmp_path / "server.pem"))
        with serve(serve_one) as port:
            text = await refusal(at(port, TLS(ca=str(tmp_path / "ca.pem"))))
        assert says in text

    @pytest.mark.parametrize("name", ["engine.test", "ENGINE.test", "engine.test."])
    async def test_are_good_for_their_names(self, pki: Material, name: str) -> None:
        _, serve_one = over_tls(pki.server_cert, pki.server_key)
        with serve(serve_one) as port:
            assert b"200 OK" in await ask(at(port, pki.client, name), port)

    async def test_of_an_intermediate_are_trusted_by_itself_as_in_go(self, tmp_path: Path) -> None:
        intermediate = trustme.CA().create_child_ca()
        cert = intermediate.issue_cert("127.0.0.1")
        intermediate.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        cert.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
        _, serve_one = over_tls(str(tmp_path / "server.pem"), str(tmp_path / "server.pem"))
        with serve(serve_one) as port:
            assert b"200 OK" in await ask(at(port, TLS(ca=str(tmp_path / "ca.pem"))))

    async def test_of_the_client_are_asked_for_in_words(self, pki: Material) -> None:
        _, serve_one = over_tls(pki.server_cert, pki.server_key, client_ca=pki.ca)
        with serve(serve_one) as port:
            assert "client certificate" in await refusal(at(port, TLS(ca=pki.ca)))

    async def test_cannot_help_a_server_that_speaks_only_old_tls(self, pki: Material) -> None:
        context, serve_one = over_tls(pki.server_cert, pki.server_key)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with serve(serve_one) as port:
            assert "not support TLS 1.2 or newer" in await refusal(at(port, pki.client))

    async def test_made_by_the_recipe_of_docs_docker_com_are_good(self, tmp_path: Path) -> None:
        make_by_the_recipe(tmp_path)
        server = str(tmp_path / "server-cert.pem"), str(tmp_path / "server-key.pem")
        _, serve_one = over_tls(*server, client_ca=str(tmp_path / "ca.pem"))
        tls = TLS(*(str(tmp_path / name) for name in ("ca.pem", "cert.pem", "key.pem")))
        with serve(serve_one) as port:
            assert b"200 OK" in await ask(at(port, tls))


def make_by_the_recipe(folder: Path) -> None:
    """https://docs.docker.com/engine/security/protect-access/, with keys of 2048 bits for speed."""
    if shutil.which("openssl") is None:
        engines.absent("openssl is not installed")
    (folder / "extfile.cnf").write_text(
        "subjectAltName = DNS:engine.test,IP:10.10.10.20,IP:127.0.0.1\n"
        "extendedKeyUsage = serverAuth\n"
    )
    (folder / "extfile-client.cnf").write_text("extendedKeyUsage = clientAuth\n")
    sign = "x509 -req -days 365 -sha256 -CA ca.pem -CAkey ca-key.pem -CAcreateserial -passin pass:x"
    for line in (
        "genrsa -aes256 -passout pass:x -out ca-key.pem 2048",
        "req -new -x509 -days 365 -key ca-key.pem -passin pass:x -sha256 -out ca.pem -subj /CN=ca",
        "genrsa -out server-key.pem 2048",
        "req -subj /CN=engine.test -sha256 -new -key server-key.pem -out server.csr",
        f"{sign} -in server.csr -out server-cert.pem -extfile extfile.cnf",
        "genrsa -out key.pem 2048",
        "req -subj /CN=client -new -key key.pem -out client.csr",
        f"{sign} -in client.csr -out cert.pem -extfile extfile-client.cnf",
    ):
        subprocess.run(("openssl", *line.split()), cwd=folder, check=True, capture_output=True)


@pytest.mark.anyio
class TestNotTLS:
    async def test_a_plain_port_says_so(self) -> None:
        def plain(connection: socket.socket) -> None:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with serve(plain) as port:
            assert "the port does not speak TLS" in await refusal(at(port, TLS()))

    async def test_a_hang_up_suggests_a_client_certificate(self) -> None:
        with serve(lambda connection: None) as port:
            assert "it hung up on a TLS connection" in await refusal(at(port, TLS()))

    async def test_a_name_that_no_server_can_have_is_refused(self, pki: Material) -> None:
        says = r"'\.engine' cannot be the name in a certificate"
        with serve(lambda connection: None) as port, pytest.raises(EndpointError, match=says):
            await ask(at(port, pki.client, ".engine"), port)

    @pytest.mark.parametrize("error", [ConnectionResetError(), FileNotFoundError(), EOFError()])
    def test_errors_that_are_not_of_tls_are_left_alone(self, error: Exception) -> None:
        assert tls_meaning(error, TLS()) is None


# What a peer may send that is no record of TLS, or none of this connection.
RAW = {
    "the beginning of a record": b"\x17\x03\x03",
    "a record that is junk": b"\x17\x03\x03\x00\x20" + b"x" * 32,
    "an alert in plain": b"\x15\x03\x03\x00\x02\x01\x00",
    "HTTP in plain": answer(b"[]"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("when", ["in one record", "in the same bytes", "later", *RAW])
async def test_an_answer_that_nobody_asked_for_is_never_taken_for_the_next_one(
    pki: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            if when == "in one record":
                peer.send(LIST + unasked)
            elif when == "later":
                peer.send(LIST)
                assert answered.acquire(timeout=60)
                peer.send(unasked)
                assert until(lambda: not peer.unacknowledged)
                arrived.release()
            else:  # both leave together
                peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                peer.send(LIST)
                if when in RAW:
                    os.write(peer.socket.fileno(), RAW[when])
                else:
                    peer.send(unasked)
                peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    unasked = answer(b"[]")
    answered, arrived = threading.Semaphore(0), threading.Semaphore(0)
    shutil.copyfile(pki.ca, tmp_path / "ca.pem")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    context, _ = over_tls(pki.server_cert, pki.server_key)
    with serving(script, tls=context) as server:
        async with DockerClient(server.host) as client:
            for _ in range(5):
                assert len(await client.list_images()) == 3
                if when == "later":
                    answered.release()
                    assert arrived.acquire(timeout=60)
            assert server.connections == 5


@pytest.fixture(scope="module")
def engine(pki: Material) -> Iterator[int]:
    """The port of a real `dockerd --tlsverify`, which trusts and shows what `pki` holds."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    options = (
        *("-H", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", pki.ca),
        *("--tlscert", pki.server_cert, "--tlskey", pki.server_key),
    )
    with (
        engines.folder() as folder,
        engines.start(engines.at_hand("docker"), folder, *options),
    ):
        deadline = time.monotonic() + 300
        while not listens(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


CertFolder = Callable[..., None]


@pytest.fixture
def cert_path(pki: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CertFolder:
    """Fill a DOCKER_CERT_PATH from `pki`, by the names of its fields, and switch TLS on."""

    def fill(ca: str = "ca", cert: str = "cert", key: str = "key", verify: bool = True) -> None:
        for name, field in (("ca", ca), ("cert", cert), ("key", key)):
            if field:
                shutil.copyfile(getattr(pki, field), tmp_path / f"{name}.pem")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        monkeypatch.setenv("DOCKER_TLS_VERIFY" if verify else "DOCKER_TLS", "1")
        monkeypatch.delenv("DOCKER_TLS" if verify else "DOCKER_TLS_VERIFY", raising=False)

    return fill


@pytest.mark.anyio
class TestClient:
    """`DockerClient(host="tcp://…")` in front of a real `dockerd --tlsverify`."""

    @pytest.mark.parametrize(
        "given",
        [
            pytest.param({}, id="verified"),
            pytest.param({"ca": "other_ca", "verify": False}, id="verification off"),
        ],
    )
    async def test_lists_over_one_connection_after_another(
        self, engine: int, cert_path: CertFolder, given: dict[str, Any]
    ) -> None:
        cert_path(**given)
        async with DockerClient(host=f"tcp://127.0.0.1:{engine}") as client:
            for _ in range(3):
                assert await client.list_images() == []

    @pytest.mark.parametrize(
        ("given", "name", "says"),
        [
            pytest.param(
                {"ca": "other_ca"}, "127.0.0.1", "a CA that is not in {ca}", id="wrong CA"
            ),
            pytest.param({}, "localhost", "its certificate is for another name", id="wrong name"),
            pytest.param(
                {"cert": "", "key": ""},
                "127.0.0.1",
                "it wants a client certificate",
                id="no client certificate",
            ),
            pytest.param(
                {"cert": "other_cert", "key": "other_key"},
                "127.0.0.1",
                "it refused the client certificate {cert}",
                id="wrong client certificate",
            ),
        ],
    )
    async def test_says_why_it_failed(
        self,
        engine: int,
        cert_path: CertFolder,
        tmp_path: Path,
        given: dict[str, str],
        name: str,
        says: str,
    ) -> None:
        cert_path(**given)
        async with DockerClient(host=f"tcp://{name}:{engine}") as client:
            with pytest.raises(EngineConnectionError) as caught:
                await client.list_images()
        assert str(caught.value).startswith(f"cannot connect to tcp://{name}:{engine} (")
        assert says.format(ca=tmp_path / "ca.pem", cert=tmp_path / "cert.pem") in str(caught.value)

    async def test_takes_renewed_files_without_a_restart(
        self, engine: int, cert_path: CertFolder
    ) -> None:
        cert_path(ca="other_ca")
        async with DockerClient(host=f"tcp://127.0.0.1:{engine}") as client:
            with pytest.raises(EngineConnectionError, match="a CA that is not in"):
                await client.list_images()
            cert_path()
            assert await client.list_images() == []

    async def test_names_a_file_that_cannot_be_used(
        self, engine: int, cert_path: CertFolder, tmp_path: Path
    ) -> None:
        cert_path(key="other_key")
        async with DockerClient(host=f"tcp://127.0.0.1:{engine}") as client:
            with pytest.raises(EndpointError, match=f"{tmp_path}/key.pem does not belong to"):
                await client.list_images()

    async def test_is_told_that_a_port_wants_tls(self, engine: int) -> None:
        async with DockerClient(host=f"tcp://127.0.0.1:{engine}") as client:
            with pytest.raises(EngineResponseError, match="this port expects TLS"):
                await client.list_images()

    async def test_says_that_a_port_does_not_speak_tls(self, cert_path: CertFolder) -> None:
        def plain(connection: socket.socket) -> None:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        cert_path()
        with serve(plain) as port:
            async with DockerClient(host=f"tcp://127.0.0.1:{port}") as client:
                with pytest.raises(EngineConnectionError, match="the port does not speak TLS"):
                    await client.list_images()


@pytest.mark.anyio
class TestRealEngine:
    async def test_is_not_trusted_by_the_system(self, pki: Material, engine: int) -> None:
        tls = TLS(cert=pki.cert, key=pki.key)
        assert "a CA that is not in the system's store" in await refusal(at(engine, tls))

    async def test_says_why_it_refuses_also_to_a_request_that_finds_it_gone(
        self, pki: Material, engine: int
    ) -> None:
        async with aclosing(await connect(at(engine, TLS(ca=pki.ca)))) as stream:
            for _ in range(3):
                await anyio.sleep(0.05)
                await stream.send(PING)
            with pytest.raises(ssl.SSLError, match=r"ALERT_CERTIFICATE_REQUIRED|BAD_CERTIFICATE"):
                await stream.receive()

    async def test_keeps_a_connection_that_is_not_stale_until_it_is_closed(
        self, pki: Material, engine: int
    ) -> None:
        async with aclosing(await connect(at(engine, pki.client))) as stream:
            await stream.send(PING.replace(b"close", b"keep-alive"))
            assert b"200 OK" in await stream.receive()
            assert not stream.is_stale()
            await stream.send(PING)
            assert b"200 OK" in await stream.receive()
            with anyio.fail_after(60):
                while not stream.is_stale():  # noqa: ASYNC110
                    await anyio.sleep(0.01)
