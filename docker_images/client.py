"""The client: one question, one answer, and the API version that both sides speak.

Knows the order of things: what is asked, of whom, in which version, once more or not at all. What
the parts mean is known elsewhere: `query` (arguments), `versions`, `responses`, `decode`,
`normalise`, `failures`, and `transport`, which alone touches the network.
"""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from math import isfinite
from time import perf_counter
from types import EllipsisType, TracebackType
from typing import ParamSpec, Self, TypeVar

import httpx
from anyio.lowlevel import checkpoint

from docker_images.address import Endpoint
from docker_images.endpoint.hosts import check_arguments, check_host, resolve_endpoint
from docker_images.engine.engine import Engine
from docker_images.engine.responses import EngineInfo
from docker_images.engine.versions import ApiVersion, Pin, pin_in
from docker_images.errors import DockerImagesError, EngineTimeoutError, ResponseFormatError
from docker_images.images.decode import ImageDecoder
from docker_images.images.models import ImageSummary
from docker_images.images.normalise import normalise
from docker_images.images.order import OrderedImages
from docker_images.query import (
    FiltersArgument,
    LabelArgument,
    Query,
    ReferenceArgument,
    UntilArgument,
    build_query,
)
from docker_images.text import printable
from docker_images.transport.deadline import Turns, stage, time_limit
from docker_images.transport.failures import FOREIGN, translate
from docker_images.transport.pool import MAX_RESPONSE_BYTES, body_of, close, transport_to

__all__ = ["DockerClient"]

# The event loop gets its turn after this time and the step that is under way, of a millisecond or
# so, while a list is decoded.
BUDGET = 0.0005  # seconds
# Calls at once; the others wait for their turn. Each takes a connection, and a process may often
# open no more than 1024 files, on macOS 256.
MAX_CALLS = 100

_log = logging.getLogger("docker_images")

P = ParamSpec("P")
T = TypeVar("T")


