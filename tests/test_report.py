"""Reports: complete in themselves, text stays text, and they work in a browser.

The tests in a browser need Chromium; they skip, and say what to install, where there is none.
"""

import base64
import json
import re

import numpy as np
import pandas as pd
import pytest
import zarr
from pages import Parsed, words
from sklearn.base import clone
from sklearn.datasets import load_iris, make_blobs

from dkmeans import History, Iteration, KMeans, OutputError, plot, profile, sweep
from dkmeans.plot.diagnosis import diagnose
from dkmeans.plot.page import Shot
from dkmeans.plot.player import MOST_CENTERS, MOST_FRAMES, MOST_ROWS, player_data
from dkmeans.plot.scene import scene_of
from dkmeans.plot.tables import described
from dkmeans.record.sample import RowSample
from dkmeans.scoring import TITLES

HOSTILE = [
    "<script>window.hacked = 1</script>",
    '"></script><img src=x onerror="window.hacked = 1">',
    "\u202e\u05e2\u05d1\u05e8\u05d9\u05ea \u2028 & {{ 7 * 7 }}",
    "$x^{$ _%\\ \u6570",
]


@pytest.fixture(scope="module")
def X():
    return make_blobs(700, centers=[(0, 0), (4, 4), (8, 0), (9, 1)], random_state=0)[0]


@pytest.fixture(scope="module")
def model(X):
    return KMeans(4, init="random", n_init=2, random_state=1).fit(X)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def page(model, folder):
    """Path of the report of a model of two features."""
    model.report(folder / "model.html")
    return folder / "model.html"


@pytest.fixture(scope="module")
def hostile(folder):
    """Path of the report of a model whose features have names that are not what they seem."""
    X = pd.DataFrame(load_iris().data * [1, 1, 1, 1000], columns=HOSTILE)
    model = KMeans(5, init="random", n_init=1, random_state=0, max_iter=2).fit(X)
    model.report(folder / "hostile.html", X)
    return folder / "hostile.html"


@pytest.fixture(scope="module")
def found(X):
    return sweep(X, range(1, 7), random_state=0)


@pytest.fixture(scope="module")
def sweep_page(found, folder):
    found.report(folder / "sweep.html")
    return folder / "sweep.html"


@pytest.fixture
def unpictured(monkeypatch):
    """Reports whose pictures are empty, where it is not they that are tested."""
    empty = Shot("data:image/png;base64,", "data:image/png;base64,", 1, 1, 1.0, "empty")
    monkeypatch.setattr("dkmeans.plot.report.shot", lambda *args, **options: empty)


def test_a_report_says_what_was_clustered_and_what_came_out(model, page):
    parsed = Parsed(page)
    assert f"Inertia {model.inertia_:.9g}" in words(parsed.texts["result"])
    assert "Rows 700" in words(parsed.texts["how"])
    assert "feature 0\u2069, \u2068feature 1" in words(parsed.texts["how"])
    assert f"passes at most 302 {model.history_.passes}" in words(parsed.texts["plan"])
    assert "KMeans.load('model.npz')" in parsed.texts["load"]
    sizes = np.bincount(model.labels_)
    for i, size in enumerate(sizes):
        assert f"{i} {size} {size / 700:.1%}" in words(parsed.texts["clusters"])
    assert "warnings" not in parsed.texts
    steps = words(parsed.texts["convergence"])
    assert all(f"lloyd {i.step}, run {i.run}" in steps for i in model.history_ if i.step > 1)


@pytest.mark.parametrize("which", ["page", "hostile", "sweep_page"])
def test_a_report_needs_nothing_from_elsewhere(which, request):
    parsed = Parsed(request.getfixturevalue(which))
    links = [v for _, name, v in parsed.attributes if name in ("src", "href", "srcset", "data")]
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    assert [n for _, n, _ in parsed.attributes if n.startswith("on")] == []
    assert parsed.tags.count("script") == len(parsed.scripts) == 2
    text = request.getfixturevalue(which).read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", text)
    (rule,) = (v for _, name, v in parsed.attributes if name == "content" and "default-src" in v)
    assert rule.startswith("default-src 'none'; img-src data:;")


def test_pictures_have_both_themes_and_a_text(page):
    parsed = Parsed(page)
    images = [v for tag, name, v in parsed.attributes if (tag, name) == ("img", "src")]
    alts = [v for tag, name, v in parsed.attributes if (tag, name) == ("img", "alt")]
    assert len(images) == len(alts) >= 6
    assert all(alts)
    decoded = [base64.b64decode(image.partition(",")[2]) for image in images]
    assert all(data.startswith(b"\x89PNG") for data in decoded)
    assert len(set(decoded)) == len(decoded)


