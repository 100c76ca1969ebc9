"""The record of a fit: table, DataFrame, JSON Lines."""

import json
import math

import numpy as np
import pytest
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
