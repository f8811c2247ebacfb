"""What engines answered, as recorded: `recordings/*.json`, one file an engine."""

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def recording(name: str) -> dict[str, Any]:
    """`engine`, `api_version`, `min_api_version` and `exchanges` of one engine."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def paths(name: str) -> list[str]:
    """What was asked for, without the questions: `"GET /v1.41/images/json"`."""
    return list(dict.fromkeys(request.partition("?")[0] for request in exchanges(name)))


def of_path(name: str, path: str) -> dict[str, dict[str, Any]]:
    """The exchanges of one of these, by request."""
    return {
        request: exchange
        for request, exchange in exchanges(name).items()
        if request.partition("?")[0] == path
    }


@cache
def exchanges(name: str) -> dict[str, dict[str, Any]]:
    """The exchanges by request, such as `"GET /_ping"`."""
    return {exchange["request"]: exchange for exchange in recording(name)["exchanges"]}
