"""Pictures of rows, centers and iterations have the right marks in the right places."""

import ast
import shutil
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from PIL import Image
from plots import data, drawn_rows, fitted, in_order, long_fit, misplaced, render, scatters, stars
from sklearn.exceptions import NotFittedError

from dkmeans import DataError, KMeans, OutputError, plot
from dkmeans.plot import names as names_module
from dkmeans.plot.theme import NAMED, marks_of, theme_of
from dkmeans.record.sample import RowSample

SINGLE = (plot.clusters, plot.voronoi, plot.projection)


@pytest.fixture(autouse=True)
def nothing_global_changes():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


@pytest.mark.parametrize("k", [1, 2, 20, 300])
@pytest.mark.parametrize("d", [1, 2, 3, 50])
def test_every_shape_of_data_is_drawn(d, k):
    model = fitted(d, k)
    for draw in SINGLE:
        ax = draw(model)
        assert len(stars(ax).get_offsets()) == k
        assert len(drawn_rows(ax)) == 700
        assert len(ax.get_legend().get_texts()) == (k + 1 if k <= NAMED else 1)
    render(ax.figure)
    figure = plot.iterations(model)
    assert len(figure.axes) == min(12, 2 + model.n_iter_)
    render(figure)
    render(plot.overview(model))


@pytest.mark.parametrize(("d", "k"), [(1, 20), (2, 5), (2, 20), (2, 300), (50, 5)])
def test_no_text_lies_over_another_or_leaves_the_figure(d, k):
    assert misplaced(plot.voronoi(fitted(d, k)).figure) == []
    assert misplaced(plot.iterations(fitted(d, k))) == []
    assert misplaced(plot.overview(fitted(d, k))) == []


def test_two_features_are_drawn_as_they_are():
    model, X = fitted(2, 5), data(2, 5)
    ax = plot.clusters(model)
    np.testing.assert_allclose(in_order(drawn_rows(ax)), in_order(X))
    np.testing.assert_allclose(stars(ax).get_offsets(), model.cluster_centers_)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 0", "feature 1")
    sizes = [text.get_text() for text in ax.get_legend().get_texts()]
    expected = [f"cluster {i}: {n} rows" for i, n in enumerate(np.bincount(model.labels_))]
    assert sizes == [*expected, "center"]
    assert [t.get_text() for t in ax.texts] == ["0", "1", "2", "3", "4"]


def test_rows_have_the_colours_of_their_clusters():
    model, X = fitted(2, 5), data(2, 5)
    (rows,) = [c for c in scatters(plot.clusters(model)) if c.get_zorder() == 2]
    colors = marks_of(5, theme_of("light")).colors
    places = model.history_.sample.index
    np.testing.assert_allclose(rows.get_offsets(), X[places])
    np.testing.assert_allclose(rows.get_facecolors(), colors[model.labels_[places]])


def test_rows_of_many_clusters_differ_in_shape_too():
    model = fitted(2, 20)
    groups = [c for c in scatters(plot.clusters(model)) if c.get_zorder() == 2]
    assert len({c.get_paths()[0].vertices.tobytes() for c in groups}) == len(groups) == 7
    labels = model.labels_[model.history_.sample.index]
    assert [len(c.get_offsets()) for c in groups] == np.bincount(labels % 7).tolist()


def test_one_feature_is_a_strip_and_spread_by_row():
    model, X = fitted(1, 2), data(1, 2)
    ax = plot.clusters(model)
    rows = drawn_rows(ax)
    np.testing.assert_allclose(rows[:, 0], X[:, 0])
    assert np.abs(rows[:, 1]).max() <= 0.75
    assert len(np.unique(rows[:, 1])) == len(rows)
    np.testing.assert_array_equal(stars(ax).get_offsets()[:, 1], 0)
    assert list(ax.get_yticks()) == []
    again = KMeans(2, random_state=3).fit(X)
    np.testing.assert_array_equal(drawn_rows(plot.clusters(again))[:, 1], rows[:, 1])


