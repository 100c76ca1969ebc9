"""One HTML page on a model or a sweep, complete in itself."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from dkmeans import __version__, plot
from dkmeans.data.outputs import replacing
from dkmeans.plot.diagnosis import cluster_sizes, diagnose
from dkmeans.plot.player import colors_of, player_data
from dkmeans.plot.scene import Scene, feature_names, scene_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dkmeans.kmeans import KMeans
    from dkmeans.record.history import History
    from dkmeans.sweeping import Sweep

_WIDE = 16  # features whose centers a table shows; more are in the picture alone
_LONG = 100  # lines of a table
_DPI = 144
_THEMES = ("light", "dark")


@dataclass(frozen=True)
class Cell:
    """A field of a table: its text, and how it stands out."""

    text: str
    color: tuple[str, str] | None = None
    shade: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A head and lines of fields."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Shot:
    """A picture for a light and for a dark page, as data URIs."""

    light: str
    dark: str
    width: int
    height: int
    alt: str


def model_report(
    model: KMeans, path: str | os.PathLike[str], X: Any = None, *, saved: str | None = None
) -> None:
    """Write a page on a fitted model.

    Parameters
    ----------
    path : of the HTML file, which appears whole or not at all, and replaces one that is there.
    X : data for a profile of the clusters, read in one pass; without them, no data are read.
    saved : where the model was saved, for the lines that load it.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    part = _model_part(model, X, saved)
    context = {
        "title": f"K-means: {model.n_clusters:,} clusters",
        "lead": _lead(model),
        "warnings": diagnose(model),
        "result": _result(model),
        "pictures": part.pop("main_pictures"),
        "player": part.pop("player"),
        "part": part,
    }
    _write(path, "model.html.j2", context)


