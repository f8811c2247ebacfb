"""How a question becomes a request: URL and headers. No I/O."""

import httpx

from docker_images.endpoint import Endpoint
from docker_images.errors import EndpointError

__all__ = ["build_request"]


def build_request(endpoint: Endpoint, path: str, params: str = "") -> httpx.Request:
    """`GET path?params` for an engine. Raises `EndpointError` for what cannot be sent."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "docker-images"}
    for name, value in endpoint.headers:
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise EndpointError(f"HttpHeaders of config.json has an impossible name: {name[:40]!r}")
        if not value.isprintable() or not value.isascii():
            raise EndpointError(f"HttpHeaders of config.json: the value of {name} cannot be sent")
        headers[name] = value
    url = f"{_origin(endpoint)}{endpoint.base_path}{path}"
    try:
        return httpx.Request("GET", f"{url}?{params}" if params else url, headers=headers)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise EndpointError(
            f"{endpoint.host} ({endpoint.source}) is no address: {error}"
        ) from error


def _origin(endpoint: Endpoint) -> str:
    if endpoint.kind != "tcp":
        return "http://docker"  # engines accept any name
    host = f"[{endpoint.hostname}]" if ":" in endpoint.hostname else endpoint.hostname
    return f"{'https' if endpoint.tls else 'http'}://{host}:{endpoint.port}"