def test_names_of_features_stay_text(hostile):
    parsed = Parsed(hostile)
    for section in ("clusters", "how"):
        for name in HOSTILE:
            assert words(name) in words(parsed.texts[section])
    assert "49" not in words(parsed.texts["how"]).replace(words(HOSTILE[2]), "")
    assert (
        parsed.tags.count("img") == parsed.tags.count("figure") * 2 - 2
    )  # less that of the player
    assert "</script" not in parsed.scripts[0]
    assert "<" not in parsed.scripts[0]
    json.loads(parsed.scripts[0])


def test_a_report_with_data_has_their_profile(hostile):
    text = words(Parsed(hostile).texts["clusters"])
    assert (
        "Means ± standard deviations of features, in the units of the data, over the 150 rows given"
        " as X." in text
    )
    assert "mean distance to the center" in text
    assert "The rows nearest to each center." in text


def test_a_report_without_data_has_the_profile_of_the_rows_that_the_fit_kept(
    X, unpictured, tmp_path
):
    whole = KMeans(4, random_state=0).fit(X)
    found = described(whole, 3)
    exact = profile(whole, X, nearest=3)
    for name in ("sizes", "means", "stds", "distances", "nearest_rows"):
        np.testing.assert_array_equal(getattr(found.profile, name), getattr(exact, name))
    whole.report(tmp_path / "whole.html")
    text = words(Parsed(tmp_path / "whole.html").texts["clusters"])
    assert "Means ± standard deviations" in text
    assert "over all 700 rows." in text
    row = exact.nearest_rows[0, 0]
    assert f"0 {row} {X[row, 0]:.6g} {X[row, 1]:.6g}" in text


def test_the_profile_of_some_rows_says_so_and_keeps_what_is_exact(X, unpictured, tmp_path):
    model = KMeans(4, random_state=0, history_rows=60).fit(X)
    found, sample = described(model, 3).profile, model.history_.sample
    np.testing.assert_array_equal(found.sizes, np.bincount(model.labels_))
    np.testing.assert_array_equal(found.means, model.cluster_centers_)
    labels = model.predict(sample.rows)
    for i in range(4):
        rows = sample.rows[labels == i]
        np.testing.assert_allclose(found.stds[i], rows.std(axis=0), rtol=1e-12)
        apart = np.linalg.norm(rows - model.cluster_centers_[i], axis=1)
        assert found.distances[i] == pytest.approx(apart.mean(), rel=1e-12)
        np.testing.assert_array_equal(X[found.nearest_rows[i]], found.nearest_values[i])
    model.report(tmp_path / "some.html")
    text = words(Parsed(tmp_path / "some.html").texts["clusters"])
    assert "Centers ± standard deviations" in text
    assert "nearest rows are those of the 60 rows that the fit kept." in text


def test_one_row_has_no_standard_deviation(unpictured, tmp_path):
    X = np.concatenate([np.arange(500.0), [9e3, 9e3 + 1]])[:, None]
    model = KMeans(2, init=[[200.0], [9e3]], history_rows=40, random_state=3).fit(X)
    kept = (model.predict(model.history_.sample.rows) == 1).sum()
    assert kept < 2
    assert np.isnan(described(model, 3).profile.stds[1]).all()
    model.report(tmp_path / "one.html")
    text = words(Parsed(tmp_path / "one.html").texts["clusters"])
    assert "9000 \u00b1 -" in text or "9001 \u00b1 -" in text


