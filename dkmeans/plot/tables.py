"""Tables and lists of a report: what was clustered and how, what came out, what it cost."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dkmeans._typing import Floats
from dkmeans.plot.diagnosis import isolated
from dkmeans.plot.player import colors_of
from dkmeans.plot.scene import feature_names
from dkmeans.profiling import sample_profile
from dkmeans.record.frames import ending
from dkmeans.scoring import TITLES, Scores

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans
    from dkmeans.profiling import Profile
    from dkmeans.record.facts import Facts
    from dkmeans.record.history import History
    from dkmeans.sweeping import Sweep

_WIDE = 16  # features whose values a table shows; more are in the picture alone
_LONG = 100  # lines of a table
Lines = list[tuple[str, str]]


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


def lead(model: KMeans) -> str:
    """One line on what was clustered."""
    known = model.history_.facts
    if known is None:
        return f"{model.n_features_in_:,} features"
    return f"{known.n_rows:,} rows of {known.n_features:,} features, from {known.source}"


def result(model: KMeans) -> Lines:
    """What came out."""
    sizes = model.history_.sizes
    ended = ending(model.stop_reason_, model.n_iter_)
    lines = [("Inertia", f"{model.inertia_:.9g}"), ("End", ended)]
    if sizes:
        lines.append(("Cluster sizes", f"{min(sizes):,} to {max(sizes):,} rows"))
    return lines


def facts(model: KMeans) -> Lines:
    """What was clustered."""
    known = model.history_.facts
    if known is None:
        return [("Features", f"{model.n_features_in_:,}")]
    names = feature_names(model)
    shown = ", ".join(map(isolated, names[:_WIDE])) + (
        f" and {len(names) - _WIDE:,} more" * (len(names) > _WIDE)
    )
    weights = "a sample_weight for each row" if known.weighted else "none"
    return [
        ("Data", known.source),
        ("Rows", f"{known.n_rows:,}"),
        ("Features", f"{known.n_features:,}: {shown}"),
        ("Type", known.dtype),
        ("Weights", weights),
    ]


def parameters(model: KMeans) -> Lines:
    """With what parameters, and by which versions."""
    known = model.history_.facts
    if known is None:
        return [(name, repr(value)) for name, value in model.get_params(deep=False).items()]
    values = [(name, repr(value)) for name, value in known.parameters.items()]
    return values + [(f"version of {name}", text) for name, text in known.versions.items()]


PLAN_NOTE = (
    "Planned memory is what the fit may take above what the processes have already, all workers of"
    " a cluster together; a peak is that of a whole process until the fit ended, all that it held"
    " before included."
)


@dataclass(frozen=True)
class Spent:
    """What one fit cost, or several that shared their passes."""

    passes: int
    bytes_read: int
    seconds: float
    rows_assigned: int
    retries: int = 0

    @classmethod
    def by(cls, models: Collection[KMeans], scores: Scores | None = None) -> Spent:
        """The cost of fits, and of the scores that followed."""
        scores = scores or Scores()
        histories = [model.history_ for model in models]
        return cls(
            scores.passes + sum(history.passes for history in histories),
            scores.bytes_read + sum(history.bytes_read for history in histories),
            scores.seconds + sum(history.seconds for history in histories),
            sum(i.rows_assigned for history in histories for i in history),
            sum(history.retries for history in histories),
        )


_ELSEWHERE = {  # lines of a plan that others of the table stand for
    *("rows", "features", "clusters", "bytes a pass", "passes", "projected peak", "memory limit")
}


def plan(known: Facts | None, spent: Spent) -> Table:
    """What was planned beside what happened."""
    head = "", "planned", "happened"
    planned: dict[str, Any] = {} if known is None else known.plan
    most, pass_bytes = planned.get("max_passes"), planned.get("pass_bytes")
    read = None if most is None or pass_bytes is None else most * pass_bytes
    once = planned.get("residency") == "memory"
    speed = spent.rows_assigned / spent.seconds if spent.seconds else 0
    rate = f", {speed:,.0f} rows assigned a second" if speed else ""
    lines = [
        ("passes", "-" if most is None else f"at most {most:,}", f"{spent.passes:,}"),
        ("bytes of a pass", _size(pass_bytes), ""),
        (
            "bytes read",
            _size(pass_bytes) if once else ("-" if read is None else f"at most {_size(read)}"),
            _size(spent.bytes_read),
        ),
        ("memory", _size(planned.get("projected_bytes")), f"peak {_peaks(known)}"),
        ("memory limit", _size(planned.get("limit_bytes")), ""),
        ("time", "-", f"{spent.seconds:,.2f} s{rate}"),
    ]
    if spent.retries:
        lines.append(("reads tried again", "-", f"{spent.retries:,}"))
    others = () if known is None else known.plan_lines
    lines += [(name, value, "") for name, value in others if name not in _ELSEWHERE]
    return Table(head, [[Cell(text) for text in line] for line in lines])


def _peaks(known: Facts | None) -> str:
    """Peak memory of this process and, on a cluster, of the worker with the most."""
    if known is None or known.worker_peak_bytes is None:
        return _size(None if known is None else known.peak_bytes)
    of_worker = _size(known.worker_peak_bytes)
    return f"{_size(known.peak_bytes)}, of the largest worker {of_worker}"


def _size(value: int | None) -> str:
    from dask.utils import format_bytes

    return "-" if value is None else format_bytes(value)


def steps(history: History) -> Table:
    """The table of the history, without the middle of a long one."""
    head = ("step", "inertia", "shift", "smallest", "largest", "passes", "MB read", "seconds")
    runs, shown = len({i.run for i in history}) > 1, list(history)
    caption = ""
    if len(shown) > _LONG:
        caption = f"The first and the last {_LONG // 2} of {len(shown):,} steps."
        shown = [*shown[: _LONG // 2], *shown[-_LONG // 2 :]]
    rows = []
    for i in shown:
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


@dataclass(frozen=True)
class Described:
    """A profile as a page shows it.

    Parameters
    ----------
    means : what its means are, for people.
    rows : of which rows it is, likewise; after a comma or a semicolon.
    """

    profile: Profile
    means: str
    rows: str


def described(model: KMeans, nearest: int) -> Described | None:
    """The profile of the sample that the history keeps, which may be all rows; None without one.

    Sizes and means of a sample that is not all rows give way to those that the fit knows exactly.
    """
    found, sizes = sample_profile(model, nearest), model.history_.sizes
    if found is None:
        return None
    kept = int(found.sizes.sum())
    if sizes is None or sum(sizes) == kept:
        return Described(found, "Means", f", over all {kept:,} rows")
    stds = np.where(found.sizes[:, None] > 1, found.stds, np.nan)
    centers = model.cluster_centers_.astype(np.float64)
    found = replace(found, sizes=np.array(sizes), means=centers, stds=stds)
    rows = "deviations, distances and nearest rows are those of"
    return Described(found, "Centers", f"; {rows} the {kept:,} rows that the fit kept")


def clusters(model: KMeans, shown: Described | None) -> Table:
    """Sizes and, unless there are too many to read, centers or means in the units of the data."""
    profile = None if shown is None else shown.profile
    sizes = model.history_.sizes if profile is None else tuple(int(n) for n in profile.sizes)
    values = np.asarray(model.cluster_centers_ if profile is None else profile.means, np.float64)
    names = feature_names(model) if profile is None else list(profile.feature_names)
    colors = colors_of(len(values))
    names = names if len(names) <= _WIDE else []
    head, rows = ["cluster"], [[Cell(str(i), color=color)] for i, color in enumerate(colors)]
    if sizes:
        head += ["rows", "share"]
        for row, size in zip(rows, sizes, strict=True):
            row += [Cell(f"{size:,}"), Cell(f"{size / max(1, sum(sizes)):.1%}")]
    if profile is not None:
        head.append("mean distance to the center")
        for row, distance in zip(rows, profile.distances, strict=True):
            row.append(Cell(_number(distance, 4)))
    for j, name in enumerate(names):
        head.append(name)
        texts = [_number(value, 4) for value in values[:, j]]
        if profile is not None:
            spreads = profile.stds[:, j]
            texts = [f"{t} \u00b1 {_number(s, 3)}" for t, s in zip(texts, spreads, strict=True)]
        for row, text, shade in zip(rows, texts, _shades(values[:, j]), strict=True):
            row.append(Cell(text, shade=shade))
    what = "Centers" if shown is None else f"{shown.means} \u00b1 standard deviations"
    what = f"{what} of features, in the units of the data" if names else "Sizes"
    what += "" if shown is None else shown.rows
    more = f"; the first {_LONG} of {len(rows):,} clusters" if len(rows) > _LONG else ""
    return Table(head, rows[:_LONG], f"{what}{more}.")


def _shades(values: Floats) -> Iterator[float]:
    """Each value within the range of all, from 0 to 1; 0 where it is not known."""
    known = values[np.isfinite(values)]
    low, spread = (known.min(), np.ptp(known)) if len(known) else (0.0, 0.0)
    for value in values:
        yield float((value - low) / spread) if spread > 0 and np.isfinite(value) else 0.0


def nearest_rows(profile: Profile) -> Table | None:
    """The rows nearest to each center, unless their features are too many to read."""
    names = profile.feature_names
    if len(names) > _WIDE or not profile.nearest_rows.size:
        return None
    rows, colors = [], colors_of(len(profile.sizes))
    for i, j in np.argwhere(profile.nearest_rows >= 0)[:_LONG]:
        values = [Cell(_number(value, 6)) for value in profile.nearest_values[i, j]]
        row = Cell(f"{profile.nearest_rows[i, j]:,}")
        rows.append([Cell(str(i), color=colors[i]), row, *values])
    return Table(["cluster", "row", *names], rows, "The rows nearest to each center.")


def choices(found: Sweep) -> Lines:
    """What each criterion chooses."""
    chosen = [(name, found.best_by(name)) for name in found.criteria]
    return [
        (f"Best by {TITLES.get(name, name)}", "none" if k is None else f"{k:,} clusters")
        for name, k in chosen
    ]


def sweep_table(found: Sweep) -> Table:
    """The sweep's table, with what each criterion chooses set apart."""
    table = found.table
    head = ["clusters", *(TITLES.get(name, name) for name in table.columns)]
    best = found.chosen
    rows = []
    for k, line in zip(found.models, table.to_dict("records"), strict=True):
        cells = [
            Cell(_number(v) if isinstance(v, float) else str(v), best=(name, k) in best)
            for name, v in line.items()
        ]
        rows.append([Cell(str(k)), *cells])
    return Table(head, rows)
