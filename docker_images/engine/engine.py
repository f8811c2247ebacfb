"""One engine, asked in an API version that both sides speak.

Knows the conversation: which version to ask in, what an answer teaches about the engine, when to
ask again, and when an engine would ignore what is asked. What each version can do is known in
`versions`; the network, in `transport`.
"""

import logging
from time import monotonic
from typing import TypeVar

import anyio
import httpx
import msgspec
from anyio.lowlevel import checkpoint

from docker_images.address import Endpoint
from docker_images.engine import responses, versions
from docker_images.engine.reading import read_images
from docker_images.engine.request import build_request, origin
from docker_images.engine.responses import EngineInfo
from docker_images.engine.versions import NEWEST, OLDEST, ApiVersion, Pin
from docker_images.errors import (
    ApiVersionError,
    DockerImagesError,
    EngineResponseError,
    ResponseFormatError,
    UnsupportedByEngineError,
)
from docker_images.images.models import ImageSummary
from docker_images.query import Option, Query
from docker_images.text import keyword, printable
from docker_images.transport import Body, EngineTransport, body_of
from docker_images.transport.deadline import stage
from docker_images.transport.pool import MAX_RESPONSE_BYTES

__all__ = ["Engine"]

MAX_ERROR_BODY = 64 * 1024
# So long first calls wait for the answer to one of them before another one asks.
PATIENCE = 2.0  # seconds

_log = logging.getLogger("docker_images")

