"""`docker-images plan`: which images may go, and why. Removes nothing.

Refuses to know what is kept: `docker_images.cleanup` does.
"""

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from docker_images.cleanup import CleanupPlan, CleanupReason, plan_cleanup
from docker_images.cli.arguments import checked, which_engine
from docker_images.cli.ask import ask_one
from docker_images.cli.words import moment, shown, size
from docker_images.images.models import ImageSummary

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.epilog = (
        "An image goes only where everything that is said about what goes agrees. One that is in "
        "use, or may be, is kept. 'docker-images plan ... --names | xargs -r docker rmi "
        "--no-prune' removes what was shown."
    )
    which_engine(parser)
    goes = parser.add_argument_group("what goes (at least one)")
    goes.add_argument(
        "--keep-latest", type=int, metavar="N", help="all but the N newest of each repository"
    )
    goes.add_argument(
        "--older-than",
        type=checked(moment),
        metavar="WHEN",
        help="what was made before: an age as 24h or 7d, 2026-01-31, 2026-01-31T00:00:00Z, or "
        "seconds since 1970",
    )
    goes.add_argument(
        "--dangling-only", action="store_true", help="what no tag and no digest refers to"
    )
    goes.add_argument(
        "--only-reference", action="append", metavar="PATTERN", help="such names; or others"
    )
    stays = parser.add_argument_group("what stays")
    stays.add_argument(
        "--keep-reference", action="append", metavar="PATTERN", help="such names; and others"
    )
    stays.add_argument(
        "--keep-label", action="append", metavar="KEY[=VALUE]", help="with this label; or another"
    )
    form = parser.add_argument_group("form").add_mutually_exclusive_group()
    form.add_argument("--names", action="store_true", help="what docker rmi takes, one a line")
    form.add_argument("--json", action="store_true", help="one JSON object")
    # The question is always that for the whole list.
    parser.set_defaults(all=True, dangling=None, label=None, exclude_label=None, reference=None)
    parser.set_defaults(before=None, since=None, until=None, filters=[])


def run(options: argparse.Namespace) -> int:
    """Print the plan; the exit status is 0, whatever is in it."""
    policy: dict[str, Any] = {
        "keep_latest": options.keep_latest,
        "older_than": options.older_than,
        "dangling_only": options.dangling_only,
        "only_reference": options.only_reference,
        "keep_reference": options.keep_reference,
        "keep_label": options.keep_label,
    }
    if isinstance(options.older_than, int | float):
        policy["older_than"] = datetime.fromtimestamp(options.older_than, UTC)
    plan_cleanup([], **policy)  # a policy that is none is found before anybody is asked
    plan = plan_cleanup(ask_one(options, wish=("shared_size",), containers=True), **policy)
    if options.names:
        sys.stdout.write("".join(f"{name}\n" for name in plan.names))
    elif options.json:
        from docker_images.cli.forms import write_value

        write_value(_as_json(plan))
    else:
        _print(plan)
    return 0


def _as_json(plan: CleanupPlan) -> dict[str, object]:
    return {
        "remove": [
            {
                "image": one.image,
                "names": one.names,
                "reason": _code(one.reason),
                "whole": one.whole,
            }
            for one in plan.remove
        ],
        "keep": [{"image": one.image, "reason": _code(one.reason)} for one in plan.keep],
        "frees_at_least": plan.frees_at_least,
        "frees_at_most": plan.frees_at_most,
    }


def _code(reason: CleanupReason) -> str:
    return reason.name.lower().replace("_", "-")


def _print(plan: CleanupPlan) -> None:
    from docker_images.cli.table import Column, show, write

    columns = [
        Column("IMAGE", "1", name=True),
        Column("ID", "33"),
        Column("PLAN"),
        Column("WHY", folds=" "),
        Column("SIZE", right=True),
    ]
    rows = [
        row
        for one in plan.remove
        for row in _rows(one.names, one.image, "remove" if one.whole else "untag", one.reason)
    ]
    for kept in plan.keep:
        names = kept.image.repo_tags or kept.image.repo_digests
        rows += _rows(names, kept.image, "keep", kept.reason)
    show(columns, rows)
    write([f"frees {_frees(plan)}\n"])


def _frees(plan: CleanupPlan) -> str:
    if plan.frees_at_most is None:
        return f"about {size(sum(one.image.size for one in plan.remove if one.whole))}"
    if plan.frees_at_least is None:
        return f"at most {size(plan.frees_at_most)}"
    return f"{size(plan.frees_at_least)} to {size(plan.frees_at_most)}"


def _rows(
    names: Iterable[str], image: ImageSummary, what: str, reason: CleanupReason
) -> list[list[str]]:
    """A line for each name; the first one has the size."""
    texts = [shown(name) for name in names if name != image.id] or ["<none>"]
    return [
        [text, shown(image.short_id), what, reason.value, "" if number else size(image.size)]
        for number, text in enumerate(texts)
    ]
