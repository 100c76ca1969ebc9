"""Functions and scikit-learn's callbacks, told of a fit while it runs."""

import importlib.util
import subprocess
import sys
import threading

import dask.array as da
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dkmeans import Checkpoint, KMeans, sweep
from dkmeans.engine.progress import watched

needs_protocol = pytest.mark.skipif(
    importlib.util.find_spec("sklearn.callback") is None,
    reason="scikit-learn has callbacks from 1.9 on",
)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).uniform(size=(400, 2))


@pytest.mark.parametrize("init", ["auto", "k-means||", "random"])
@pytest.mark.parametrize("lazy", [False, True])
def test_each_function_is_called_with_each_step_as_it_is_recorded(X, init, lazy):
    first, second = [], []
    model = KMeans(4, init=init, n_init=2, callbacks=[first.append, second.append], random_state=0)
    model.fit(da.from_array(X, chunks=(90, 2)) if lazy else X)
    assert first == second == list(model.history_)
    assert all(a is b for a, b in zip(first, model.history_, strict=True))


def test_one_function_needs_no_list(X):
    threads = []
    KMeans(3, callbacks=lambda _: threads.append(threading.current_thread()), random_state=0).fit(X)
    assert set(threads) == {threading.current_thread()}


@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("lazy", [False, True])
def test_what_a_function_raises_ends_the_fit_and_is_what_the_caller_gets(X, error, at, lazy):
    seen = []

    def stop(iteration):
        seen.append(iteration)
        if len(seen) > at:
            raise error

    before = set(threading.enumerate())
    model = KMeans(6, callbacks=stop, tol=0, random_state=0)
    with pytest.raises(type(error)) as caught:
        model.fit(da.from_array(X, chunks=(90, 2)) if lazy else X)
    assert caught.value is error
    assert len(seen) == at + 1
    assert not hasattr(model, "cluster_centers_")
    assert not watched()
    left = {t for t in threading.enumerate() if not t.name.startswith("ThreadPool")} - before
    assert not left
    again = model.set_params(callbacks=None).fit(X)
    assert len(again.history_) >= len(seen)
    np.testing.assert_array_equal(again.labels_, again.predict(X))


def test_functions_change_nothing(X):
    plain = KMeans(4, random_state=0).fit(X)
    told = KMeans(4, random_state=0, callbacks=lambda _: None).fit(X)
    np.testing.assert_array_equal(told.cluster_centers_, plain.cluster_centers_)
    assert [i.inertia for i in told.history_[1:]] == [i.inertia for i in plain.history_[1:]]


def test_clones_and_parameters_keep_the_functions():
    functions = [print, repr]
    model = KMeans(3, callbacks=functions)
    assert model.get_params()["callbacks"] is functions
    assert clone(model).callbacks == functions
    assert clone(KMeans(callbacks=print)).callbacks is print
    assert KMeans().callbacks is None


def test_models_on_disk_have_no_functions(X, tmp_path):
    model = KMeans(3, callbacks=lambda _: None, random_state=0).fit(X)
    model.save(tmp_path / "m.npz")
    assert KMeans.load(tmp_path / "m.npz").callbacks is None
    assert "callbacks" not in model.history_.facts.parameters


def test_the_models_of_a_sweep_tell_the_functions(X):
    seen = []
    models = sweep(X, [2, 3], random_state=0, callbacks=seen.append).models
    assert len(seen) == sum(len(model.history_) for model in models.values())
    assert {len(i.centers) for i in seen if i.centers is not None} == {2, 3}


@pytest.mark.parametrize("wrong", [3, "print", [print, 3], (print,)])
def test_what_cannot_be_called_is_refused(X, wrong):
    with pytest.raises(ValueError, match="The 'callbacks' parameter of KMeans must be"):
        KMeans(2, callbacks=wrong).fit(X)


class Notes:
    """Follows scikit-learn's protocol."""

    def __init__(self, stop_at=None):
        self.told, self.stop_at = [], stop_at

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, metadata=None):
        self.told.append(("begin", context.task_name, context.task_id))
        self.X, self.metadata = X, metadata

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.told.append(("end", context.task_name, context.task_id))
        self.most = context.max_subtasks
        self.fitted = fitted_estimator
        if context.task_id == self.stop_at:
            raise RuntimeError("enough")