def test_reports_of_loaded_models_are_those_of_fitted_ones(model, page, tmp_path):
    model.save(tmp_path / "model.npz")
    KMeans.load(tmp_path / "model.npz").report(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_a_report_replaces_one_and_appears_whole_or_not_at_all(
    model, unpictured, tmp_path, monkeypatch
):
    path = tmp_path / "report.html"
    path.write_text("old")

    def broken(*args):
        raise KeyError("broken")

    with monkeypatch.context() as patch:
        patch.setattr("dkmeans.data.outputs._swap", broken)
        with pytest.raises(KeyError, match="broken"):
            model.report(path)
    assert path.read_text() == "old"
    model.report(path)
    assert path.read_text().startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_report_that_is_no_page_by_its_name_is_refused(model, found, tmp_path):
    for what in (model, found):
        with pytest.raises(OutputError, match=r"written as \.html, got '.*r\.txt'"):
            what.report(tmp_path / "r.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_reads_nothing(model, found, tmp_path, monkeypatch):
    unread = object()  # no data at all
    with pytest.raises(OutputError, match="no such folder"):
        model.report(tmp_path / "no" / "report.html", unread)
    monkeypatch.setattr("dkmeans.plot.report._model_part", lambda *given: pytest.fail("drawn"))
    with pytest.raises(OutputError, match="no such folder"):
        found.report(tmp_path / "no" / "sweep.html")


def test_a_report_without_data_reads_none_and_with_them_one_pass(
    X, unpictured, tmp_path, monkeypatch
):
    zarr.save_array(tmp_path / "X.zarr", X)
    model = KMeans(3, random_state=0, residency="stream").fit(tmp_path / "X.zarr")
    from dkmeans.engine.passes import Passes

    names, run = [], Passes.run
    monkeypatch.setattr(
        Passes, "run", lambda s, b, step, name: names.append(name) or run(s, b, step, name)
    )
    model.report(tmp_path / "report.html")
    assert names == []
    model.report(tmp_path / "report.html", tmp_path / "X.zarr")
    assert names == ["profile"]
    assert str(tmp_path / "X.zarr") in Parsed(tmp_path / "report.html").texts["how"]


@pytest.mark.parametrize(("d", "k"), [(1, 20), (2, 1), (3, 300), (50, 2)])
def test_reports_of_any_width_and_number_of_clusters(d, k, tmp_path):
    X = np.random.default_rng(0).normal(size=(400, d))
    KMeans(k, init="random", n_init=1, random_state=0).fit(X).report(tmp_path / "report.html")
    parsed = Parsed(tmp_path / "report.html")
    data = json.loads(parsed.scripts[0])
    assert data["regions"] == (d <= 2)
    assert {len(frame["centers"]) for frame in data["frames"]} == {k}


def test_a_report_of_a_model_without_a_sample_has_no_rows(X, tmp_path):
    model = KMeans(3, random_state=0, history_rows=0).fit(X)
    model.history_.facts = None  # as in models that older versions wrote
    model.report(tmp_path / "report.html")
    parsed = Parsed(tmp_path / "report.html")
    assert "iterations" not in parsed.texts
    assert "svg" not in parsed.tags


def test_the_frames_of_the_player_are_those_of_the_history(model):
    data, scene = player_data(model, scene_of(model)), scene_of(model)
    frames = list(model.history_.frames())
    assert [f["caption"] for f in data["frames"]] == [f.caption for f in frames]
    assert len(data["points"]) == MOST_ROWS < 700
    left, right, bottom, top = scene.box([f.centers for f in frames])
    for plain, frame in zip(data["frames"], frames, strict=True):
        places = np.array(plain["centers"]) * [1, -1] / data["size"] + [0, 1]
        places = places * [right - left, top - bottom] + [left, bottom]
        np.testing.assert_allclose(places, frame.centers, atol=2e-3)
        if frame.labels is not None:
            drawn = np.linspace(0, 699, MOST_ROWS).astype(int)
            assert data["labels"][plain["labels"]] == frame.labels[drawn].tolist()


@pytest.mark.parametrize(
    ("k", "count", "most"), [(3, 300, MOST_FRAMES), (1000, 50, MOST_CENTERS // 1000)]
)
def test_the_frames_of_a_long_fit_are_few_with_the_first_and_the_last(
    model, k, count, most, monkeypatch
):
    random = np.random.default_rng(0)
    steps = [Iteration("lloyd", 0, i, random.normal(size=(k, 2)), 9.0, 1.0) for i in range(count)]
    long = clone(model).set_params(n_clusters=k)
    long.history_ = History(steps, stop_reason="max_iter", sample=model.history_.sample)
    frames = list(long.history_.frames())
    assert len(frames) == 2 * count + 2
    long.cluster_centers_, times = frames[-1].centers, []
    monkeypatch.setattr(
        RowSample, "labels", lambda *a, of=RowSample.labels: times.append(1) or of(*a)
    )
    data = player_data(long, scene_of(model))
    assert len(times) < most  # all but the initial centers have labels
    captions = [f["caption"] for f in data["frames"]]
    assert most / 2 < len(captions) <= most
    assert captions[:3] == [f.caption for f in frames[:3]]
    assert captions[-1] == frames[-1].caption
    assert len(set(captions)) == len(captions)
    assert len(json.dumps(data)) < 2_000_000


def test_parameters_set_after_the_fit_change_no_report(X, unpictured, tmp_path):
    model = KMeans(3, random_state=0).fit(X)
    for name, k in (("before.html", 3), ("after.html", 7)):
        model.set_params(n_clusters=k).report(tmp_path / name)
    assert (tmp_path / "after.html").read_bytes() == (tmp_path / "before.html").read_bytes()
    assert "K-means: 3 clusters" in (tmp_path / "after.html").read_text(encoding="utf-8")


def test_the_report_of_a_sweep_marks_the_best(found, sweep_page):
    parsed = Parsed(sweep_page)
    text = words(parsed.texts["choice"])
    for name in found.criteria:
        assert f"Best by {TITLES.get(name, name)} {found.best_by(name)} clusters" in text
    assert [v for t, n, v in parsed.attributes if (t, n) == ("td", "class")] == ["best"] * 4
    assert f"The model of {found.best_k} clusters" in words(" ".join(parsed.texts.values()))
    assert f"{found.models[2].inertia_:.6g}" in text
    assert re.search(rf"passes at most \d+ {found.passes} ", words(parsed.texts["plan"]))


def test_the_report_of_a_sweep_of_one_cluster_chooses_it(X, tmp_path):
    sweep(X, [1], random_state=0).report(tmp_path / "sweep.html")
    assert "Best by silhouette none" in words(Parsed(tmp_path / "sweep.html").texts["choice"])


def fitted(X, k, **options):
    return KMeans(k, init="random", n_init=1, random_state=0, **options).fit(X)


def test_features_on_other_scales_are_named(X):
    frame = pd.DataFrame({"age": X[:, 0], "income": 1e4 * X[:, 1], "id": 5.0})
    (warning,) = diagnose(fitted(frame, 3))
    plain = warning.replace("\u2068", "").replace("\u2069", "")
    assert plain.startswith("Features are on very different scales: income has")
    assert "hardly depend on age;" in plain
    assert diagnose(fitted(X * [1, 5], 3)) == ()


def test_nearly_empty_clusters_are_named():
    X = np.concatenate([np.zeros((500, 1)), np.ones((500, 1)), [[50.0]]])
    model = KMeans(3, init=[[0.0], [1.0], [50.0]]).fit(X)
    (warning,) = diagnose(model)
    assert warning.startswith("Nearly empty: 2 (1), by cluster and rows")


def test_clusters_that_share_a_center_are_named():
    X = np.random.default_rng(0).normal(size=(2000, 1)) + 1e3
    model = KMeans(2, init=[[1e3], [1e3 + 1e-9]], max_iter=1).fit(X)
    model.cluster_centers_ = np.array([[1e3], [1e3 + 0.01]])
    warnings = diagnose(model)
    assert any(w.startswith("Nearly the same centers: 0 and 1.") for w in warnings)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 1e9), (0.01, 1e8)])
def test_centers_are_told_apart_far_from_the_origin(X, scale, offset):
    model = fitted(X * scale + offset, 4)
    assert diagnose(model) == ()
    near = model.cluster_centers_[0] + 0.02 * scale
    model.cluster_centers_ = np.vstack([model.cluster_centers_, near])
    (warning,) = diagnose(model)
    assert warning.startswith("Nearly the same centers: 0 and 4.")


def test_a_fit_that_did_not_converge_is_named(X):
    (warning,) = diagnose(fitted(X, 4, max_iter=1))
    assert warning.startswith("Not converged: the fit ended after the 1 iterations")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("which", ["page", "hostile", "sweep_page"])
def test_a_page_fits_a_phone_and_a_desk(opened, which, width, request, tmp_path):
    tab = opened(request.getfixturevalue(which), width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("window.hacked") is None
    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_the_names_of_the_rows_of_a_wide_table_stay_when_it_is_scrolled(opened, sweep_page):
    table = opened(sweep_page, 390).locator("#sweep-table")
    assert table.evaluate("e => e.scrollWidth > e.clientWidth + 100")
    table.evaluate("e => { e.scrollLeft = 100 }")
    places = """table => [...table.querySelectorAll("th:first-child")].map(
      cell => cell.getBoundingClientRect().left - table.getBoundingClientRect().left)"""
    assert set(table.evaluate(places)) == {0}


@pytest.mark.parametrize("width", [390, 1280])
def test_captions_of_wide_tables_are_read_without_scrolling(opened, width, unpictured, tmp_path):
    page = tmp_path / "wide.html"
    fitted(np.random.default_rng(0).normal(size=(90, 14)) * 1e5, 3).report(page)
    table = opened(page, width).locator("#cluster-table")
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")
    right = "e => e.getBoundingClientRect().right"
    assert table.locator("caption span").evaluate(right) <= table.evaluate(right)


def test_the_player_moves(opened, page, model):
    from playwright.sync_api import expect

    tab = opened(page)
    frames = list(model.history_.frames())
    number, caption = tab.locator("[data-is=number]"), tab.locator("#player-caption")

    def places():
        return tab.eval_on_selector_all(".center", "all => all.map(c => c.style.transform)")

    assert number.text_content() == f"{len(frames)} of {len(frames)}"
    assert caption.text_content() == frames[-1].caption
    last = places()
    assert len(set(last)) == 4
    tab.locator("[data-is=frame]").fill("0")
    assert number.text_content() == f"1 of {len(frames)}"
    assert caption.text_content() == "Initial centers"
    first = places()
    assert all(a != b for a, b in zip(first, last, strict=True))
    colors = "all => all.map(c => c.getAttribute('fill'))"
    assert set(tab.eval_on_selector_all("#player circle", colors)) == {"gray"}
    tab.locator("[data-is=on]").click()
    assert number.text_content() == f"2 of {len(frames)}"
    assert len(set(tab.eval_on_selector_all("#player circle", colors))) == 4
    tab.locator("[data-is=back]").click()
    assert places() == first
    tab.locator("[data-is=play]").click()
    assert tab.locator("[data-is=play]").text_content() == "Pause"
    expect(number).to_have_text(f"3 of {len(frames)}")
    assert places() != first
    tab.locator("[data-is=play]").click()
    assert tab.locator("[data-is=play]").text_content() == "Play"


def test_the_cells_of_the_player_are_those_of_the_nearest_center(opened, page, model):
    tab = opened(page)
    data = json.loads(tab.locator("#player-data").text_content())
    box = tab.locator("#player").get_attribute("viewBox")
    assert list(map(int, box.split())) == [0, 0, *data["size"]]
    scale, centers = np.array(data["scale"]), np.array(data["frames"][-1]["centers"])
    inside = """(all, point) => all.map(polygon => {
      const svg = polygon.ownerSVGElement.createSVGPoint();
      [svg.x, svg.y] = point;
      return polygon.isPointInFill(svg);
    })"""
    for point in np.random.default_rng(0).uniform(size=(40, 2)) * data["size"]:
        sq_distances = ((centers - point) ** 2 * scale).sum(axis=1)
        nearest, second = np.sort(sq_distances)[:2]
        if second - nearest < 1000:
            continue  # too near to a border for coordinates of one digit
        found = tab.eval_on_selector_all("#player polygon", inside, point.tolist())
        assert np.flatnonzero(found).tolist() == [sq_distances.argmin()]


def test_dark_pages_have_dark_pictures(opened, page):
    for scheme, shown in (("light", "light"), ("dark", "dark")):
        tab = opened(page, scheme=scheme)
        visible = "all => all.filter(i => i.offsetParent !== null).map(i => i.className)"
        assert set(tab.eval_on_selector_all("img", visible)) == {shown}
        ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_page_can_be_printed(opened, page):
    for scheme in ("light", "dark"):
        tab = opened(page, scheme=scheme)
        tab.locator("[data-is=frame]").fill("0")
        printed = tab.pdf(format="A4")
        assert printed.startswith(b"%PDF")
        assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12
        tab.emulate_media(media="print")
        assert (
            tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        )
        assert not tab.locator(".controls").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_animation_plays_in_a_page_and_loads_nothing(opened, model, tmp_path, scheme):
    film = plot.animate(model, panel=None, theme=scheme, fps=50)
    page = tmp_path / "film.html"
    page.write_text(film.to_jshtml() + film.to_jshtml(), encoding="utf-8")  # two, apart
    tab = opened(page, scheme=scheme)
    first = tab.locator("[id^=animation-]").nth(0)
    shown = "all => all.map((image, i) => image.hidden ? -1 : i).filter(i => i >= 0)"

    def frame():
        return first.locator("img").evaluate_all(shown)

    last = film.frames - 1
    assert first.locator("img").count() == film.frames
    assert frame() == [last]
    first.locator("[data-is=frame]").fill("0")
    assert frame() == [0]
    first.locator("[data-is=on]").click()
    assert frame() == [1]
    assert first.locator("[data-is=number]").text_content() == f"2 of {film.frames}"
    first.locator("[data-is=play]").click()
    first.locator("[data-is=play]", has_text="Play").wait_for()
    assert frame() == [last]
    second = tab.locator("[id^=animation-]").nth(1).locator("[data-is=number]")
    assert second.text_content() == f"{film.frames} of {film.frames}"
    assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 300)")
    tab.screenshot(path=tmp_path / "film.png")
