"""One engine, asked in an API version that both sides speak.

Knows the conversation: which version to ask in, what an answer teaches about the engine, when to
ask once more, and when an engine would ignore what is asked. What each version can do is known in
`versions`; the network, in `transport`.
"""

import logging
from collections.abc import Collection
from functools import partial

import anyio
import httpx
import msgspec
from anyio.lowlevel import checkpoint

from docker_images.address import Endpoint
from docker_images.engine.request import build_request, origin
from docker_images.engine.responses import (
    EngineInfo,
    engine_info,
    error_message,
    is_podman,
    read_version,
    refusal,
    told_version,
)
from docker_images.engine.versions import (
    NEED_CONTAINERD,
    NEEDS,
    NEWEST,
    OLDEST,
    ApiVersion,
    Pin,
    agree,
    first_missing,
    is_refusal,
    shows_store,
    spoken,
)
from docker_images.errors import (
    ApiVersionError,
    DockerImagesError,
    EngineResponseError,
    UnsupportedByEngineError,
)
from docker_images.images.models import ImageSummary
from docker_images.transport.deadline import PerLoop
from docker_images.transport.failures import FOREIGN, translate
from docker_images.transport.pool import body_of, close, headers_of

__all__ = ["Engine"]

MAX_ERROR_BODY = 64 * 1024

_log = logging.getLogger("docker_images")


class _Component(msgspec.Struct):
    name: str = msgspec.field(default="", name="Name")


class _Version(msgspec.Struct):
    """What `/version` tells beyond the headers, and in place of missing ones."""

    api_version: str = msgspec.field(default="", name="ApiVersion")
    min_api_version: str = msgspec.field(default="", name="MinAPIVersion")
    components: tuple[_Component, ...] | None = msgspec.field(default=None, name="Components")


