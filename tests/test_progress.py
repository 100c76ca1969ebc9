"""What a watcher is told of a fit, and what a terminal shows of it."""

import io
import os
import re

import dask.array as da
import numpy as np
import pytest
from photo import written

from dkmeans import Iteration, KMeans, RowSample
from dkmeans.cli import display as display_module
from dkmeans.cli.display import Changes, Display
from dkmeans.data.synthetic import Blobs, write_blobs
from dkmeans.engine.progress import watched, watching
from dkmeans.image import quantize


class Watcher:
    def __init__(self):
        self.passes, self.rows, self.iterations, self.samples = [], 0, [], []

    def pass_started(self, name, blocks):
        self.passes.append(name)

    def resumed(self, how, passes):
        raise AssertionError(how)

    def block_done(self, rows, read_bytes):
        self.rows += rows

    def sample_drawn(self, sample, n_rows):
        assert self.iterations == []
        self.samples.append((sample, n_rows))

    def iteration_done(self, iteration):
        self.iterations.append(iteration)


ROUNDS = [*(f"init {r}" for r in range(1, 6)), "init weights"]


def watched_fit(X, chunk, **options):
    watcher = Watcher()
    model = KMeans(4, random_state=0, tol=0.0, **options)
    with watching(watcher):
        model.fit(da.from_array(X, chunks=(chunk, 2)))
    assert not watched()
    assert watcher.rows == len(X) * len(watcher.passes)
    assert watcher.iterations == list(model.history_)
    assert watcher.samples == [(model.history_.sample, len(X))]
    read = watcher.passes[:1] == ["read"]
    assert read == (options["residency"] == "memory")
    return model, watcher.passes[read:]


@pytest.mark.parametrize("residency", ["memory", "stream"])
@pytest.mark.parametrize(("init", "seeding"), [("k-means||", ROUNDS), ("random", [])])
def test_a_watcher_is_told_of_each_pass_over_the_data_and_of_no_other(residency, init, seeding):
    X = np.random.default_rng(0).normal(size=(500, 2))
    options = {"init": init, "n_init": 1, "algorithm": "lloyd", "residency": residency}
    model, passes = watched_fit(X, 100, **options)
    assert passes == ["survey", *seeding, *["lloyd"] * model.n_iter_]


@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_a_watcher_is_told_of_passes_that_several_iterations_share(residency):
    X = np.random.default_rng(0).normal(size=(40_000, 2))
    model, passes = watched_fit(X, 8_000, residency=residency)
    assert passes[:2] == ["survey", "init verify"]
    assert set(passes[2:]) <= {"init verify", "lloyd"}
    assert len(passes) == model.history_.passes < model.n_iter_


@pytest.mark.parametrize("standardize", [False, True])
def test_the_passes_of_an_image_are_two_and_all_else_is_a_search(tmp_path, standardize):
    watcher = Watcher()
    watcher.sample_drawn = lambda sample, n_rows: None  # of each start one
    with watching(watcher):
        found = quantize(written(tmp_path, "png"), 8, random_state=0, standardize=standardize)
        found.write(tmp_path / "few.png")
    assert watcher.passes[0] == "colors"
    assert set(watcher.passes[1:-1]) == {"search"}
    assert watcher.passes[-1] == "write"


@pytest.fixture
def clock(monkeypatch):
    """A clock for the display that stands until it is set: ``clock[0]`` in seconds."""
    now = [0.0]
    monkeypatch.setattr(display_module.time, "perf_counter", lambda: now[0])
    return now


def sample_of(*rows):
    rows = np.array(rows, np.float64)[:, None]
    return RowSample(rows, np.arange(len(rows)), np.ones(len(rows)))


def step_of(*centers, **values):
    values = {"phase": "lloyd", "step": 12, "inertia": 362781234.5, "shift": 0.12345, **values}
    return Iteration(centers=np.array(centers, np.float64)[:, None], **values)


def display_at(clock):
    """A display ten seconds into its third pass, a quarter of which is done."""
    shown = Display()
    shown.pass_started("survey", 4)
    shown.pass_started("init 1 and 3 others", 4)
    shown.sample_drawn(sample_of(0, 2, 6, 9), 1000)
    shown.iteration_done(step_of(0, 9, step=11))
    clock[0] = 60.0
    shown.pass_started("lloyd", 1000)
    shown.iteration_done(step_of(5, 9))
    clock[0] = 70.0
    for _ in range(250):
        shown.block_done(50_000, 4_000_000)
    return shown


def test_the_display_says_how_far_the_pass_and_the_fit_are(clock):
    assert display_at(clock).lines(80) == [
        "pass 3 lloyd  \t  250/1000  1.25M rows/s  100 MB/s  0:30 left",
        "iteration 12  inertia 3.628e+08  shift 0.1235  ~25.0% changed  1:10 elapsed",
    ]


@pytest.mark.parametrize("width", [30, 40, 60, 65, 70, 80, 120])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_nothing_is_cut_or_lost_in_few_columns(clock, width, ascii_only):
    from rich.console import Console

    file = io.TextIOWrapper(io.BytesIO(), "ascii" if ascii_only else "utf-8")
    Console(file=file, width=width, force_terminal=False).print(display_at(clock), end="")
    file.flush()
    lines = file.buffer.getvalue().decode().splitlines()
    assert all(len(line) <= width for line in lines)
    assert "\t" not in "".join(lines)
    text = "  ".join(lines)
    for part in (
        "pass 3 lloyd",
        "250/1000",
        "1.25M rows/s",
        "100 MB/s",
        "0:30 left",
        "iteration 12",
    ):
        assert part in text
    for part in ("inertia 3.628e+08", "shift 0.1235", "~25.0% changed", "1:10 elapsed"):
        assert part in text
    filled = len(re.findall("-" if ascii_only else "\N{BOX DRAWINGS HEAVY HORIZONTAL}", lines[0]))
    assert filled == (0 if width < 64 else min(30, width - 59) // 4)
    if width >= 80:
        assert len(lines) == 2


def test_only_a_terminal_gets_colors(clock):
    from rich.console import Console

    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal)
        console.print(display_at(clock))
        assert ("\x1b[" in console.file.getvalue()) == terminal