def test_features_are_chosen_by_name_or_number():
    import pandas as pd

    names = ["width", "$height", "depth"]
    frame = pd.DataFrame(data(3, 4), columns=names)
    model = KMeans(4, random_state=0).fit(frame)
    ax = plot.clusters(model, features=("depth", "$height"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("depth", "$height")
    assert not ax.yaxis.label.get_parse_math()
    np.testing.assert_allclose(stars(ax).get_offsets(), model.cluster_centers_[:, [2, 1]])
    by_number = plot.clusters(model, features=(2, 1))
    np.testing.assert_array_equal(drawn_rows(by_number), drawn_rows(ax))
    for one in ("width", 0, np.int64(0), [np.int64(0)]):
        assert plot.clusters(model, features=one).get_xlabel() == "width"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((0, 1, 2), "one or two different features, got"),
        ((1, 1), "one or two different features, got"),
        ((), "one or two different features, got"),
        (("width", 0), r"no feature 'width': give names or numbers from 0 to 2; names are feature"),
        ([True], "no feature True: give names or numbers from 0 to 2"),
        (True, "no feature True: give names or numbers from 0 to 2"),
        ((0, 7), "no feature 7: give names or numbers from 0 to 2"),
    ],
)
def test_wrong_features_are_named(features, message):
    with pytest.raises(ValueError, match=message):
        plot.clusters(fitted(3, 2), features=features)


def test_data_may_be_given_instead_of_the_sample():
    X = data(3, 4)
    model = KMeans(4, random_state=0, history_rows=0).fit(X)
    for draw in (*SINGLE, plot.iterations, plot.overview, plot.silhouette, plot.animate):
        with pytest.raises(DataError, match="pass the data as X=, or fit with history_rows above"):
            draw(model)
    ax = plot.clusters(model, X)
    kept = plot.clusters(KMeans(4, random_state=0).fit(X))
    np.testing.assert_allclose(drawn_rows(ax), drawn_rows(kept), atol=1e-9)
    assert len(plot.iterations(model, X).axes) == model.n_iter_ + 2
    with pytest.raises(ValueError, match="X has 2 features, but KMeans is expecting 3"):
        plot.clusters(model, X[:, :2])


def test_large_data_are_drawn_in_part(monkeypatch):
    import dask.array as da

    monkeypatch.setattr("dkmeans.plot.scene.ROWS", 100)
    X = data(3, 4)
    model = fitted(3, 4)
    places = [
        drawn_rows(plot.projection(model, da.from_array(X, chunks=(rows, 3)))) for rows in (50, 700)
    ]
    assert len(places[0]) == 100
    np.testing.assert_allclose(places[0], places[1], atol=1e-9)


def test_a_loaded_model_is_drawn_alike(tmp_path):
    model = fitted(3, 20)
    model.save(tmp_path / "model.npz")
    again = KMeans.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(
        drawn_rows(plot.clusters(again)), drawn_rows(plot.clusters(model))
    )
    assert len(plot.iterations(again).axes) == len(plot.iterations(model).axes)


def test_given_axes_are_drawn_on():
    for draw in (*SINGLE, plot.silhouette, plot.profiles, plot.convergence):
        ax = Figure().subplots()
        assert draw(fitted(2, 5), ax=ax) is ax
    with pytest.raises(NotFittedError):
        plot.clusters(KMeans())