def sweep_report(
    found: Sweep, path: str | os.PathLike[str], *, saved: dict[int, str] | None = None
) -> None:
    """Write a page on a sweep, and on the model that it chooses.

    Parameters
    ----------
    path : of the HTML file, which appears whole or not at all, and replaces one that is there.
    saved : where models were saved, by their numbers of clusters.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    k = _chosen_k(found)
    model = found.models[k]
    part = _model_part(model, None, (saved or {}).get(k))
    numbers = list(found.models)
    context = {
        "title": f"K-means: {numbers[0]:,} to {numbers[-1]:,} clusters",
        "lead": _lead(model),
        "choices": _choices(found),
        "table": _sweep_table(found),
        "pictures": list(_sweep_pictures(found)),
        "warnings": diagnose(model),
        "model_title": f"The model of {k:,} clusters",
        "player": part.pop("player"),
        "part": part,
    }
    part["cluster_pictures"] = part.pop("main_pictures") + part["cluster_pictures"]
    _write(path, "sweep.html.j2", context)


def _write(path: str | os.PathLike[str], template: str, context: dict[str, Any]) -> None:
    """Fill a template, in which everything from outside is text, and write the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("dkmeans.plot"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    script = _own("player.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template).render(
        version=__version__,
        style=Markup(_own("report.css")),
        script=Markup(script),
        script_hash=digest,
        **context,
    )
    with replacing(path, overwrite=True) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write(page)


def _own(name: str) -> str:
    """A file beside the templates, which is ours and needs no escaping."""
    return files("dkmeans.plot").joinpath("templates", name).read_text(encoding="utf-8")


def _model_part(model: KMeans, X: Any, saved: str | None) -> dict[str, Any]:
    """What the pages on models and on sweeps both say of a model."""
    scene = _scene(model)
    player = None if scene is None else player_data(model, scene)
    return {
        "main_pictures": list(_main_pictures(model, scene)),
        "clusters": _clusters(model),
        "cluster_pictures": list(_cluster_pictures(model)),
        "player": player,
        "player_lines": "" if player is None or scene is None else _player_lines(player, scene),
        "convergence_pictures": list(_convergence_pictures(model)),
        "steps": _steps(model.history_),
        "plan": _plan(model.history_),
        "plan_note": _PLAN_NOTE,
        "facts": _facts(model),
        "parameters": _parameters(model),
        "code": _code(saved),
    }


def _lead(model: KMeans) -> str:
    facts = model.history_.facts
    if facts is None:
        return f"{model.n_features_in_:,} features"
    return f"{facts.n_rows:,} rows of {facts.n_features:,} features, from {facts.source}"


def _scene(model: KMeans) -> Scene | None:
    """The sample of the history as it is seen, where there is one."""
    sample = model.history_.sample
    return None if sample is None or not len(sample) else scene_of(model)


def _result(model: KMeans) -> list[tuple[str, str]]:
    sizes = cluster_sizes(model)
    ended = {
        "converged": "converged: no center moves any more",
        "tol": "the centers moved by no more than tol",
        "max_iter": "max_iter was reached: not converged",
    }[model.stop_reason_]
    lines = [("Inertia", f"{model.inertia_:.9g}"), ("Iterations", f"{model.n_iter_:,}; {ended}")]
    if sizes:
        lines.append(("Cluster sizes", f"{min(sizes):,} to {max(sizes):,} rows"))
    return lines


def _facts(model: KMeans) -> list[tuple[str, str]]:
    facts = model.history_.facts
    if facts is None:
        return [("Features", f"{model.n_features_in_:,}")]
    names = feature_names(model)
    shown = ", ".join(names[:_WIDE]) + (f" and {len(names) - _WIDE:,} more" * (len(names) > _WIDE))
    weights = "a sample_weight for each row" if facts.weighted else "none"
    return [
        ("Data", facts.source),
        ("Rows", f"{facts.n_rows:,}"),
        ("Features", f"{facts.n_features:,}: {shown}"),
        ("Type", facts.dtype),
        ("Weights", weights),
    ]


def _parameters(model: KMeans) -> list[tuple[str, str]]:
    facts = model.history_.facts
    if facts is None:
        return [(name, repr(value)) for name, value in model.get_params(deep=False).items()]
    parameters = [(name, repr(value)) for name, value in facts.parameters.items()]
    return parameters + [(f"version of {name}", text) for name, text in facts.versions.items()]


_PLAN_NOTE = (
    "Planned memory is what the fit may take above what the process has already; the peak is that"
    " of the whole process until the fit ended, all that it held before included, and not that of"
    " worker processes. Fits of a sweep share their passes: each is counted once, with the first"
    " fit that took part in it."
)


def _plan(history: History) -> Table:
    """What was planned beside what happened."""
    facts, head = history.facts, ("", "planned", "happened")
    plan: dict[str, Any] = {} if facts is None else facts.plan
    most, pass_bytes = plan.get("max_passes"), plan.get("pass_bytes")
    read = None if most is None or pass_bytes is None else most * pass_bytes
    once = plan.get("residency") == "memory"
    rows = sum(i.rows_assigned for i in history)
    rate = f", {rows / history.seconds:,.0f} rows assigned a second" if history.seconds else ""
    peak = None if facts is None else facts.peak_bytes
    lines = [
        ("passes", "-" if most is None else f"at most {most:,}", f"{history.passes:,}"),
        ("bytes of a pass", _size(pass_bytes), ""),
        (
            "bytes read",
            _size(pass_bytes) if once else ("-" if read is None else f"at most {_size(read)}"),
            _size(history.bytes_read),
        ),
        ("memory", _size(plan.get("projected_bytes")), f"peak {_size(peak)}"),
        ("memory limit", _size(plan.get("limit_bytes")), ""),
        ("time", "-", f"{history.seconds:,.2f} s{rate}"),
    ]
    known = {"rows", "features", "clusters", "bytes a pass", "passes", "projected peak"}
    known.add("memory limit")
    others = [] if facts is None else [(n, v, "") for n, v in facts.plan_lines if n not in known]
    return Table(head, [[Cell(text) for text in line] for line in lines + others])


def _size(value: int | None) -> str:
    from dask.utils import format_bytes

    return "-" if value is None else format_bytes(value)


def _steps(history: History) -> Table:
    """The table of the history, without the middle of a long one."""
    head = ("step", "inertia", "shift", "smallest", "largest", "passes", "MB read", "seconds")
    runs, steps = len({i.run for i in history}) > 1, list(history)
    caption = ""
    if len(steps) > _LONG:
        caption = f"The first and the last {_LONG // 2} of {len(steps):,} steps."
        steps = [*steps[: _LONG // 2], *steps[-_LONG // 2 :]]
    rows = []
    for i in steps:
        name = f"{i.phase} {i.step}" + (f", run {i.run}" if runs and i.phase != "survey" else "")
        sizes = i.sizes
        texts = [
            name,
            _number(i.inertia),
            _number(i.shift),
            f"{min(sizes):,}" if sizes else "-",
            f"{max(sizes):,}" if sizes else "-",
            f"{i.passes:,}",
            f"{i.bytes_read / 1e6:,.1f}",
            f"{i.seconds:.3f}",
        ]
        rows.append([Cell(text) for text in texts])
    return Table(head, rows, caption)


def _number(value: float, digits: int = 6) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}g}"


def _clusters(model: KMeans) -> Table:
    """Sizes and, unless they are too many to read, centers in the units of the data."""
    sizes, colors = cluster_sizes(model), colors_of(model.n_clusters)
    names, centers = feature_names(model), np.asarray(model.cluster_centers_, np.float64)
    names = names if len(names) <= _WIDE else []
    spread = np.ptp(centers, axis=0)
    shades = (centers - centers.min(axis=0)) / np.where(spread > 0, spread, 1)
    shown = min(len(centers), _LONG)
    rows = []
    for i in range(shown):
        line = [Cell(str(i), color=colors[i])]
        if sizes:
            line += [Cell(f"{sizes[i]:,}"), Cell(f"{sizes[i] / max(1, sum(sizes)):.1%}")]
        line += [
            Cell(_number(centers[i, j], 4), shade=float(shades[i, j])) for j in range(len(names))
        ]
        rows.append(line)
    counted = ["rows", "share"] if sizes else []
    what = "Centers, in the units of the data" if names else "Sizes"
    more = f"; the first {shown} of {len(centers):,} clusters" if shown < len(centers) else ""
    return Table(["cluster", *counted, *names], rows, f"{what}{more}.")


def _player_lines(player: dict[str, Any], scene: Scene) -> str:
    points = len(player["points"])
    text = f"{points:,} rows of the sample that the fit kept, in the colours of their clusters."
    if not scene.view.is_whole:
        text += " All features are projected onto two; stars are the centers."
    return text + " Where iterations are many, the later ones are shown at growing distances."


def _code(saved: str | None) -> str:
    first = "" if saved else '# model.save("model.npz") writes the model\n'
    return (
        f"from dkmeans import KMeans\n\n{first}"
        f"model = KMeans.load({saved or 'model.npz'!r})\n"
        "labels = model.predict(X)  # X: an array, a Dask collection, or the path of a Zarr or"
        " Parquet store\n"
    )


def _shot(draw: Callable[[str], Any], alt: str) -> Shot:
    """A picture in both themes."""
    encoded, size = {}, (0, 0)
    for theme in _THEMES:
        figure: Figure = draw(theme).figure
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=_DPI, facecolor=figure.get_facecolor())
        data = file.getvalue()
        size = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])  # of the head of a PNG
        encoded[theme] = "data:image/png;base64," + base64.b64encode(data).decode()
    return Shot(encoded["light"], encoded["dark"], size[0] // 2, size[1] // 2, alt)


def _main_pictures(model: KMeans, scene: Scene | None) -> Iterator[Shot]:
    """The rows of the sample by cluster, over the cells of the centers where these are true."""
    if scene is None:
        return
    draw = plot.voronoi if scene.view.is_whole else plot.clusters
    yield _shot(lambda theme: draw(model, theme=theme), "Rows of a sample by cluster")


def _cluster_pictures(model: KMeans) -> Iterator[Shot]:
    yield _shot(lambda theme: plot.profiles(model, theme=theme), "Centers of all clusters")


def _convergence_pictures(model: KMeans) -> Iterator[Shot]:
    if any(i.phase == "lloyd" for i in model.history_):
        yield _shot(lambda theme: plot.convergence(model, theme=theme), "Inertia by iteration")


def _chosen_k(found: Sweep) -> int:
    """The number of clusters that the first criterion with an opinion chooses."""
    chosen = (found.best_by(name) for name in found.criteria)
    return next((k for k in chosen if k is not None), next(iter(found.models)))


def _choices(found: Sweep) -> list[tuple[str, str]]:
    chosen = [(name, found.best_by(name)) for name in found.criteria]
    return [
        (f"Best by {name.replace('_', ' ')}", "none" if k is None else f"{k:,} clusters")
        for name, k in chosen
    ]


def _sweep_table(found: Sweep) -> Table:
    """The sweep's table, with what each criterion chooses set apart."""
    table = found.table
    head = ["clusters", *(str(name).replace("_", " ") for name in table.columns)]
    best = {("inertia" if c == "knee" else c, found.best_by(c)) for c in found.criteria}
    rows = []
    for k, line in zip(found.models, table.to_dict("records"), strict=True):
        cells = [
            Cell(_number(v) if isinstance(v, float) else str(v), best=(name, k) in best)
            for name, v in line.items()
        ]
        rows.append([Cell(str(k)), *cells])
    return Table(head, rows)


def _sweep_pictures(found: Sweep) -> Iterator[Shot]:
    yield _shot(lambda theme: plot.elbow(found, theme=theme), "Inertia by number of clusters")
