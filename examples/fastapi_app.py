"""Serve the images of an engine: one client for the whole application.

pip install 'fastapi[standard]' docker-images
fastapi run examples/fastapi_app.py
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from docker_images import (
    DockerClient,
    DockerImagesError,
    EngineConnectionError,
    EngineTimeoutError,
    UnsupportedByEngineError,
)


class Image(BaseModel):
    """What this application tells of an image."""

    id: str
    tags: list[str]
    bytes: int
    created_at: datetime | None
    in_use: bool | None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with DockerClient(timeout=5) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


def client_of(request: Request) -> DockerClient:
    return cast("DockerClient", request.app.state.client)


@app.get("/images")
async def images(
    client: Annotated[DockerClient, Depends(client_of)], reference: str | None = None
) -> list[Image]:
    try:
        found = await client.list_images(reference=reference, containers=True)
    except ValueError as error:  # such as a bad pattern
        raise HTTPException(400, str(error)) from error
    return [
        Image(
            id=image.short_id,
            tags=[str(name) for name in image.tags],
            bytes=image.size,
            created_at=image.created_at,
            in_use=image.in_use,
        )
        for image in found
    ]


@app.exception_handler(DockerImagesError)
async def engine_failed(request: Request, error: DockerImagesError) -> JSONResponse:
    status = 502  # the engine answered, and not as it should
    if isinstance(error, EngineTimeoutError):
        status = 504
    elif isinstance(error, EngineConnectionError):
        status = 503
    elif isinstance(error, UnsupportedByEngineError):
        status = 501
    return JSONResponse({"error": str(error), "reason": error.reason}, status_code=status)