@pytest.mark.parametrize("d", [1, 2, 3, 50])
def test_cells_are_those_of_the_nearest_center(d):
    model = fitted(d, 20)
    ax = plot.voronoi(model)
    (image,) = ax.images
    colors, tints = marks_of(20, theme_of("light")).colors, image.get_array()
    expected = theme_of("light").toward_background(colors, 0.78)
    left, right, bottom, top = image.get_extent()
    assert (left, right) == ax.get_xlim()
    assert (bottom, top) == ax.get_ylim()
    height, width = tints.shape[:2]
    view = _view(model)
    checked = 0
    for row in range(height // 2, height, 50):
        for column in range(7, width, 50):
            x = left + (column + 0.5) / width * (right - left)
            y = bottom + (row + 0.5) / height * (top - bottom)
            point = view.origin + np.array([x, y])[: len(view.directions)] @ view.directions
            nearest = np.linalg.norm(model.cluster_centers_ - point, axis=1).argmin()
            if not _is_border(tints[row, column]):
                np.testing.assert_allclose(tints[row, column], expected[nearest])
                checked += 1
    assert checked >= 10


def _view(model):
    from dkmeans.plot.scene import scene_of

    return scene_of(model).view


def _is_border(color):
    theme = theme_of("light")
    return np.allclose(color, theme.toward_background(theme.muted, 0.4)[0])


def test_cells_of_a_projection_say_so():
    assert plot.voronoi(fitted(2, 5)).get_title(loc="left") == "Nearest center"
    title = plot.voronoi(fitted(3, 5)).get_title(loc="left")
    assert title == "Nearest center on the plane of projection"


def test_the_overview_has_three_panels():
    figure = plot.overview(fitted(2, 5))
    raw, cells, found = figure.axes
    grey = scatters(raw)[0].get_facecolors()
    assert len(grey) == 1
    assert len(cells.images) == 1
    assert not [c for c in scatters(cells) if c.get_zorder() == 2]
    assert len(np.unique(scatters(found)[0].get_facecolors(), axis=0)) == 5


def test_iterations_show_each_move():
    model = fitted(2, 5)
    frames = [f for f in model.history_.frames() if f.phase in ("init", "update", "converged")]
    figure = plot.iterations(model)
    assert [a.get_title(loc="left").split(":")[0] for a in figure.axes][:2] == [
        "Initial centers",
        "Iteration 1",
    ]
    for ax, frame in zip(figure.axes, frames, strict=True):
        np.testing.assert_allclose(stars(ax).get_offsets(), frame.centers)
    arrows = [a for a in figure.axes[1].collections if isinstance(a, Quiver)]
    moved = np.column_stack([arrows[0].U, arrows[0].V])
    way = frames[1].centers - frames[1].previous
    expected = [w for w in way if np.abs(w).max() > 0.5]
    assert len(expected) > 0
    for one in expected:
        assert np.isclose(moved, one).all(axis=1).any()
    assert not any(isinstance(a, Quiver) for a in figure.axes[0].collections)
    still = plot.iterations(model, arrows=False)
    assert not any(isinstance(a, Quiver) for ax in still.axes for a in ax.collections)
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts == [*(f"cluster {i}" for i in range(5)), "center", "its place before"]


def test_rows_have_the_same_colours_without_arrows():
    model, X = fitted(2, 5), data(2, 5)
    pairs = [plot.iterations(model, X, arrows=arrows).axes for arrows in (True, False)]
    for moving, still in zip(*pairs, strict=True):
        groups = [[c for c in scatters(ax) if c.get_zorder() == 2] for ax in (moving, still)]
        for one, other in zip(*groups, strict=True):
            np.testing.assert_array_equal(one.get_facecolors(), other.get_facecolors())


@pytest.mark.parametrize("given", [False, True])
def test_rows_lie_over_the_cells_of_their_clusters(given):
    model = fitted(2, 5)
    film = plot.animate(model, X=data(2, 5) if given else None, panel=None)
    assert film.frames > 6
    tints = theme_of("light").toward_background(marks_of(5, theme_of("light")).colors, 0.78)
    for at in range(1, film.frames):
        film.show(at)
        (ax,) = film.figure.axes
        (rows,) = [c for c in scatters(ax) if c.get_zorder() == 2]
        (image,) = ax.images
        left, right, bottom, top = image.get_extent()
        cells = image.get_array()
        shares = (rows.get_offsets() - [left, bottom]) / [right - left, top - bottom]
        column, row = (shares * [cells.shape[1], cells.shape[0]]).astype(int).T
        under = cells[row, column]
        labels = _nearest_color(rows.get_facecolors(), marks_of(5, theme_of("light")).colors)
        inside = ~np.array([_near_border(cells, *place) for place in zip(row, column, strict=True)])
        assert inside.sum() > 600
        np.testing.assert_allclose(under[inside], tints[labels[inside]])


def _nearest_color(colors, palette):
    return np.linalg.norm(colors[:, None] - palette, axis=2).argmin(axis=1)


def _near_border(cells, row, column):
    around = cells[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    return len(np.unique(around.reshape(-1, 4), axis=0)) > 1


@pytest.mark.parametrize("k", [1, 20])
def test_one_iteration_and_three_hundred(k, monkeypatch):
    short = long_fit(2, k, 1)
    assert [a.get_title(loc="left") for a in plot.iterations(short).axes] == [
        "Initial centers",
        "Iteration 1: inertia 1,000",
        "After 1: inertia 1,000",
    ]
    panels = [a.get_title(loc="left") for a in plot.iterations(long_fit(2, k, 300)).axes]
    assert len(panels) == 12
    assert panels[0] == "Initial centers"
    assert panels[-1] == "After 300: inertia 1,000"
    steps = [int(p.split()[1].rstrip(":")) for p in panels[1:]]
    assert np.ptp(np.diff(steps)) <= 2
    times, labels = [], RowSample.labels
    with monkeypatch.context() as patch:
        patch.setattr(RowSample, "labels", lambda *a: times.append(1) or labels(*a))
        film = plot.animate(long_fit(2, k, 300), panel="silhouette", voronoi=False)
    assert film.frames == 60 > len(times)  # of 602; the initial centers have no labels
    film = plot.animate(long_fit(2, k, 300))
    film.show(59)
    assert len(film.figure.axes[1].lines[0].get_xdata()) == 59
    assert plot.convergence(long_fit(2, k, 300)).lines[0].get_xdata()[-1] == 300
    assert plot.convergence(short).lines[0].get_xdata().tolist() == [1]


def test_a_fit_of_hundreds_of_iterations():
    X = np.linspace(0, 1, 4000)[:, None]
    model = KMeans(20, init=X[:20], tol=0, max_iter=2000).fit(X)
    assert model.n_iter_ > 200
    known = {(f.phase, f.step): f for f in model.history_.frames()}
    axes = plot.iterations(model).axes
    assert len(axes) == 12
    np.testing.assert_allclose(stars(axes[0]).get_offsets()[:, 0], X[:20, 0])
    for ax in axes[1:-1]:
        step = int(ax.get_title(loc="left").split()[1].rstrip(":"))
        moved = known["update", step].centers
        np.testing.assert_allclose(stars(ax).get_offsets()[:, 0], moved[:, 0])
    places = stars(axes[-1]).get_offsets()[:, 0]
    np.testing.assert_allclose(places, model.cluster_centers_[:, 0])
    (line,) = plot.convergence(model).lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, model.n_iter_ + 1))
    assert (np.diff(line.get_ydata()) <= 0).all()
    assert line.get_ydata()[-1] == model.inertia_
    film = plot.animate(model)
    assert film.frames == 60
    film.show(59)
    np.testing.assert_allclose(stars(film.figure.axes[0]).get_offsets()[:, 0], places)