Images = list[ImageSummary]
Options = tuple[Option, ...]
Answer = tuple[httpx.Response, ApiVersion]
"""A list, and the version that it is in."""
T = TypeVar("T")


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
        self,
        transport: EngineTransport,
        pin: Pin | None = None,
        *,
        connect_timeout: float | None = 10.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self.endpoint: Endpoint = transport.endpoint
        self.transport = transport
        self.pin = pin
        self.version: ApiVersion | None = None
        """The version to ask in next; None until there was an answer."""
        self.newest: ApiVersion | None = None
        """The newest version of the engine, if it has told."""
        self.describes: bool | None = None
        """Whether its lists have descriptors, as those of the containerd image store have from API
        1.48 on; None until a list has told."""
        self.refuses_lookups = False
        """Whether something in front of the engine lets lists through, but no single image."""
        self._told = b""  # how it told, so that the same need not be read again
        self._last: httpx.Headers | None = None
        self._heard = 0.0  # when that came, by `time.monotonic`
        self._at = str(self.endpoint)
        self._origin = origin(self.endpoint)
        self._connect_timeout = connect_timeout
        self._max_response_bytes = max_response_bytes

    @property
    def info(self) -> EngineInfo | None:
        """Who gave the last answer; None before one."""
        return None if self._last is None else responses.engine_info(self._last)

    @property
    def speaks(self) -> ApiVersion | None:
        """The version that answers are in, pinned or negotiated; None until one has told it."""
        if self.pin is None:
            return self.version
        return versions.spoken(self.pin.version, self.newest) if self.newest else self.pin.version

    async def list(self, query: Query) -> Images:
        """One list; the engine honours the whole question, or it is an error."""
        try:
            return await self._list(query)
        except EngineResponseError as error:
            if not responses.is_passing(error.status, error.message):
                raise
        _log.info("%s lost an image while it made the list; asking again", self._at)
        return await self._list(query)

    async def _list(self, query: Query) -> Images:
        params, options = query.asked.params, query.asked.options
        response, version = await self._ask(params, options)
        body = body_of(response)
        # To read the headers takes 25 function calls, which the plain list need not pay.
        podman = bool(params or query.conditions) and responses.is_podman(response.headers)
        try:
            images, described = await read_images(
                body,
                query,
                self._max_response_bytes,
                podman=podman,
                virtual_size=not versions.has(version, "no virtual size"),
            )
        except ValueError as error:
            if isinstance(error, DockerImagesError):
                raise
            compressed = "content-encoding" in response.headers
            reason = "it is compressed, which was not asked for" if compressed else str(error)
            raise self._unreadable("with a list that", reason) from error
        finally:
            await body.aclose()
        if podman or described is not None:
            self.describes = bool(described)
        if options and versions.has(version, "descriptors"):
            self._check_store(options, images)
        return images

    async def get(self, path: str, params: str = "", *, type: type[T]) -> T:
        """The JSON of `GET path?params`, in the version that both speak.

        Raises `EngineResponseError` for a status that is not 200, otherwise as `list` does.
        """
        response = await self._get(f"/v{self.speaks or NEWEST}{path}", params)
        await self._check_status(response)
        said = await self._drain(response, limit := self._max_response_bytes)
        try:
            if len(said) > limit:
                raise ValueError(f"it is longer than max_response_bytes={limit}")
            return msgspec.json.decode(said, type=type)
        except (ValueError, RecursionError) as error:
            raise self._unreadable(f"{path} with something that", str(error)) from error

    async def ping(self) -> EngineInfo:
        """Who answers `GET /_ping`."""
        response = await self._get("/_ping")
        await self._check_status(response)
        await body_of(response).aclose()
        info = responses.engine_info(response.headers)
        if self._learn(response) is None and self.newest is None:
            await self._look_up("/version")
        if info.api_version is None:
            info = msgspec.structs.replace(info, api_version=self.newest)
        return info

    async def open(self, path: str, params: str = "") -> Body:
        """The body of `GET path?params`, as a stream that takes no turn and has no end.

        The caller closes it. Raises `EngineResponseError` for a status that is not 200.
        """
        response = await self._get(f"/v{self.speaks or NEWEST}{path}", params, takes_turn=False)
        self._learn(response)
        await self._check_status(response)
        return body_of(response)

    def time_at(self, moment: float) -> float | None:
        """What the engine's clock said at a moment of `time.monotonic`, or a bit less.

        In seconds since 1970; None where its answers have no `Date`. No clock is compared with
        another machine's: `Date` less what passed since, less a second.
        """
        date = None if self._last is None else self._last.get("date")
        if date is None:
            return None
        from email.utils import parsedate_to_datetime  # only watches need it

        try:
            return parsedate_to_datetime(date).timestamp() - (self._heard - moment) - 1
        except (ValueError, OverflowError):
            return None

    async def oldest(self) -> ApiVersion | None:
        """The oldest version the engine speaks, from `GET /version`; None where it does not say."""
        response = await self._get("/version")
        body = await self._drain(response)
        try:
            return ApiVersion.parse(msgspec.json.decode(body, type=_Version).min_api_version)
        except (ValueError, RecursionError):
            return None

    async def _ask(self, params: str, options: Options) -> Answer:
        """The answer to `GET /images/json?params`, and its version.

        It is a 200 that honours all options; anything else is an error. The body is not read yet,
        and the caller closes the response.
        """
        if (pin := self.pin) is not None:
            if option := versions.first_missing(options, pin.version):
                raise self.unsupported(option, f"API {pin.version}, pinned by {pin.source}")
            return await self._ask_in(pin.version, params, options)
        version = self.version
        if version is None:
            return await self._ask_first(params, options)
        if options and versions.first_missing(options, version):
            version = NEWEST  # the engine may have been upgraded
        return await self._ask_in(version, params, options)

    async def _ask_first(self, params: str, options: Options) -> Answer:
        """One call leads, the others wait for the head of its answer.

        Where it fails or is cancelled, the next one leads; also where it takes too long, as the
        engine may never answer.
        """
        pool = self.transport.pool
        stage.set("waiting for another call to find out the API version")
        while self.version is None and (leading := pool.leading) is not None:
            with anyio.move_on_after(PATIENCE):
                await leading.wait()
            if pool.leading is leading:
                break
        if self.version is not None:
            return await self._ask(params, options)
        mine = pool.leading = anyio.Event()
        try:
            return await self._ask_in(NEWEST, params, options)
        finally:
            if pool.leading is mine:
                pool.leading = None
            mine.set()

    async def _ask_in(self, version: ApiVersion, params: str, options: Options) -> Answer:
        response = await self._get_list(version, params)
        try:
            if response.status_code == 400:
                version = await self._other_version(response, version, options)
                self.version = version
                response = await self._get_list(version, params)
            return response, await self._check(response, version, options)
        except BaseException:
            await body_of(response).aclose()
            raise

    async def _get_list(self, version: ApiVersion, params: str) -> httpx.Response:
        response = await self._get(f"/v{version}/images/json", params)
        told = self._learn(response)
        if told is None and self.version is None and response.status_code == 200:
            self.version = version  # it works, though nobody says why
        return response

    async def _other_version(
        self, response: httpx.Response, asked: ApiVersion, options: Options
    ) -> ApiVersion:
        """The version to ask in after a 400, or the error that the 400 is.

        A bad filter is a 400 too, with the same header: only another version is worth a try.
        """
        body = await self._drain(response)
        message = responses.error_message(body)
        refused = versions.is_refusal(message)
        if (pin := self.pin) is not None:
            if not refused:
                raise responses.refusal(400, body, self.endpoint)
            raise ApiVersionError(
                f"{self._at} refuses API {pin.version}, pinned by {pin.source}: {message}; "
                "leave the version out to have it negotiated",
                endpoint=self.endpoint,
            )
        theirs = _newest(response)
        if theirs is None and refused:
            theirs, _ = await self._look_up("/_ping", "/version")
            if theirs is None and (theirs := versions.newest_in(message)):
                self._know(theirs)
        version = versions.agree(theirs) if theirs else asked
        if version is None or (version == asked and refused):
            raise self._nothing_in_common(theirs, message)
        if version == asked:
            raise responses.refusal(400, body, self.endpoint)
        if option := versions.first_missing(options, version):
            raise self.unsupported(option, f"API {theirs}")
        return version

    async def _check(
        self, response: httpx.Response, asked: ApiVersion, options: Options
    ) -> ApiVersion:
        """Let only a list pass that honours every option; the version that it is in."""
        await self._check_status(response)
        if self.newest is not None and self.version is None and self.pin is None:
            raise self._nothing_in_common(self.newest, "")
        if not options:
            return self.speaks or asked
        theirs, podman = _newest(response), responses.is_podman(response.headers)
        if theirs is None and not podman:
            theirs, podman = await self._look_up("/version")
        if podman:
            raise self.unsupported(options[0], "no such option")
        if theirs is None:
            raise self.unsupported(options[0], "an unknown API version")
        version = versions.spoken(asked, theirs)
        if option := versions.first_missing(options, version):
            raise self.unsupported(option, f"API {version}")
        return version

    def _check_store(self, options: Options, images: Images) -> None:
        """Refuse a list that was to have manifests, but comes from a store that ignores them."""
        option = next((option for option in options if option in versions.NEED_CONTAINERD), None)
        if option and images and not any(image.descriptor for image in images):
            raise self.unsupported(option, "another image store", "the containerd image store")

    def _learn(self, response: httpx.Response) -> ApiVersion | None:
        """Take note of who answered; the newest version of the engine, if the answer tells."""
        self._last, self._heard = response.headers, monotonic()
        told = responses.told_version(response.headers.raw)
        if told and told == self._told:
            return self.newest
        theirs = responses.read_version(told)
        if theirs is not None:
            self._told = told
            self._know(theirs)
        return theirs

    def _know(self, newest: ApiVersion) -> None:
        if newest != self.newest:
            _log.info("%s speaks API %s; before: %s", self._at, newest, self.newest or "unknown")
        self.newest, self.version = newest, versions.agree(newest)

    async def _get(self, path: str, params: str = "", *, takes_turn: bool = True) -> httpx.Response:
        request = build_request(
            self._origin, path, params, self.endpoint.headers, self._connect_timeout, takes_turn
        )
        return await self.transport.handle_async_request(request)

    async def _look_up(self, *paths: str) -> tuple[ApiVersion | None, bool]:
        """The engine's newest version, and whether it is Podman, from the first path that tells."""
        for path in paths:
            response = await self._get(path, takes_turn=False)  # its call may have one
            body = await self._drain(response)
            if response.status_code != 200:
                continue
            if theirs := self._learn(response):
                return theirs, responses.is_podman(response.headers)
            try:
                answer = msgspec.json.decode(body, type=_Version)
                names = [component.name for component in answer.components or ()]
                theirs = ApiVersion.parse(answer.api_version)
            except (ValueError, RecursionError):
                continue
            self._know(theirs)
            return theirs, "Podman Engine" in names
        return None, False

    async def _check_status(self, response: httpx.Response) -> None:
        if (status := response.status_code) != 200:
            raise responses.refusal(status, await self._drain(response), self.endpoint)

    async def _drain(self, response: httpx.Response, limit: int = MAX_ERROR_BODY) -> bytes:
        """The beginning of a body, enough for what an engine has to say beside lists."""
        said = bytearray()
        body = body_of(response)
        try:
            async for data in body:
                said += data
                if len(said) > limit:
                    break
                await checkpoint()  # the transport waits only when it must
        finally:
            await body.aclose()
        return bytes(said)

    def _unreadable(self, what: str, reason: str) -> ResponseFormatError:
        text = f"{self._at} answered {what} cannot be read: {printable(reason)}"
        step = "is this the address of a Docker API?"
        return ResponseFormatError(f"{text}; {step}", endpoint=self.endpoint)

    def _nothing_in_common(self, theirs: ApiVersion | None, message: str) -> ApiVersionError:
        there = message or f"up to {theirs}"
        return ApiVersionError(
            f"{self._at} and this library share no API version: here {OLDEST} to {NEWEST}, "
            f"there {there}; upgrade the older of the two",
            endpoint=self.endpoint,
        )

    def unsupported(
        self,
        option: str,
        found: str,
        needed: str | None = None,
        value: str = "True",
        step: str = "leave it out, or ask another engine",
    ) -> UnsupportedByEngineError:
        """The error for an option that this engine would ignore."""
        engine = str(self.info or "the engine")
        needed = needed or f"API {versions.NEEDS[option]}"
        return UnsupportedByEngineError(
            f"{keyword(option, value)} needs {needed}, but {engine} at {self._at} has {found} and "
            f"would ignore it; {step}",
            endpoint=self.endpoint,
            option=option,
            needed=needed,
            found=found,
            engine=engine,
        )


def _newest(response: httpx.Response) -> ApiVersion | None:
    return responses.read_version(responses.told_version(response.headers.raw))
