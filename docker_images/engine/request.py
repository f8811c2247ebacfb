"""How a question becomes a request: URL and headers. No I/O."""

from functools import lru_cache

import httpx

from docker_images.address import Endpoint
from docker_images.errors import EndpointError

__all__ = ["build_request", "origin"]


def origin(endpoint: Endpoint) -> str:
    """What stands before the path: `http://docker` where the name does not matter."""
    if endpoint.kind != "tcp":
        return "http://docker"  # engines accept any name
    host = f"[{endpoint.hostname}]" if ":" in endpoint.hostname else endpoint.hostname
    scheme = "https" if endpoint.tls else "http"
    return f"{scheme}://{host}:{endpoint.port}{endpoint.base_path}"


MAX_PARAMS = 60_000
"""httpx refuses a URL of more than 65536 characters, and engines one of a megabyte."""


# httpx takes 45 µs to make one, most of it for the URL. A client asks the same again and again, and
# the engines of a fleet are all asked the same.
@lru_cache(maxsize=128)
def build_request(
    origin: str,
    path: str,
    params: str = "",
    headers: tuple[tuple[str, str], ...] = (),
    connect_timeout: float | None = None,
    takes_turn: bool = True,
) -> httpx.Request:
    """`GET path?params` with the user's own headers; not to be changed, it is shared.

    What takes no turn need not wait until fewer than 100 requests are under way.
    Raises `ValueError` for a question that is too long, and `EndpointError`, which is one as well,
    for an address that cannot be sent.
    """
    own = (("Accept-Encoding", "identity"), ("User-Agent", "docker-images"))
    fields = httpx.Headers((*own, *headers), encoding="utf-8")
    url = f"{origin}{path}?{params}" if params else f"{origin}{path}"
    if len(params) > MAX_PARAMS:
        raise ValueError(
            f"the question takes {len(params)} characters, and at most {MAX_PARAMS} can be sent; "
            "ask for fewer or shorter labels and names"
        )
    extensions = {"timeout": {"connect": connect_timeout}, "turn": takes_turn}
    try:
        return httpx.Request("GET", url, headers=fields, extensions=extensions)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise EndpointError(f"{origin} is not a valid address: {error}") from error