def test_a_gif_has_every_frame(tmp_path):
    model = fitted(2, 2)
    film = plot.animate(model, tmp_path / "fit.gif", fps=4)
    frames = list(model.history_.frames())
    with Image.open(tmp_path / "fit.gif") as picture:
        assert picture.n_frames == len(frames) == film.frames
        assert picture.info["duration"] == 250
    assert [p.name for p in tmp_path.iterdir()] == ["fit.gif"]


@pytest.mark.parametrize("k", [1, 2, 20, 300])
@pytest.mark.parametrize("d", [1, 2, 3, 50])
def test_every_shape_of_data_moves(d, k):
    model = fitted(d, k)
    film = plot.animate(model)
    first, *_, last = model.history_.frames()
    for at, frame in ((0, first), (film.frames - 1, last)):
        film.show(at)
        picture, curve = film.figure.axes
        assert stars(picture).get_offsets().shape == (k, 2)
        assert len(drawn_rows(picture)) == 700
        assert film.figure.get_suptitle() == frame.caption
        assert len(curve.lines) == (1 if at == 0 else 2)
        render(film.figure)
    assert curve.lines[1].get_ydata()[-1] == model.inertia_


def test_one_iteration_moves():
    model = KMeans(2, init=[[0.0], [9.0]]).fit(np.array([[0.0], [0.0], [9.0]]))
    assert model.n_iter_ == 1
    film = plot.animate(model)
    told = []
    for at in range(film.frames):
        film.show(at)
        render(film.figure)
        told.append(film.figure.get_suptitle())
    assert told == [frame.caption for frame in model.history_.frames()]
    assert len(told) == 4


