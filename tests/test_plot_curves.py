"""Curves, silhouettes and heat maps show the numbers that they are given."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from plots import data, fitted, long_fit, misplaced, render
from sklearn.metrics import silhouette_samples
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dkmeans import DataError, History, Iteration, KMeans, compare_inits, plot, profile, sweep
from dkmeans.plot.canvas import number

ELBOW = {1: 1500.0, 2: 688.538, 3: 212.391, 4: 186.477, 5: 160.973, 6: 136.007}


def test_convergence_of_one_fit():
    model = fitted(2, 5)
    ax = plot.convergence(model)
    (line,) = ax.lines
    lloyd = [i for i in model.history_ if i.phase == "lloyd"]
    np.testing.assert_array_equal(line.get_xdata(), [i.step for i in lloyd])
    np.testing.assert_array_equal(line.get_ydata(), [i.inertia for i in lloyd])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iteration", "inertia")
    assert ax.get_legend() is None
    np.testing.assert_array_equal(
        plot.convergence(model.history_).lines[0].get_ydata(), line.get_ydata()
    )


def test_convergence_of_restarts_and_of_several_fits():
    X = data(2, 5)
    model = KMeans(5, init="random", n_init=3, random_state=0).fit(X)
    ax = plot.convergence(model)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    best = model.history_.best_run
    assert names == [f"restart {i}{' (best)' if i == best else ''}" for i in range(3)]
    assert min(line.get_ydata()[-1] for line in ax.lines) == ax.lines[best].get_ydata()[-1]
    both = plot.convergence({"many": model, "one": fitted(2, 5)})
    assert [text.get_text() for text in both.get_legend().get_texts()] == ["many", "one"]
    assert len(plot.convergence([model, fitted(2, 5)]).lines) == 2
    many = KMeans(5, init="random", n_init=12, random_state=0).fit(X)
    ax = plot.convergence(many)
    assert len(ax.lines) == 12
    assert ax.get_legend() is None
    assert ax.get_title(loc="left").startswith("Inertia by iteration, 12 runs that end at ")


def test_a_fit_that_max_iter_ends_has_its_last_inertia():
    model = KMeans(5, init="random", n_init=1, max_iter=2, random_state=0).fit(data(2, 5))
    line = plot.convergence(model).lines[0]
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata()[-1] == model.inertia_
    ax = plot.convergence(model)
    (ring,) = ax.collections
    assert ring.get_offsets().tolist() == [[3, model.inertia_]]
    assert ax.get_xlabel() == "iteration (ring: the last assignment)"


def test_a_long_convergence_has_no_marks():
    assert plot.convergence(long_fit(2, 1, 300)).lines[0].get_marker() == ""
    assert plot.convergence(fitted(2, 2)).lines[0].get_marker() == "o"


@pytest.mark.parametrize("share", [1.0, 1e-3, 1e-7, 1e-9, 1e-13, 0.0])
@pytest.mark.parametrize("inertia", [4.7e-9, 0.031, 1234.5, 98_765_432.1, 3.7e12])
def test_ticks_are_told_apart(inertia, share):
    steps = [Iteration("lloyd", step=i, inertia=inertia * (1 + share / i)) for i in range(1, 9)]
    ax = plot.convergence(History(steps))
    assert misplaced(ax.figure) == []
    texts = [t.get_text() for t in ax.get_yticklabels()]
    assert len(set(texts)) == len(texts) >= 3
    values = [float(text.replace(",", "")) for text in texts]
    np.testing.assert_allclose(values, ax.get_yticks(), rtol=1e-12)


def test_ticks_of_large_numbers_are_written_alike():
    ax = plot.elbow({1: 2e9, 2: 1.2e9, 3: 5e8, 4: 1e8})
    render(ax.figure)
    texts = [t.get_text() for t in ax.get_yticklabels()]
    assert [float(text) for text in texts] == ax.get_yticks().tolist()
    assert {"e" in text for text in texts if text != "0"} == {True}


def test_nothing_to_draw_is_said():
    with pytest.raises(DataError, match="no iteration to draw"):
        plot.convergence(History())
    with pytest.raises(DataError, match="no number of clusters to draw"):
        plot.elbow({})
    with pytest.raises(DataError, match="no number of clusters has a silhouette"):
        plot.silhouette_curve({1: float("nan")})
    with pytest.raises(DataError, match="no starts to compare"):
        plot.init_comparison({})


def test_the_elbow_marks_its_knee():
    ax = plot.elbow(ELBOW)
    curve, across, point = ax.lines
    np.testing.assert_array_equal(curve.get_xdata(), list(ELBOW))
    np.testing.assert_array_equal(curve.get_ydata(), list(ELBOW.values()))
    assert across.get_xdata()[0] == 3
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (3, ELBOW[3])
    assert ax.get_title(loc="left") == "Inertia by number of clusters: knee at 3 clusters"
    assert ax.get_ylim()[0] == 0
    flat = plot.elbow({1: 3.0, 2: 2.0, 3: 1.0})
    assert len(flat.lines) == 1
    assert flat.get_title(loc="left").endswith("no knee")
    assert len(plot.elbow({4: 2.0}).lines) == 1


def test_a_sweep_is_drawn():
    found = sweep(data(2, 3), range(1, 6), random_state=0)
    own = Figure().subplots()
    ax = plot.elbow(found, ax=own)
    assert ax is own
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.table["inertia"])
    assert ax.lines[1].get_xdata()[0] == found.best_by("knee")
    ax = plot.silhouette_curve(found)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), range(2, 6))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.table["silhouette"].loc[2:])
    assert ax.lines[1].get_xdata()[0] == found.best_k
    assert not ax.containers
    without = sweep(data(2, 3), [2], random_state=0, metrics=())
    with pytest.raises(DataError, match=r'ask for them by metrics=\["silhouette"\]'):
        plot.silhouette_curve(without)


def test_estimated_silhouettes_have_bars(monkeypatch):
    monkeypatch.setattr("dkmeans.scoring.SAMPLE_SIZE", 100)
    found = sweep(data(2, 3, 3000), [2, 3], random_state=0, metrics=["silhouette"])
    errors = found.table["silhouette_error"].to_numpy()
    assert (errors > 0).all()
    (bars,) = plot.silhouette_curve(found).containers
    heights = [np.ptp(segment[:, 1]) for segment in bars.lines[2][0].get_segments()]
    np.testing.assert_allclose(heights, 4 * errors)


def blades(ax):
    """Silhouettes of each blade of a picture, from top to bottom."""
    assert ax.yaxis_inverted()
    found = []
    for filled in ax.collections:
        (path,) = filled.get_paths()
        back = np.diff(path.vertices[:, 1]) == -1  # along the ends of the rows, the last one first
        found.append(path.vertices[1:][back, 0][::-1])
    return found


def test_blades_are_the_silhouettes():
    model, X = fitted(2, 5), data(2, 5)
    ax = plot.silhouette(model)
    expected = silhouette_samples(X, model.labels_)
    drawn = blades(ax)
    assert len(drawn) == 5
    for cluster, blade in enumerate(drawn):  # the longest on top
        np.testing.assert_allclose(blade, np.sort(expected[model.labels_ == cluster])[::-1])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "1", "2", "3", "4"]
    assert ax.get_title(loc="left") == f"Mean silhouette {expected.mean():.3f} (dashed), 700 rows"
    np.testing.assert_allclose(ax.lines[0].get_xdata(), expected.mean())


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 1e9), (0.01, 1e8)])
def test_silhouettes_far_from_the_origin(scale, offset):
    X = data(3, 4) * scale + offset
    model = KMeans(4, random_state=0).fit(X)
    expected = silhouette_samples(X - offset, model.labels_)
    drawn = blades(plot.silhouette(model))
    np.testing.assert_allclose(np.sort(np.concatenate(drawn)), np.sort(expected), atol=1e-12)
    film = plot.animate(model, panel="silhouette", voronoi=False)
    film.show(film.frames - 1)
    means = film.figure.axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(means[-1], expected.mean(), atol=1e-12)


@pytest.mark.parametrize("k", [2, 20, 300])
@pytest.mark.parametrize("d", [1, 2, 3, 50])
def test_blades_of_every_shape(d, k):
    ax = plot.silhouette(fitted(d, k), theme="dark")
    assert len(ax.get_yticks()) <= 30
    assert misplaced(ax.figure) == []


def test_silhouettes_need_two_clusters():
    with pytest.raises(DataError, match=r"at least two clusters.* 700 rows of the sample are in 1"):
        plot.silhouette(fitted(2, 1))


def test_the_rows_of_a_silhouette_are_bounded(monkeypatch):
    monkeypatch.setattr("dkmeans.plot.silhouettes.MOST", 50)
    drawn = blades(plot.silhouette(fitted(2, 5), data(2, 5)))
    assert sum(map(len, drawn)) == 50


def test_starts_are_compared():
    found = compare_inits(data(3, 20), 20, ["k-means++", "random"], n_runs=5, random_state=0)
    figure = plot.init_comparison(found)
    histogram, curves = figure.axes
    starts = [sum(bar.get_height() for bar in group) for group in histogram.containers]
    assert starts == [5, 5]
    every = np.concatenate(list(found.inertias.values()))
    best, worst = number(every.min(), 6), number(every.max(), 6)
    assert histogram.get_title(loc="left").startswith(f"best {best}, worst {worst}, difference ")
    assert len(curves.lines) == 10
    np.testing.assert_array_equal(curves.lines[7].get_ydata(), found.curves["random"][2])
    assert [t.get_text() for t in curves.get_legend().get_texts()] == ["k-means++", "random"]
    plain = plot.init_comparison({"mine": [[3.0, 1.0], [4.0, 2.0]], "equal": [[1.0]]}, theme="dark")
    assert len(plain.axes[1].lines) == 3
    render(plain)


def test_starts_that_end_alike_but_for_rounding_share_a_bar():
    found = {"one": [[3.0, 1.0]], "other": [[1.0 + 2**-52], [1.0]]}
    histogram = plot.init_comparison(found).axes[0]
    heights = [[bar.get_height() for bar in group] for group in histogram.containers]
    assert [max(group) for group in heights] == [1, 2]
    assert [np.argmax(group) for group in heights] == [len(heights[0]) // 2] * 2


def test_profiles_show_means_in_their_units():
    model = fitted(3, 5)
    described = profile(model, data(3, 5))
    ax = plot.profiles(described)
    texts = np.array([t.get_text() for t in ax.texts]).reshape(5, 3)
    assert texts[1, 2] == number(described.means[1, 2], 4)
    names = [t.get_text() for t in ax.get_yticklabels()]
    share = described.sizes[0] / 700
    assert names[0] == f"0: {described.sizes[0]:,} rows ({share:.1%})"
    weights = described.sizes / 700
    spread = np.sqrt(weights @ (described.means - weights @ described.means) ** 2)
    expected = (described.means - weights @ described.means) / spread
    np.testing.assert_allclose(ax.images[0].get_array(), expected)
    of_model = plot.profiles(model)
    np.testing.assert_allclose(of_model.images[0].get_array(), expected, atol=1e-6)
    assert [t.get_text() for t in of_model.get_xticklabels()] == [f"feature {i}" for i in range(3)]


def test_profiles_of_a_pipeline_are_in_original_units():
    X = data(2, 3) * np.array([1, 1000]) + np.array([0, 5e6])
    pipeline = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(X)
    texts = [t.get_text() for t in plot.profiles(profile(pipeline, X)).texts]
    expected = X[pipeline[-1].labels_ == 0].mean(axis=0)
    assert texts[:2] == [number(expected[0], 4), number(expected[1], 4)]


def test_means_that_differ_in_late_digits_are_shown_by_their_differences():
    X = data(2, 4) + np.array([1e9, 0])
    model = KMeans(4, random_state=0).fit(X)
    ax = plot.profiles(model)
    texts = np.array([t.get_text() for t in ax.texts]).reshape(4, 2)
    first, second = (t.get_text() for t in ax.get_xticklabels())
    name, base = first.split("\n")
    assert (name, second) == ("feature 0", "feature 1")
    value = float(base.removesuffix(" +").replace(",", ""))
    shown = value + texts[:, 0].astype(float)
    np.testing.assert_allclose(shown, model.cluster_centers_[:, 0], rtol=0, atol=1e-3)
    assert texts[0, 1] == number(model.cluster_centers_[0, 1], 4)
    assert misplaced(ax.figure) == []


@pytest.mark.parametrize("k", [1, 2, 20, 300])
@pytest.mark.parametrize("d", [1, 2, 3, 50])
def test_profiles_of_every_shape(d, k):
    ax = plot.profiles(fitted(d, k))
    assert ax.images[0].get_array().shape == (k, d)
    assert bool(ax.texts) == (k <= 30 and d <= 14)
    assert misplaced(ax.figure) == []


def test_names_are_text_whatever_they_hold():
    import pandas as pd

    names = ["$\\frac{", "<b>bold</b>", "a name that goes on for longer than any column is wide"]
    model = KMeans(2, random_state=0).fit(pd.DataFrame(data(3, 4), columns=names))
    ax = plot.profiles(model)
    render(ax.figure)
    shown = [t.get_text() for t in ax.get_xticklabels()]
    assert shown[:2] == names[:2]
    assert shown[2] == "a name that goes…is wide"
    render(plot.clusters(model, features=(names[0], names[1])).figure)
    render(plot.iterations(model, features=(names[0], names[1])))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234567.0, "1,234,567"),
        (1234.5678, "1,234.568"),
        (-0.25, "-0.25"),
        (100.0, "100"),
        (0.1 + 0.2, "0.3"),
        (3e12, "3e+12"),
        (2.5e-7, "2.5e-07"),
        (float("nan"), "-"),
    ],
)
def test_numbers_for_people(value, text):
    assert number(value) == text
