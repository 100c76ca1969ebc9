"""The record of a fit: table, DataFrame, JSON Lines."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import sklearn
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dkmeans import FormatError, History, Iteration, KMeans
from dkmeans.record import history as history_module

HEAD = '{"format": "dkmeans-history", "version": 1, "best_run": 0, "dtype": "float64"}\n'

numbers = st.floats(allow_nan=False, allow_infinity=False)
iterations = st.builds(
    Iteration,
    phase=st.sampled_from(["survey", "init", "lloyd", "final"]),
    run=st.integers(0, 9),
    step=st.integers(0, 300),
    centers=st.none() | arrays(np.float64, (2, 3), elements=numbers),
    inertia=numbers | st.just(math.nan),
    shift=numbers | st.just(math.nan),
    sizes=st.none() | st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)),
    seconds=st.floats(0, 1e6),
    passes=st.integers(0, 3),
    bytes_read=st.integers(0, 2**50),
    rows_assigned=st.integers(0, 2**50),
)


@pytest.fixture(scope="module")
def fitted():
    X = np.random.default_rng(0).normal(size=(300, 2))
    return KMeans(4, random_state=0, n_init=2).fit(X)


@given(st.builds(History, st.lists(iterations, max_size=6), st.integers(0, 3)))
def test_json_lines_bring_back_the_same_history(history):
    assert History.parse(history.dump(), "here") == history


def test_json_lines_on_disk(fitted, tmp_path):
    path = tmp_path / "history.jsonl"
    fitted.history_.to_jsonl(path)
    again = History.from_jsonl(path)
    assert again == fitted.history_
    assert again.best_run == fitted.history_.best_run
    lines = path.read_text().splitlines()
    assert len(lines) == len(again) + 1
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_float32_centers_come_back_as_float32(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    history = KMeans(2, random_state=0).fit(X).history_
    history.to_jsonl(tmp_path / "h.jsonl")
    assert History.from_jsonl(tmp_path / "h.jsonl")[-1].centers.dtype == np.float32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json\n",
        "[]\n",
        "{}\n",
        '{"format": "other", "version": 1, "best_run": 0, "dtype": "float64"}\n',
        '{"format": "dkmeans-history", "version": 99, "best_run": 0, "dtype": "float64"}\n',
        HEAD + '{"a": 1}\n',
        HEAD + '{"pha',
    ],
)
def test_junk_is_refused(text, tmp_path):
    path = tmp_path / "junk.jsonl"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"junk\.jsonl is not a dkmeans history of version 1"):
        History.from_jsonl(path)


def test_a_missing_file_is_the_builtin_error(tmp_path):
    with pytest.raises(OSError, match="nothing"):
        History.from_jsonl(tmp_path / "nothing.jsonl")


def test_the_table_has_a_line_a_step(fitted):
    lines = str(fitted.history_).splitlines()
    assert len(lines) == len(fitted.history_) + 1
    assert lines[0].split()[:4] == ["run", "phase", "step", "inertia"]
    assert f"{fitted.inertia_:.7g}" in lines[-1] or fitted.history_.best_run == 0
    assert len({len(line) for line in lines}) == 1


def test_the_data_frame_has_a_line_a_step(fitted):
    frame = fitted.history_.to_frame()
    assert len(frame) == len(fitted.history_)
    assert list(frame["phase"]) == [i.phase for i in fitted.history_]
    assert frame["inertia"].iloc[-1] == fitted.history_[-1].inertia


def test_the_sizes_are_those_of_the_last_step_of_the_best_run_that_knows_them():
    steps = [
        Iteration("survey"),
        Iteration("lloyd", 0, 1, sizes=(4, 2)),
        Iteration("lloyd", 1, 1, sizes=(3, 3)),
        Iteration("lloyd", 1, 2, sizes=(5, 1)),
        Iteration("final", 1, 1),
        Iteration("lloyd", 2, 1, sizes=(1, 5)),
    ]
    assert History(steps, best_run=1).sizes == (5, 1)
    assert History(steps[:1]).sizes is History().sizes is None


def test_the_sizes_of_a_fit_are_those_of_its_labels(fitted):
    assert fitted.history_.sizes == tuple(np.bincount(fitted.labels_, minlength=fitted.n_clusters))


def test_the_best_run_is_the_one_that_the_model_has(fitted):
    best = fitted.history_.best()
    assert {i.run for i in best if i.phase != "survey"} == {fitted.history_.best_run}
    last = [i for i in best if i.phase in ("lloyd", "final")][-1]
    assert last.inertia == fitted.inertia_
    np.testing.assert_array_equal(last.centers, fitted.cluster_centers_)
    ends = [
        [i for i in fitted.history_ if i.run == r and i.phase != "survey"][-1].inertia
        for r in range(2)
    ]
    assert fitted.inertia_ == min(ends)


def test_totals_are_the_sums_of_the_steps(fitted):
    history = fitted.history_
    assert history.passes == sum(i.passes for i in history)
    assert history.seconds == pytest.approx(sum(i.seconds for i in history))
    assert history.bytes_read == 0  # the array was in memory
    assert "passes" in repr(history)


def test_a_slice_is_a_history(fitted):
    assert isinstance(fitted.history_[1:3], History)
    assert len(fitted.history_[1:3]) == 2
    assert fitted.history_[-1] is list(fitted.history_)[-1]


def test_sizes_add_up_to_the_rows(fitted):
    lloyd = [i for i in fitted.history_ if i.phase == "lloyd"]
    assert {sum(i.sizes) for i in lloyd} == {300}
    assert lloyd[0].rows_assigned == 300
    assert all(i.rows_assigned <= 300 for i in lloyd)


def test_many_large_centers_are_thinned_out_but_the_first_and_last_stay(monkeypatch):
    monkeypatch.setattr(history_module, "CENTER_BYTES", 10 * 48)
    history = History()
    for step in range(100):
        history.append(Iteration("lloyd", step=step, centers=np.full((2, 3), float(step))))
        kept = [i.step for i in history if i.centers is not None]
        assert kept[0] == 0
        assert kept[-1] == step
        assert len(kept) <= 11
    assert [i.step for i in history] == list(range(100))


class Table(HTMLParser):
    """The cells of the last table of a page, and the tags of the whole page."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.tags, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "table":
            self.rows = []
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        self.text.append(data)
        if self.rows and self.tags[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_a_notebook_shows_the_table(fitted):
    table = Table(fitted.history_._repr_html_())
    lines = str(fitted.history_).splitlines()
    assert [" ".join(row).split() for row in table.rows] == [line.split() for line in lines]


def test_a_notebook_shows_the_ends_of_a_long_table():
    history = History([Iteration("lloyd", step=step, inertia=1.0) for step in range(1, 301)])
    rows = Table(history._repr_html_()).rows
    assert [row[1] for row in rows] == ["step", *"12345", "…", *map(str, range(296, 301))]
    assert set(rows[6]) == {"…"}
    assert len({len(row) for row in rows}) == 1


def page_of(model):
    """What a notebook shows of a model, by either way of asking."""
    page = model._repr_html_()
    assert model._repr_mimebundle_()["text/plain"] == repr(model)
    shown = re.sub(r"sk-[\w-]+", "", model._repr_mimebundle_()["text/html"])
    assert shown == re.sub(r"sk-[\w-]+", "", page)
    return page


def test_a_notebook_shows_the_state_of_a_model_below_the_diagram():
    X = np.random.default_rng(0).uniform(size=(500, 2))
    assert "<p>Not fitted yet.</p>" in page_of(KMeans(4))
    model = KMeans(8, init=X[:8], max_iter=2).fit(X)
    page = page_of(model)
    assert "sk-top-container" in page
    assert (
        "<p>Stopped after 2 iterations, all that max_iter allows: not converged;"
        f" inertia {model.inertia_:.7g};"
        f" {model.history_.passes} passes; 500 rows of an array in memory.</p>"
    ) in page
    assert len(Table(page).rows) == len(model.history_) + 1
    model.set_params(max_iter=300, tol=0).fit(X)
    told = f"<p>Converged after {model.n_iter_} iterations: no center moves any more; inertia"
    assert told in page_of(model)
    model.set_params(tol=0.9).fit(X)
    told = "<p>Stopped after 2 iterations: centers move by no more than tol; inertia"
    assert told in page_of(model)
    assert repr(model).startswith("KMeans(init=array(")


def test_a_notebook_shows_what_was_read(tmp_path):
    path = tmp_path / "<b>x.zarr"
    zarr.save_array(path, np.random.default_rng(0).uniform(size=(500, 2)))
    model = KMeans(1, random_state=0, residency="stream").fit(str(path))
    page = page_of(model)
    read = f"{model.history_.bytes_read / 1e6:,.1f} MB read"
    assert f"{model.history_.passes} passes; {read}; 500 rows of {tmp_path}/&lt;b&gt;x" in page
    assert "<b>x" not in page


def test_a_notebook_shows_no_tags_of_feature_names():
    hostile = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>']
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=hostile)
    plain, named = KMeans(2, random_state=0).fit(X.to_numpy()), KMeans(2, random_state=0).fit(X)
    page = page_of(named)
    assert not {"img", "script"} & (set(Table(page).tags) - set(Table(page_of(plain)).tags))
    assert "<img src=x" not in page
    assert hostile[0] not in page


def test_the_display_setting_of_scikit_learn_holds():
    with sklearn.config_context(display="text"):
        assert not hasattr(KMeans(), "_repr_html_")
        assert set(KMeans()._repr_mimebundle_()) == {"text/plain"}