def test_a_finished_pass_is_done_and_one_without_a_total_has_no_count(clock):
    shown = Display()
    assert shown.lines(80) == ["starting  \t", "0:00 elapsed"]
    shown.pass_started("read", 2)
    clock[0] = 4000.0
    assert shown.lines(80) == ["read  \t  0/2", "1:06:40 elapsed"]
    for _ in range(2):
        shown.block_done(10, 0)
    assert shown.lines(80)[0] == "read  \t  2/2  0.005 rows/s  0 MB/s  done"


def test_searches_of_distinct_rows_are_no_passes():
    X = np.random.default_rng(0).integers(0, 5, (70_000, 2), dtype=np.uint8)
    watcher = Watcher()
    with watching(watcher):
        model = KMeans(4, random_state=0).fit(X)
    first, *searches, last = watcher.passes
    assert (first, set(searches), last) == ("survey", {"search"}, "labels")
    assert sum(iteration.passes for iteration in model.history_) == 1
    shown = Display()
    for name in watcher.passes:
        shown.pass_started(name, 1)
    assert shown.lines(80)[0].startswith("pass 2 labels")


def test_restarts_and_numbers_of_clusters_are_named_where_there_are_several(clock):
    shown = Display()

    def title(iteration):
        shown.iteration_done(iteration)
        return shown.lines(80)[1].partition("  inertia")[0]

    assert title(step_of(0, 1)) == "iteration 12"
    assert title(step_of(0, 1, run=1)) == "run 2 iteration 12"
    assert title(step_of(0, 1, phase="final", step=1)) == "run 1 final 1"
    assert title(step_of(0, 1, 2)) == "k=3 run 1 iteration 12"
    assert title(Iteration("init", step=3, inertia=4.0)) == "init 3"


def test_the_share_of_rows_that_changed_is_that_of_the_sample():
    changes = Changes(sample_of(0, 2, 6, 9), 5)
    assert changes.note(Iteration("init")) is None
    assert changes.note(step_of(0, 9)) is None  # 0 0 1 1
    assert changes.note(step_of(0, 2, 9)) is None  # another number of clusters
    assert changes.note(step_of(0, 3)) == "~25.0% changed"  # 0 1 1 1
    assert changes.note(step_of(0, 3)) == "~0.0% changed"
    assert changes.note(step_of(0, 3, run=1)) is None
    assert changes.note(step_of(9, 0)) == "~75.0% changed"  # 1 1 0 0
    for nothing in (Changes(), Changes(sample_of(), 5)):
        assert [nothing.note(step_of(0, 9)) for _ in range(2)] == [None, None]


def test_few_rows_tell_where_centers_are_many(monkeypatch):
    monkeypatch.setattr(display_module, "_MOST_WORK", 7)
    changes = Changes(sample_of(*range(100)), 100)
    assert [changes.note(step_of(0, 50)) for _ in range(2)] == [None, "~0.0% changed"]
    assert len(changes.labels[2, 0]) == 3


@pytest.mark.parametrize(("n_rows", "mark"), [(2000, ""), (2001, "~")])
def test_a_share_of_all_rows_is_not_marked_as_an_estimate(n_rows, mark):
    X = np.random.default_rng(0).normal(size=(n_rows + 5, 2))
    shown = Display()
    with watching(shown):  # rows of no weight take no part
        KMeans(4, init="random", n_init=1, random_state=0, tol=0.0).fit(
            X, sample_weight=np.arange(len(X)) < n_rows
        )
    assert f"  {mark}0.0% changed" in "  ".join(shown.lines(80))


def test_a_resumed_fit_is_told_above_and_its_passes_are_counted_on(clock):
    shown = Display()
    shown.resumed("from /data/run\x1b.ckpt at pass 5, iteration 4", 4)
    shown.pass_started("lloyd", 2)
    assert shown.lines(80) == [
        r"resumed from /data/run\x1b.ckpt at pass 5, iteration 4",
        "pass 5 lloyd  \t  0/2",
        "0:00 elapsed",
    ]
    assert shown.lines(30)[:2] == [r"resumed from /data/run\x1b.ckp", "t at pass 5, iteration 4"]


def test_numbers_are_short():
    told = [display_module._short(n) for n in (0, 12.34, 999.4, 999.6, 12_345, 999_600, 2.5e9)]
    assert told == ["0", "12.3", "999", "1k", "12.3k", "1M", "2.5G"]


@pytest.mark.skipif(os.name == "nt", reason="terminals of Unix")
def test_a_terminal_of_sixty_columns_shows_all_of_it(tmp_path):
    from terminals import shown

    write_blobs(Blobs(60_000, 4, 3, spread=9.0), tmp_path / "X.zarr", chunk_rows=4000)
    args = "fit X.zarr -k 8 --seed 0 --residency stream --init random --n-init 1 --algorithm lloyd"
    drawn = shown(*args.split(), "--max-iter", "25", columns=60, cwd=tmp_path)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    lines = re.split(r"[\r\n]+", plain)
    assert max(len(line) for line in lines) <= 60
    for what in (r"pass \d+ \w+", r"\d+/\d+", r"k rows/s|M rows/s", r"MB/s", r"~\d+\.\d% changed"):
        assert re.search(what, plain), what