@pytest.mark.parametrize("panel", ["inertia", "silhouette", None])
def test_frames_of_an_animation(panel):
    model = fitted(2, 5)
    frames = list(model.history_.frames())
    film = plot.animate(model, panel=panel, theme="dark", voronoi=panel is not None)
    for at in (0, 3, len(frames) - 1):
        film.show(at)
        picture, *side = film.figure.axes
        assert film.figure.get_suptitle() == frames[at].caption
        np.testing.assert_allclose(stars(picture).get_offsets(), frames[at].centers)
        assert len(picture.images) == (panel is not None)
        assert len(side) == (panel is not None)
    assert film.figure.get_facecolor()[:3] == to_rgb(theme_of("dark").background)
    if panel == "inertia":
        values = side[0].lines[0].get_ydata()
        np.testing.assert_allclose(values, [f.inertia for f in frames[1:]])
    if panel == "silhouette":
        from sklearn.metrics import silhouette_score

        rows = model.history_.sample.rows
        expected = silhouette_score(rows, frames[-1].labels)
        np.testing.assert_allclose(side[0].lines[0].get_ydata()[-1], expected)


def test_the_silhouette_of_one_cluster_is_not_defined():
    film = plot.animate(fitted(2, 1), panel="silhouette")
    assert [t.get_text() for t in film.figure.axes[1].texts] == ["not defined"]


def test_an_animation_is_html_with_its_frames():
    model = fitted(2, 1)
    film = plot.animate(model, panel=None)
    page = film.to_jshtml()
    assert page.count("data:image/png;base64") == film.frames == len(list(model.history_.frames()))
    assert film._repr_html_().count("data:image/png;base64") == film.frames


def test_a_film_needs_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(OutputError, match=r"MP4 needs the program ffmpeg.*write a \.gif instead"):
        plot.animate(fitted(2, 1), tmp_path / "fit.mp4")
    with pytest.raises(OutputError, match=r"written as \.gif or \.mp4, got 'fit\.avi'"):
        plot.animate(fitted(2, 1), "fit.avi")
    with pytest.raises(OutputError, match="no such folder"):
        plot.animate(fitted(2, 1), tmp_path / "missing" / "fit.gif", X=object())  # which is unread
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
def test_a_film_is_written(tmp_path):
    plot.animate(fitted(2, 1), tmp_path / "fit.mp4")
    assert (tmp_path / "fit.mp4").read_bytes()[4:8] == b"ftyp"


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match='theme must be "light" or "dark", got \'blue\''):
        plot.clusters(fitted(2, 1), theme="blue")
    with pytest.raises(ValueError, match='panel must be "inertia", "silhouette" or None, got'):
        plot.animate(fitted(2, 1), panel="size")
    with pytest.raises(ValueError, match="fps must be above 0, got 0"):
        plot.animate(fitted(2, 1), fps=0)