class DockerClient:
    """Lists the images of one engine, from any task, event loop and thread.

        async with DockerClient() as client:
            images = await client.list_images()

    `host` and `context` choose the engine as `docker --host` and `docker --context` do; without
    them it is the one that the docker command would talk to. They are checked here, but the
    environment and docker's configuration are read at first use. A client may be made at import
    time, and used in several event loops, one after the other or at once.

    `api_version` pins the API version, as `DOCKER_API_VERSION` does: it is asked for as it is and
    never negotiated. `timeout` is the time for a whole call in seconds, None for no limit.
    `max_response_bytes` bounds the body of an answer. `transport` replaces ours: requests go to
    `http://docker/…`, and closing it stays with the caller.

    Raises `TypeError` or `ValueError` for arguments that cannot be right.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        context: str | None = None,
        api_version: str | ApiVersion | None = None,
        timeout: float | None = 60.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        check_arguments(host, context)
        if host is not None:
            check_host(host)
        if transport is not None and (host is not None or context is not None):
            raise ValueError("transport already leads to an engine; leave out host and context")
        if transport is not None and not isinstance(transport, httpx.AsyncBaseTransport):
            raise TypeError(f"transport must be an httpx.AsyncBaseTransport, not {transport!r}")
        if isinstance(max_response_bytes, bool) or not isinstance(max_response_bytes, int):
            raise TypeError(f"max_response_bytes must be an int, not {max_response_bytes!r}")
        if max_response_bytes <= 0:
            raise ValueError("max_response_bytes must be positive")
        if api_version is not None and not isinstance(api_version, ApiVersion):
            if not isinstance(api_version, str):
                raise TypeError(f"api_version must be a str such as '1.47', not {api_version!r}")
            api_version = ApiVersion.parse(api_version)
        self._host, self._context = host, context
        self._pin = Pin(api_version, "api_version=") if api_version else None
        self._timeout = _seconds(timeout)
        self._max_response_bytes = max_response_bytes
        self._transport = transport
        self._engines: list[Engine] = []  # the first counts, where several threads find one at once
        self._turns = Turns(MAX_CALLS)
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Calls that are under way may end; a new one is a `RuntimeError`.

        Closing twice does no harm. A transport of the caller's stays open.
        """
        self._closed = True
        if self._engines and self._transport is None:
            await self._engines[0].transport.aclose()

    @property
    def endpoint(self) -> Endpoint:
        """The engine's address and where it came from. Raises `EndpointError` if there is none."""
        return self._find().endpoint

    @property
    def api_version(self) -> ApiVersion | None:
        """The API version in use, pinned or negotiated; None until an answer has told it."""
        if not self._engines:
            return self._pin.version if self._pin else None
        engine = self._engines[0]
        if engine.pin is not None:
            return engine.pin.version
        return engine.version if engine.newest else None

    async def ping(self) -> EngineInfo:
        """Ask who is there: name, version, newest API version and operating system.

        Raises what `list_images` raises for an engine that cannot be reached or refuses.
        """
        return await self._within(..., self._find().ping)

    async def list_images(
        self,
        *,
        all: bool = False,
        dangling: bool | None = None,
        label: LabelArgument | None = None,
        exclude_label: LabelArgument | None = None,
        reference: ReferenceArgument | None = None,
        before: str | None = None,
        since: str | None = None,
        until: UntilArgument | None = None,
        filters: FiltersArgument | None = None,
        shared_size: bool = False,
        manifests: bool = False,
        identity: bool = False,
        timeout: float | EllipsisType | None = ...,
    ) -> list[ImageSummary]:
        """The images of the engine, newest first, then by id, then by size.

        The same question gets the same answer on every engine. An image is in the list if it
        passes all of these; each is for every engine, unless another version is named:

        `all`: also the intermediate images of the classic builder.
        `dangling`: True for images that no tag and no digest refers to, False for the others.
        `label`: `"key"`, `"key=value"`, `{"key": "value"}`, or several, all of which it has.
        `exclude_label`: as `label`, none of which it has.
        `reference`: a name or a pattern such as `"ghcr.io/team/*:1.*"`, or several, one of which
        matches one of its names, in the short or in the full form. It keeps all its names.
        `before`, `since`: the id or name of an image that is newer, or older.
        `until`: an aware datetime, a timedelta (ago) or seconds since 1970: created before.
        `filters`: filters of the engine itself, passed on as they are.

        And each has more to tell with:

        `shared_size`: bytes shared with other images (API 1.42, Docker 23; costs the engine time).
        `manifests`: what an image is made of (API 1.47, Docker 27.2, containerd image store).
        `identity`: where an image came from (API 1.54, Docker 29.3); includes `manifests`.

        `timeout`: seconds for this call in place of the client's, None for no limit.

        Raises `TypeError` or `ValueError` for bad arguments, before anything is sent;
        `UnsupportedByEngineError` where the engine would ignore an option; `EngineConnectionError`,
        `EngineTimeoutError`, `EngineResponseError`, `ApiVersionError` or `ResponseFormatError`, all
        of them `DockerImagesError`, for what goes wrong on the way.
        """
        query = build_query(
            all=all,
            dangling=dangling,
            label=label,
            exclude_label=exclude_label,
            reference=reference,
            before=before,
            since=since,
            until=until,
            filters=filters,
            shared_size=shared_size,
            manifests=manifests,
            identity=identity,
        )
        return await self._within(timeout, self._list, query)

    async def _within(
        self,
        timeout: float | EllipsisType | None,
        call: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Make a call under its deadline."""
        if self._closed:
            raise RuntimeError("this client is closed; make another one")
        seconds = self._timeout if timeout is ... else _seconds(timeout)
        stage.set("waiting for its turn")
        try:
            with time_limit(seconds):
                await self._turns.take()
                try:
                    return await call(*args, **kwargs)
                finally:
                    self._turns.give_back()
        except DockerImagesError:
            raise
        except TimeoutError:  # of the limit: others are DockerImagesErrors by now
            if seconds is None:
                raise
        doubt = "Is the engine overloaded or hung?"
        if self.endpoint.kind == "ssh":
            from docker_images.transport.ssh import by_hand  # 40 ms that most users need not pay

            doubt = f"Does {by_hand(self.endpoint)!r} answer?"
        raise EngineTimeoutError(
            f"{self.endpoint} took longer than {seconds:g} s; the call was {stage.get()}. "
            f"{doubt} timeout= gives it more time",
            endpoint=self.endpoint,
            stage=stage.get(),
            seconds=seconds,
        )

    async def _list(self, query: Query) -> list[ImageSummary]:
        engine = self._find()
        response, version = await engine.ask(query.params, query.options)
        body = body_of(response)
        try:
            images = await self._read(body, query)
        except DockerImagesError:
            raise
        except FOREIGN as error:
            raise translate(error, self.endpoint) from error
        except ValueError as error:
            compressed = "content-encoding" in response.headers
            reason = "it is compressed, and nobody asked for that" if compressed else str(error)
            raise ResponseFormatError(
                f"{self.endpoint} answered with a list that cannot be read: {printable(reason)}",
                endpoint=self.endpoint,
            ) from error
        finally:
            await close(response, body)
        if query.options:
            engine.check_store(response, version, query.options, images)
        return images

    async def _read(self, body: AsyncIterator[bytes], query: Query) -> list[ImageSummary]:
        """Decode, normalise, select and order while the bytes arrive.

        Raises `ValueError` for what is no list of images, and what the transport raises.
        """
        decoder, images, received = ImageDecoder(), OrderedImages(), 0
        shared_size = "shared_size" in query.options

        def take(slice_: list[ImageSummary]) -> None:
            normalise(slice_, shared_size=shared_size)
            images.add(query.select(slice_))

        turn = perf_counter() + BUDGET
        async for data in body:
            received += len(data)
            if received > self._max_response_bytes:
                raise ValueError(f"it is longer than max_response_bytes={self._max_response_bytes}")
            decoder.feed(data)
            # Also where no slice is ready: bytes without end must not hold up the event loop.
            while (slice_ := decoder.step()) or perf_counter() > turn:
                take(slice_)
                if perf_counter() > turn:
                    await checkpoint()
                    turn = perf_counter() + BUDGET
        take(decoder.finish())
        for _ in images.settle():
            if perf_counter() > turn:
                await checkpoint()
                turn = perf_counter() + BUDGET
        return images.result

    def _find(self) -> Engine:
        """The engine that is asked, found at first use."""
        if not self._engines:
            self._engines.append(self._look_for_it())
        return self._engines[0]

    def _look_for_it(self) -> Engine:
        pin = self._pin or pin_in(os.environ)
        if self._transport is not None:
            endpoint = Endpoint(
                kind="tcp",
                host="http://docker",
                source="transport=",
                hostname="docker",
                port=80,
            )
            return Engine(endpoint, self._transport, pin)
        endpoint = resolve_endpoint(host=self._host, context=self._context)
        for warning in endpoint.warnings:
            _log.warning("%s", warning)
        return Engine(endpoint, transport_to(endpoint, self._max_response_bytes), pin)


def _seconds(timeout: float | EllipsisType | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    if not (isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout must be positive and finite, not {timeout}; None: no limit")
    return timeout