@needs_protocol
def test_scikit_learns_callbacks_are_told_of_the_fit_and_of_each_iteration(X):
    notes, weights = Notes(), np.ones(len(X))
    model = KMeans(4, n_init=2, init="random", max_iter=40, random_state=0)
    assert model.set_callbacks(notes) is model
    model.fit(X, sample_weight=weights)
    iterations = sum(i.phase == "lloyd" for i in model.history_)
    steps = [(what, "iteration", i) for i in range(iterations) for what in ("begin", "end")]
    fit = [("begin", "fit", 0), *steps, ("end", "fit", 0)]
    assert notes.told == ["setup", *fit, "teardown"]
    assert notes.most == 80
    assert notes.X is None or notes.X is X
    np.testing.assert_array_equal(notes.fitted.predict(X), model.labels_)
    assert not hasattr(model, "_callback_fit_ctx")


@needs_protocol
def test_a_task_that_ended_has_a_model_of_the_centers_assigned_to(X):
    inertias = []

    class Scores(Notes):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            inertias.append((fitted_estimator.inertia_, -fitted_estimator.score(X)))

    KMeans(4, init=X[:4], tol=0).set_callbacks(Scores()).fit(X)
    assert len(inertias) > 3
    told, measured = zip(*inertias, strict=True)
    assert told == pytest.approx(measured, rel=1e-13)


@needs_protocol
def test_what_scikit_learns_callbacks_raise_ends_the_fit_and_they_are_torn_down(X):
    notes = Notes(stop_at=1)
    model = KMeans(4, init=X[:4], tol=0).set_callbacks(notes)
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(X)
    assert notes.told[-2:] == [("end", "iteration", 1), "teardown"]
    assert not hasattr(model, "_callback_fit_ctx")
    assert not hasattr(model, "cluster_centers_")


@needs_protocol
def test_wrong_parameters_are_refused_before_callbacks_are_told(X):
    notes = Notes()
    with pytest.raises(ValueError, match="The 'n_init' parameter"):
        KMeans(4, n_init="x").set_callbacks(notes).fit(X)
    assert notes.told == []


@needs_protocol
def test_the_progress_bar_of_scikit_learn_works_alone_and_in_a_pipeline(X, capsys):
    from sklearn.callback import ProgressBar

    KMeans(4, random_state=0).set_callbacks(ProgressBar()).fit(X)
    shown = capsys.readouterr().out
    assert "KMeans - fit" in shown
    assert "100%" in shown
    pipeline = make_pipeline(StandardScaler(), KMeans(4, random_state=0))
    pipeline.set_callbacks(ProgressBar()).fit(X)
    assert "KMeans - fit" in capsys.readouterr().out


@needs_protocol
def test_the_progress_bar_of_scikit_learn_says_where_a_fit_was_resumed(X, capsys, tmp_path):
    from sklearn.callback import ProgressBar

    def shown(**how):
        checkpoint = Checkpoint(tmp_path / "run.ckpt", **how)
        model = KMeans(4, random_state=0, init=X[:4], tol=0, max_iter=4, checkpoint=checkpoint)
        model.set_callbacks(ProgressBar()).fit(X)
        return capsys.readouterr().out.replace("\n", "")

    assert "resumed" not in shown()
    (tmp_path / "run.ckpt" / "end.entry").unlink()
    entries = sorted((tmp_path / "run.ckpt").iterdir())
    entries[-1].unlink()
    assert "KMeans - resumed from " in shown()
    assert "resumed" not in shown(fresh=True)


def test_without_the_protocol_there_are_the_functions_alone():
    code = """
import sys
sys.modules["sklearn.callback"] = None  # as before scikit-learn 1.9
import numpy as np
from dkmeans import KMeans
seen = []
KMeans(2, callbacks=seen.append, random_state=0).fit(np.arange(8.0)[:, None])
assert not hasattr(KMeans, "set_callbacks")
print(len(seen) > 1)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.strip() == "True", done.stderr