def test_a_gif_has_at_most_a_hundred_frames_a_second(tmp_path):
    with pytest.raises(ValueError, match="a GIF has at most 100 frames a second, got fps=101"):
        plot.animate(fitted(2, 1), tmp_path / "fit.gif", fps=101)
    film = plot.animate(fitted(2, 1), fps=101)
    with pytest.raises(ValueError, match="at most 100 frames"):
        film.save(tmp_path / "fit.gif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "draw",
    [
        plot.clusters,
        plot.voronoi,
        plot.projection,
        plot.overview,
        plot.iterations,
        plot.animate,
        plot.silhouette,
        plot.profiles,
        plot.convergence,
    ],
)
def test_what_is_no_model_of_ours_is_named(draw):
    other = fitted(2, 2).to_sklearn()
    with pytest.raises(DataError, match=r"expected a fitted dkmeans\.KMeans, got sklearn\.KMeans"):
        draw(other)
    with pytest.raises(NotFittedError):
        draw(KMeans(2))


def test_numbers_of_centers_in_a_line_are_all_there():
    ax = plot.clusters(fitted(1, 20))
    numbers = {text.get_text() for text in ax.texts}
    assert numbers == {str(i) for i in range(20)}
    assert misplaced(ax.figure) == []


def test_long_names_and_long_numbers_fit():
    X = data(2, 4) + np.array([1e9, -5e7])
    names = ["the first feature, whose name goes on (in units of something) " * 2, "income " * 20]
    model = KMeans(4, random_state=0).fit(pd.DataFrame(X, columns=names))
    for figure in (plot.clusters(model).figure, plot.iterations(model)):
        assert misplaced(figure) == []


def test_names_in_scripts_without_a_font_are_known(monkeypatch):
    assert names_module.font_of(["width", "Größe"]) == {}
    assert names_module.missing("width") == ""
    assert names_module.missing("\U0001303f") == "\U0001303f"  # a hieroglyph
    monkeypatch.setattr(names_module, "_fallback", lambda text: (("Noto Sans",), ""))
    ax = plot.clusters(fitted(2, 1))
    assert ax.xaxis.label.get_fontfamily()[-1] == "Noto Sans"


def luminance(color):
    """Relative luminance of WCAG 2."""
    parts = np.array(to_rgb(color))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("name", ["light", "dark"])
def test_themes_have_contrast(name):
    theme = theme_of(name)
    for color, least in ((theme.ink, 12), (theme.muted, 4.5)):
        bright, dim = sorted([luminance(color), luminance(theme.background)], reverse=True)
        assert (bright + 0.05) / (dim + 0.05) > least
    ax = plot.clusters(fitted(2, 5), theme=name)
    assert to_hex(ax.figure.get_facecolor()) == to_hex(ax.get_facecolor()) == theme.background
    assert ax.xaxis.label.get_color() == ax.yaxis.label.get_color() == theme.ink
    assert {to_hex(t.get_color()) for t in ax.get_legend().get_texts()} == {theme.ink}


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("k", [1, 8, 9, 20, 300])
def test_marks_tell_clusters_apart(k, name):
    marks = marks_of(k, theme_of(name))
    pairs = {(to_hex(c), i % len(marks.shapes)) for i, c in enumerate(marks.colors)}
    assert len(pairs) == k
    if k > NAMED:  # neighbouring numbers are far apart
        assert np.linalg.norm(np.diff(marks.colors[:, :3], axis=0), axis=1).min() > 0.25


def test_plotting_loads_no_pyplot(tmp_path):
    code = """
import sys
import dkmeans
assert "matplotlib" not in sys.modules
ax = dkmeans.plot.elbow({1: 9.0, 2: 4.0, 3: 1.0, 4: 0.9})
ax.figure.savefig(sys.argv[1])
print(["matplotlib.pyplot" in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "elbow.png")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout) == [False]


def test_returned_are_axes_or_figures():
    model = fitted(2, 2)
    for draw in (*SINGLE, plot.silhouette, plot.profiles, plot.convergence):
        assert isinstance(draw(model), Axes)
    for draw in (plot.iterations, plot.overview):
        assert isinstance(draw(model), Figure)
