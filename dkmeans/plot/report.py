"""One HTML page on a model or a sweep, complete in itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from dkmeans import plot
from dkmeans.data.outputs import check_output
from dkmeans.errors import DataError, OutputError
from dkmeans.plot import tables
from dkmeans.plot.diagnosis import diagnose, isolated
from dkmeans.plot.names import missing
from dkmeans.plot.page import Shot, shot, write_page
from dkmeans.plot.player import player_data
from dkmeans.plot.scene import Scene, feature_names, scene_of
from dkmeans.profiling import profile as profile_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

    from dkmeans.kmeans import KMeans
    from dkmeans.profiling import Profile
    from dkmeans.sweeping import Sweep

NEAREST = 3  # rows of each cluster in a profile


def model_report(
    model: KMeans,
    path: str | os.PathLike[str],
    X: Any = None,
    *,
    described: tables.Described | None = None,
    saved: str | None = None,
) -> None:
    """Write a page on a fitted model.

    Parameters
    ----------
    path : of the HTML file, which appears whole or not at all, and replaces one that is there.
    X : data for a profile of the clusters, read in one pass; without them, no data are read.
    described : the profile to show, where there is one already.
    saved : where the model was saved, for the lines that load it.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    _check_page(path)
    if X is not None:
        found = profile_of(model, X, nearest=NEAREST)
        rows = f", over the {found.sizes.sum():,} rows given as X"
        described = tables.Described(found, "Means", rows)
    part = _model_part(model, described, saved)
    context = {
        "title": f"K-means: {len(model.cluster_centers_):,} clusters",
        "lead": tables.lead(model),
        "warnings": (*diagnose(model), *_unreadable(model)),
        "result": tables.result(model),
        "pictures": part.pop("main_pictures"),
        "player": part.pop("player"),
        "part": part,
    }
    write_page(path, "model.html.j2", context)


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
    _check_page(path)
    k = _chosen_k(found)
    model = found.models[k]
    part = _model_part(model, None, (saved or {}).get(k))
    numbers = list(found.models)
    context = {
        "title": f"K-means: {numbers[0]:,} to {numbers[-1]:,} clusters",
        "lead": tables.lead(model),
        "choices": tables.choices(found),
        "table": tables.sweep_table(found),
        "pictures": list(_sweep_pictures(found)),
        "warnings": (*diagnose(model), *_unreadable(model)),
        "model_title": f"The model of {k:,} clusters",
        "player": part.pop("player"),
        "part": part,
    }
    spent = tables.Spent.by(found.models.values(), found.scores)
    part["plan"] = tables.plan(model.history_.facts, spent)
    part["plan_note"] += " Figures are those of the whole sweep, whose fits share their passes."
    part["cluster_pictures"] = part.pop("main_pictures") + part["cluster_pictures"]
    write_page(path, "sweep.html.j2", context)


def _check_page(path: str | os.PathLike[str]) -> None:
    """Raise an OutputError if no page can be written there."""
    if not os.fspath(path).lower().endswith((".html", ".htm")):
        raise OutputError(f"reports are written as .html, got {os.fspath(path)!r}")
    check_output(path, overwrite=True)


def _model_part(
    model: KMeans, described: tables.Described | None, saved: str | None
) -> dict[str, Any]:
    """What the pages on models and on sweeps both say of a model.

    Without a profile it is that of the rows that the history keeps.
    """
    scene, described = _scene(model), described or tables.described(model, NEAREST)
    profile = None if described is None else described.profile
    player = None if scene is None else player_data(model, scene)
    return {
        "main_pictures": list(_main_pictures(model, scene)),
        "clusters": tables.clusters(model, described),
        "nearest": None if profile is None else tables.nearest_rows(profile),
        "cluster_pictures": list(_cluster_pictures(profile or model, model)),
        "player": player,
        "player_lines": "" if player is None or scene is None else _player_lines(player, scene),
        "convergence_pictures": list(_convergence_pictures(model)),
        "steps": tables.steps(model.history_),
        "plan": tables.plan(model.history_.facts, tables.Spent.by([model])),
        "plan_note": tables.PLAN_NOTE,
        "facts": tables.facts(model),
        "parameters": tables.parameters(model),
        "code": _code(saved),
    }


def _unreadable(model: KMeans) -> Iterator[str]:
    """A sentence, where pictures cannot show the names of features."""
    names = [isolated(name) for name in feature_names(model) if missing(name)]
    if names:
        more = f" and {len(names) - 1} more" * (len(names) > 1)
        yield (
            f"Pictures have boxes in place of characters of the name {names[0]}{more}: no font that"
            " is installed here has them. Tables have the names."
        )


def _scene(model: KMeans) -> Scene | None:
    """The sample of the history as it is seen, where there is one."""
    sample = model.history_.sample
    return None if sample is None or not len(sample) else scene_of(model)


def _player_lines(player: dict[str, Any], scene: Scene) -> str:
    points = len(player["points"])
    text = f"{points:,} rows of the sample that the fit kept, in the colours of their clusters."
    if not scene.view.is_whole:
        text += " All features are projected onto two; stars are the centers."
    if player["left_out"]:
        text += f" {player['left_out']:,} of the later frames are left out."
    return text


def _code(saved: str | None) -> str:
    first = "" if saved else '# model.save("model.npz") writes the model\n'
    return (
        f"from dkmeans import KMeans\n\n{first}"
        f"model = KMeans.load({saved or 'model.npz'!r})\n"
        "labels = model.predict(X)  # X: an array, a Dask collection, or the path of a Zarr or"
        " Parquet store\n"
    )


def _main_pictures(model: KMeans, scene: Scene | None) -> Iterator[Shot]:
    """The rows of the sample by cluster, over the cells of the centers where these are true."""
    if scene is None:
        return
    draw = plot.voronoi if scene.view.is_whole else plot.clusters

    def drawn(model: KMeans, **options: Any) -> Axes:
        ax = draw(model, **options)
        cast("Legend", ax.get_legend()).remove()  # the table of clusters has the colours
        return ax

    yield shot(drawn, model, "Rows of a sample by cluster")


def _cluster_pictures(described: KMeans | Profile, model: KMeans) -> Iterator[Shot]:
    yield shot(plot.profiles, described, "Means of all clusters", own=True)
    with contextlib.suppress(DataError):  # where there are no silhouettes
        yield shot(plot.silhouette, model, "Silhouettes of a sample", own=True)


def _convergence_pictures(model: KMeans) -> Iterator[Shot]:
    if any(i.phase == "lloyd" for i in model.history_):
        yield shot(plot.convergence, model, "Inertia by iteration")


def _chosen_k(found: Sweep) -> int:
    """The number of clusters that the first criterion with an opinion chooses."""
    chosen = (found.best_by(name) for name in found.criteria)
    return next((k for k in chosen if k is not None), next(iter(found.models)))


def _sweep_pictures(found: Sweep) -> Iterator[Shot]:
    yield shot(plot.elbow, found, "Inertia by number of clusters")
    if "silhouette" in found.criteria and found.best_by("silhouette") is not None:
        yield shot(plot.silhouette_curve, found, "Silhouette by number of clusters")
