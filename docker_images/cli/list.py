"""`docker-images list`: the images, as a table, as ids, as JSON or as a tree.

Knows the options, and which form is meant. Refuses to know how a form looks.
"""

import argparse
from typing import NoReturn

from docker_images.cli.arguments import which_engine, which_images
from docker_images.cli.ask import ask_each
from docker_images.cli.rows import SORTS, Found, images_in_order
from docker_images.cli.words import PROG, UsageError

__all__ = ["add_options", "arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line may say."""
    parser.add_argument(
        "name", nargs="?", metavar="REPOSITORY[:TAG]", help="only images with this name or pattern"
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """All but the name, which has the place of a subcommand."""
    parser.add_argument("--version", nargs=0, action=_Version, help="show the version and exit")
    which_engine(parser, several=True)
    which_images(parser)

    group = parser.add_argument_group("output")
    forms = group.add_mutually_exclusive_group()
    for names, form, text in (
        (("-q", "--quiet"), "ids", "only ids, one per line"),
        (("--json",), "json", "one JSON array"),
        (("--jsonl",), "jsonl", "one JSON object per line"),
        (("--tree",), "tree", "each image with its platforms (Docker 27.2, containerd store)"),
    ):
        forms.add_argument(*names, dest="form", action="store_const", const=form, help=text)
    forms.add_argument(
        "--format", dest="form", type=_form, metavar="FORM", help="json (same as --jsonl) or table"
    )
    group.add_argument("--no-trunc", action="store_true", help="full ids")
    group.add_argument("--digests", action="store_true", help="also show digests")
    group.add_argument(
        "--shared-size", action="store_true", help="also show bytes shared with others (Docker 23)"
    )
    group.add_argument(
        "--manifests",
        action="store_true",
        help="also show available platforms (Docker 27.2, containerd image store)",
    )
    group.add_argument("--sort", choices=tuple(SORTS), help="order; default: newest first")
    group.add_argument("--reverse", action="store_true", help="reverse the order")
    group.add_argument(
        "--total", action="store_true", help="also show the number of images and their size"
    )


def _form(text: str) -> str:
    if text in ("json", "table"):
        return {"json": "jsonl"}.get(text, text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a format; use json or table, and jq instead of a Go template: "
        f"{PROG} --jsonl | jq -r '.RepoTags[], .Id'"
    )


class _Version(argparse.Action):
    """Looks the version up only when somebody asks."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("docker-images")
        except PackageNotFoundError:
            found = "(not installed)"
        print(f"{PROG} {found}")
        parser.exit()


def run(options: argparse.Namespace) -> int:
    """List; the exit status is 1 where one of several engines failed."""
    form = options.form or "table"
    if options.total and form not in ("table", "tree"):
        raise UsageError("--total only works with the table and --tree; leave it out, or use jq")
    if options.digests and form == "tree":
        raise UsageError("--digests does not work with --tree; leave one of them out")
    answered, status = ask_each(
        options,
        wish=("manifests", "containers") if form == "tree" else (),
        shared_size=options.shared_size,
        manifests=options.manifests,
    )
    found = [Found(one.engine, image) for one in answered for image in one.images]
    if form in ("json", "jsonl"):
        from docker_images.cli import forms

        write = forms.write_json if form == "json" else forms.write_json_lines
        write(images_in_order(found, options))
    else:
        from docker_images.cli import views

        {"ids": views.ids, "table": views.table, "tree": views.tree}[form](found, options)
    return status