class Engine:
    """Where an engine is, and what its answers have taught."""

    def __init__(
        self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport, pin: Pin | None
    ) -> None:
        self.endpoint = endpoint
        self.transport = transport
        self.pin = pin
        self.version: ApiVersion | None = None
        """The version to ask in next; None until there was an answer."""
        self.newest: tuple[bytes, ApiVersion] | None = None
        """The newest version of the engine, as it stood in an answer, and what that means."""
        self._at = str(endpoint)
        self._negotiating = PerLoop(partial(anyio.Lock, fast_acquire=True))
        self._origin = origin(endpoint)

    async def ask(
        self, params: str, options: Collection[str]
    ) -> tuple[httpx.Response, ApiVersion | None]:
        """The answer to `GET /images/json?params`, and, where there are options, its version.

        It is a 200 that honours all options; anything else is an error. The body is not read yet,
        and the caller closes the response.
        """
        if self.pin is not None:
            return await self._ask_pinned(self.pin, params, options)
        if self.version is None:
            # One call leads, the others wait for the head of its answer. A leader that fails or is
            # cancelled hands over to the next.
            async with self._negotiating.get():
                if self.version is None:
                    return await self._ask(NEWEST, params, options)
        version = self.version
        if options and first_missing(options, version):
            version = NEWEST  # the engine may have been upgraded
        return await self._ask(version, params, options)

    async def ping(self) -> EngineInfo:
        """Who answers `GET /_ping`."""
        response = await self._get("/_ping")
        try:
            if response.status_code != 200:
                raise await self._refusal(response)
        finally:
            await response.aclose()
        info = engine_info(response.headers)
        if info.api_version is None:
            theirs, _ = await self._look_up("/version")
            info = msgspec.structs.replace(info, api_version=theirs)
        return info

    async def oldest(self) -> ApiVersion | None:
        """The oldest version the engine speaks, from `GET /version`; None where it does not say."""
        response = await self._get("/version")
        body = await self._drain(response)
        try:
            return ApiVersion.parse(msgspec.json.decode(body, type=_Version).min_api_version)
        except (ValueError, RecursionError):
            return None

    async def _ask_pinned(
        self, pin: Pin, params: str, options: Collection[str]
    ) -> tuple[httpx.Response, ApiVersion | None]:
        if option := first_missing(options, pin.version):
            raise self._unsupported(option, f"API {pin.version}, pinned by {pin.source}")
        response, theirs = await self._list(pin.version, params)
        try:
            if response.status_code == 400:
                message = await self._message(response)
                if is_refusal(message):
                    raise ApiVersionError(
                        f"{self._at} refuses API {pin.version}, pinned by {pin.source}: {message}; "
                        "leave the version out and it is negotiated",
                        endpoint=self.endpoint,
                    )
                raise refusal(400, message, self.endpoint)
            return response, await self._check(response, theirs, pin.version, options)
        except BaseException:
            await response.aclose()
            raise

    async def _ask(
        self, version: ApiVersion, params: str, options: Collection[str]
    ) -> tuple[httpx.Response, ApiVersion | None]:
        response, theirs = await self._list(version, params)
        try:
            if response.status_code == 400:
                version = await self._other_version(response, theirs, version, options)
                self.version = version
                await response.aclose()
                response, theirs = await self._list(version, params)
            return response, await self._check(response, theirs, version, options)
        except BaseException:
            await response.aclose()
            raise

    async def _other_version(
        self,
        response: httpx.Response,
        theirs: ApiVersion | None,
        asked: ApiVersion,
        options: Collection[str],
    ) -> ApiVersion:
        """The version to ask in after a 400, or the error that the 400 is.

        A bad filter is a 400 too, with the same header: only another version is worth a try.
        """
        message = await self._message(response)
        if theirs is None and is_refusal(message):
            theirs, _ = await self._look_up("/_ping", "/version")
        version = agree(theirs) if theirs else asked
        if version is None or (version == asked and is_refusal(message)):
            raise self._nothing_in_common(theirs, message)
        if version == asked:
            raise refusal(400, message, self.endpoint)
        if option := first_missing(options, version):
            raise self._unsupported(option, f"API {theirs}", response)
        return version

    async def _check(
        self,
        response: httpx.Response,
        theirs: ApiVersion | None,
        asked: ApiVersion,
        options: Collection[str],
    ) -> ApiVersion | None:
        """Let only a list pass that honours every option; with options, the version it is in."""
        if response.status_code != 200:
            raise await self._refusal(response)
        if theirs is not None and self.version is None and self.pin is None:
            raise self._nothing_in_common(theirs, "")
        if not options:
            return None
        podman = is_podman(response.headers)
        if theirs is None and not podman:
            theirs, podman = await self._look_up("/version")
        version = spoken(asked, theirs) if theirs else None
        for option in options:
            if podman:
                raise self._unsupported(option, "no such option", response)
            if version is None:
                raise self._unsupported(option, "no word of its API version", response)
            if first_missing([option], version):
                raise self._unsupported(option, f"API {version}", response)
        return version

    def check_store(
        self,
        response: httpx.Response,
        version: ApiVersion | None,
        options: Collection[str],
        images: list[ImageSummary],
    ) -> None:
        """Refuse a list that was to have manifests, but comes from a store that ignores them."""
        option = next((option for option in options if option in NEED_CONTAINERD), None)
        if option is None or not images or version is None or not shows_store(version):
            return
        if not any(image.descriptor for image in images):
            raise self._unsupported(
                option, "another image store", response, "the containerd image store"
            )

    async def _list(
        self, version: ApiVersion, params: str
    ) -> tuple[httpx.Response, ApiVersion | None]:
        """Ask once; the answer, and the newest version of the engine if it tells."""
        response = await self._get(f"/v{version}/images/json", params)
        told = told_version(headers_of(response))
        if self.newest is not None and told == self.newest[0]:
            return response, self.newest[1]
        theirs = read_version(told)
        if theirs is not None:
            was = self.newest[1] if self.newest else "not asked"
            _log.info("%s speaks API %s; so far: %s", self._at, theirs, was)
            self.newest, self.version = (told, theirs), agree(theirs)
        elif self.version is None and response.status_code == 200:
            self.version = version  # it works, though nobody says why
        return response, theirs

    async def _get(self, path: str, params: str = "") -> httpx.Response:
        request = build_request(self._origin, path, params, self.endpoint.headers)
        try:
            return await self.transport.handle_async_request(request)
        except DockerImagesError:
            raise
        except FOREIGN as error:
            raise translate(error, self.endpoint) from error

    async def _look_up(self, *paths: str) -> tuple[ApiVersion | None, bool]:
        """The engine's newest version, and whether it is Podman, from the first path that tells."""
        for path in paths:
            response = await self._get(path)
            body = await self._drain(response)
            if response.status_code != 200:
                continue
            if theirs := read_version(told_version(headers_of(response))):
                return theirs, is_podman(response.headers)
            try:
                answer = msgspec.json.decode(body, type=_Version)
                names = [component.name for component in answer.components or ()]
                return ApiVersion.parse(answer.api_version), "Podman Engine" in names
            except (ValueError, RecursionError):
                continue
        return None, False

    async def _refusal(self, response: httpx.Response) -> EngineResponseError:
        return refusal(response.status_code, await self._message(response), self.endpoint)

    async def _message(self, response: httpx.Response) -> str:
        return error_message(await self._drain(response))

    async def _drain(self, response: httpx.Response) -> bytes:
        """The beginning of a body, enough for what an engine has to say beside lists."""
        said = b""
        body = body_of(response)
        try:
            async for data in body:
                said += data
                if len(said) > MAX_ERROR_BODY:
                    break
                await checkpoint()  # the transport waits only when it must
        except DockerImagesError:
            raise
        except FOREIGN as error:
            raise translate(error, self.endpoint) from error
        finally:
            await close(response, body)
        return said

    def _nothing_in_common(self, theirs: ApiVersion | None, message: str) -> ApiVersionError:
        there = message or f"up to {theirs}"
        return ApiVersionError(
            f"{self._at} and this library share no API version: here {OLDEST} to {NEWEST}, "
            f"there {there}; upgrade the older of the two",
            endpoint=self.endpoint,
        )

    def _unsupported(
        self,
        option: str,
        found: str,
        response: httpx.Response | None = None,
        needed: str | None = None,
    ) -> UnsupportedByEngineError:
        engine = str(engine_info(response.headers)) if response is not None else "the engine"
        needed = needed or f"API {NEEDS[option]}"
        return UnsupportedByEngineError(
            f"{option}=True needs {needed}, but {engine} at {self._at} has {found} and would "
            "ignore it; leave it out, or ask another engine",
            endpoint=self.endpoint,
            option=option,
            needed=needed,
            found=found,
            engine=engine,
        )
