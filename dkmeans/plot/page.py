"""One HTML page, complete in itself: pictures in both themes, and templates that are filled."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from markupsafe import Markup

from dkmeans import __version__
from dkmeans.data.outputs import replacing
from dkmeans.plot.canvas import new_figure
from dkmeans.plot.theme import theme_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 144
_SMALL = 5.6, 3.9  # inches
_THEMES = ("light", "dark")


@dataclass(frozen=True)
class Shot:
    """A picture for a light and for a dark page, as data URIs; its size in pixels and inches."""

    light: str
    dark: str
    width: int
    height: int
    inches: float
    alt: str


def shot(draw: Callable[..., Axes], what: Any, alt: str, *, own: bool = False) -> Shot:
    """A picture of something in both themes, small enough for a phone unless of its own size."""
    encoded = {}
    for theme in _THEMES:
        ax = None if own else new_figure(*_SMALL, theme_of(theme)).add_subplot()
        figure = cast("Figure", draw(what, theme=theme, ax=ax).figure)
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # of a name in a script without a font here
            figure.savefig(file, format="png", dpi=_DPI, facecolor=figure.get_facecolor())
        encoded[theme] = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    inches = figure.get_size_inches()
    width, height = (round(length * _DPI) for length in inches)
    return Shot(encoded["light"], encoded["dark"], width, height, round(float(inches[0]), 2), alt)


def write_page(path: str | os.PathLike[str], template: str, context: dict[str, Any]) -> None:
    """Fill a template and write the page."""
    script = own("controls.js", "player.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = filled(
        template,
        version=__version__,
        style=own("report.css"),
        script=script,
        script_hash=digest,
        **context,
    )
    with replacing(path, overwrite=True) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write(page)


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
