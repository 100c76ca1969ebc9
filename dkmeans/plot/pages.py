"""HTML from templates, in which all text from outside is escaped."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from markupsafe import Markup


def filled(template: str, **context: Any) -> str:
    """A template with everything in its place; what is no ``Markup`` stays text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dkmeans.plot"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template(template).render(**context)


def own(*names: str) -> Markup:
    """Files beside the templates, one after another, which are ours and need no escaping."""
    folder = files("dkmeans.plot").joinpath("templates")
    return Markup("".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names))
