"""`docker-images plan`: which images may go, and why. Removes nothing.

Refuses to know what is kept: `docker_images.cleanup` does.
"""

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from docker_images.cleanup import CleanupPlan, CleanupReason, plan_cleanup, summed
from docker_images.cli.arguments import checked, which_engine
from docker_images.cli.ask import Answered, ask_each
from docker_images.cli.words import UsageError, moment, say, shown, size
from docker_images.images.models import ImageSummary
from docker_images.text import keyword

__all__ = ["arguments", "run"]

Plans: TypeAlias = list[tuple[str | None, CleanupPlan]]
"""The name of an engine, where there are several, and its plan."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.epilog = (
        "An image is removed only if all criteria that you give agree. Images that are or might be "
        "in use are kept. To remove what was shown:\n  docker-images plan ... --names | xargs -r "
        "docker rmi --no-prune"
    )
    which_engine(parser, several=True)
    goes = parser.add_argument_group("what to remove (at least one)")
    goes.add_argument(
        "--keep-latest", type=int, metavar="N", help="all but the N newest of each repository"
    )
    goes.add_argument(
        "--older-than",
        type=checked(moment),
        metavar="WHEN",
        help="images made before this: an age such as 24h or 7d, 2026-01-31, "
        "2026-01-31T00:00:00Z, or seconds since 1970",
    )
    goes.add_argument("--dangling-only", action="store_true", help="images without a tag or digest")
    goes.add_argument(
        "--only-reference",
        action="append",
        metavar="PATTERN",
        help="images with such names; can be repeated",
    )
    stays = parser.add_argument_group("what to keep")
    stays.add_argument(
        "--keep-reference",
        action="append",
        metavar="PATTERN",
        help="images with such a name; can be repeated",
    )
    stays.add_argument(
        "--keep-label",
        action="append",
        metavar="KEY[=VALUE]",
        help="images with this label; can be repeated",
    )
    form = parser.add_argument_group("output").add_mutually_exclusive_group()
    form.add_argument("--names", action="store_true", help="arguments for docker rmi, one per line")
    form.add_argument(
        "--json", action="store_true", help="one JSON object; an array for several engines"
    )
    # The question is always that for the whole list.
    parser.set_defaults(all=True, dangling=None, label=None, exclude_label=None, reference=None)
    parser.set_defaults(before=None, since=None, until=None, filters=[])


def run(options: argparse.Namespace) -> int:
    """Print the plan; the exit status is 1 where one of several engines failed, otherwise 0."""
    several = len({*(options.engines or ())}) > 1
    if options.names and several:
        raise UsageError(
            "--names takes one engine, because docker rmi talks to one; plan each by itself"
        )
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
    labels: list[str] = options.keep_label or []
    answered, status = ask_each(options, wish=("shared_size",), labels=labels, containers=True)
    plans: Plans = [(one.engine, _plan(one, policy)) for one in answered]
    matched = {
        ("keep_label", label) for one in answered for label in labels if one.labelled.get(label)
    }
    # What one engine has and another has not is no typo.
    for unmatched in plans[0][1].unmatched if plans else ():
        if unmatched not in matched and all(unmatched in plan.unmatched for _, plan in plans):
            argument, text = unmatched
            say(f"warning: {keyword(argument, repr(text))} matches no image")
    if options.names:
        sys.stdout.write("".join(f"{name}\n" for _, plan in plans for name in plan.names))
    elif options.json:
        from docker_images.cli.forms import write_value

        told = [_as_json(engine, plan) for engine, plan in plans]
        write_value(told if several else told[0])
    else:
        _print(plans)
    return status


def _plan(answered: Answered, policy: dict[str, Any]) -> CleanupPlan:
    labelled = [image for images in answered.labelled.values() for image in images]
    return plan_cleanup(answered.images, keep_images=labelled, **policy)


def _as_json(engine: str | None, plan: CleanupPlan) -> dict[str, object]:
    return ({} if engine is None else {"engine": engine}) | {
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
        "unmatched": plan.unmatched,
    }


def _code(reason: CleanupReason) -> str:
    return reason.name.lower().replace("_", "-")


def _print(plans: Plans) -> None:
    from docker_images.cli.table import Column, show, write

    columns = [
        Column("IMAGE", "1", name=True),
        Column("ID", "33"),
        Column("PLAN"),
        Column("WHY", folds=" "),
        Column("SIZE", right=True),
    ]
    if any(engine is not None for engine, _ in plans):
        columns.append(Column("ENGINE"))
    rows: list[list[str]] = []
    for engine, plan in plans:
        for one in plan.remove:
            what = "remove" if one.whole else "untag"
            rows += _rows(one.names, one.image, what, one.reason, engine)
        for kept in plan.keep:
            names = kept.image.repo_tags or kept.image.repo_digests
            rows += _rows(names, kept.image, "keep", kept.reason, engine)
    show(columns, rows)
    if plans:
        write([f"{_outcome([plan for _, plan in plans])}\n"])


def _outcome(plans: list[CleanupPlan]) -> str:
    """What comes of it, as the last line."""
    removed = [one for plan in plans for one in plan.remove]
    if not removed:
        return "nothing to remove"
    whole = [one.image.size for one in removed if one.whole]
    if not whole:
        return "frees nothing: only names are removed"
    least = summed(plan.frees_at_least for plan in plans)
    most = summed(plan.frees_at_most for plan in plans)
    if most is None:
        return f"frees about {size(sum(whole))}"
    if least is None:
        return f"frees at most {size(most)}"
    return "frees " + " to ".join(dict.fromkeys([size(least), size(most)]))


def _rows(
    names: Iterable[str],
    image: ImageSummary,
    what: str,
    reason: CleanupReason,
    engine: str | None,
) -> list[list[str]]:
    """A line for each name; the first one has the size."""
    texts = [shown(name) for name in names if name != image.id] or ["<none>"]
    where = [] if engine is None else [shown(engine)]
    return [
        [
            text,
            shown(image.short_id),
            what,
            reason.value,
            "" if number else size(image.size),
            *where,
        ]
        for number, text in enumerate(texts)
    ]
