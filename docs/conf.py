"""How the pages become a site: `make docs`.

The Markdown is the source, and reads well without Sphinx. What Sphinx needs beside it is done here:
links to the files beside `docs/`, docstrings as they are written here, and names that lead to the
reference wherever they stand.
"""

import functools
import inspect
import operator
import re
import types
import typing
import zlib
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import msgspec
import msgspec.structs
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.inspect import stringify_signature

import docker_images

HERE = Path(__file__).parent

project = "docker_images"
author = "The docker_images authors"
project_copyright = f"%Y, {author}"
release = version = installed("docker-images")
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
]
exclude_patterns = ["inventories"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

html_theme = "furo"
html_title = f"docker_images {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/docker-images/docker-images/",
    "source_branch": "main",
    "source_directory": "docs/",
}
pygments_style = "friendly"
pygments_dark_style = "monokai"

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "no-value": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88

# What is not public has its whole path in signatures, and is no link. Of other projects are links
# what the inventories below name.
nitpick_ignore_regex = [("py:.*", r"docker_images\.\w+\.[\w.]+|(?!docker_images\.)\w+\..+")]


# Other projects' names, as plain text: `inventories/*.txt`. Written by hand, for a build needs no
# network: the first line is the address, the others are lines of an objects.inv (what
# `sphobjinv convert plain` prints), and only names that the reference uses.


def inventory(source: Path) -> tuple[str, str]:
    address, _, names = source.read_text().partition("\n")
    made = HERE.parent / "build" / "inventories" / f"{source.stem}.inv"
    made.parent.mkdir(parents=True, exist_ok=True)
    head = f"# Sphinx inventory version 2\n# Project: {source.stem}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    made.write_bytes(head.encode() + zlib.compress(names.encode()))
    return address, str(made)


intersphinx_mapping = {
    source.stem: inventory(source) for source in sorted((HERE / "inventories").glob("*.txt"))
}


# Docstrings are written for `help()` and editors: `names` between single backticks, programs
# indented, arguments and errors below `Args:` and `Raises:`, as Google has them.

SECTIONS = {"Args:": "param", "Raises:": "raises"}


def as_restructuredtext(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines))
    converted: list[str] = []
    field = ""
    program = False
    for line in text.split("\n"):
        if line and not line.startswith("    "):
            field, program = SECTIONS.get(line, ""), False
            if field:
                continue
        elif field:
            # One item a name; `*` and `**` belong to the call and not to the name.
            line = re.sub(r"^    \*{0,2}([\w.]+): ", rf":{field} \1: ", line)
        elif line and not program:
            converted += [".. code-block:: python", ""]
            program = True
        converted.append(line)
    lines[:] = converted


def signature(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, arguments: str, returns: str
) -> tuple[str, str] | None:
    """None of what users are given and never make; the fields of a Struct follow anyway."""
    if isinstance(thing, type) and issubclass(thing, msgspec.Struct | docker_images.ImagesWatch):
        return "", ""
    if inspect.isfunction(thing) and isinstance(thing.__annotations__.get("label"), str):
        # The names of types, which `TYPES` below links, and not what they stand for.
        found = inspect.signature(thing)
        parameters = [one for one in found.parameters.values() if one.name != "self"]
        text = stringify_signature(found.replace(parameters=parameters))
        arguments, _, returns = text.partition(" -> ")
        return arguments, returns
    return None


# At run time the fields of images allow what engines may send, such as null for a list; users see
# what type checkers see.


def told(hint: Any, default: Any) -> Any:
    kinds = typing.get_args(hint) if typing.get_origin(hint) in UNIONS else (hint,)
    kinds = tuple(kind.__origin__ if hasattr(kind, "__metadata__") else kind for kind in kinds)
    never_none = default is not msgspec.NODEFAULT
    return functools.reduce(
        operator.or_, (kind for kind in kinds if not (never_none and kind is types.NoneType))
    )


UNIONS = (typing.Union, types.UnionType)
for name in docker_images.__all__:
    if getattr(getattr(docker_images, name), "__struct_fields__", None):
        struct = getattr(docker_images, name)
        for field in msgspec.structs.fields(struct):
            struct.__annotations__[field.name] = told(field.type, field.default_factory)


# `DockerClient`, `DockerClient.list_images` and `list_images()` lead to the reference.


def known_names() -> dict[str, str]:
    known = {name: f"docker_images.{name}" for name in docker_images.__all__}
    for name in docker_images.__all__:
        for member in vars(getattr(docker_images, name)):
            if not member.startswith("_"):
                known[f"{name}.{member}"] = f"docker_images.{name}.{member}"
    for name in ("list_images", "watch_images", "ping"):
        known[name] = f"docker_images.DockerClient.{name}"
    known["sync.list_images"] = "docker_images.sync.list_images"
    known["EngineTransport"] = "docker_images.transport.EngineTransport"
    for name in ("FakeEngine", "FakeImage"):
        known[name] = f"docker_images.testing.{name}"
    return known


# In signatures, where annotations are text: see `docker_images.client`.
TYPES = {
    **{
        f"{name}Argument": f"docker_images.query.{name}Argument"
        for name in ("Filters", "Label", "Reference", "Until")
    },
    "EllipsisType": "types.EllipsisType",
    "Host": "docker_images.endpoint.hosts.Host",
}


class NamesLead(SphinxTransform):
    default_priority = 200
    known = known_names()

    def apply(self, **_: Any) -> None:
        for xref in self.document.findall(addnodes.pending_xref):
            if xref["reftarget"] in TYPES:
                xref["reftarget"], xref["reftype"] = TYPES[xref["reftarget"]], "obj"
        for literal in list(self.document.findall(nodes.literal)):
            target = self.known.get(literal.astext().removesuffix("()"))
            if target is None or isinstance(
                literal.parent, addnodes.pending_xref | nodes.reference
            ):
                continue
            xref = addnodes.pending_xref(
                refdomain="py", reftype="obj", reftarget=target, refdoc=self.env.docname
            )
            literal.replace_self(xref)
            xref += literal


def beside(app: Sphinx, docname: str, source: list[str]) -> None:
    """Files beside `docs/` are pages of the site, or of the repository."""
    up = "../" * (docname.count("/") + 1)
    for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"):
        source[0] = source[0].replace(f"]({up}{name}.md", f"]({up[3:]}{name.lower()}.md")
    source[0] = source[0].replace(
        f"]({up}", "](https://github.com/docker-images/docker-images/blob/main/"
    )


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", as_restructuredtext, priority=400)
    app.connect("autodoc-process-signature", signature)
    app.connect("source-read", beside)
    app.add_transform(NamesLead)
