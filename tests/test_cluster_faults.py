"""Fits on clusters that break: the same bits, or an error that says what to do; never a hang."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace

import dask
import pytest

from dkmeans import KMeans, fitting
from dkmeans.engine.passes import Passes
from dkmeans.errors import ClusterError
from tests.clusters import IMPATIENT, OPTIONS, DaskCluster, N, Rigged, at_pass, made
from tests.faults import TABLE

pytestmark = pytest.mark.faults

K = 6
LONG = pytest.mark.usefixtures("only_long")
MOST_SECONDS = 90  # for a fit of a second, on a machine that does much else


def bits(model):
    return model.cluster_centers_.tobytes(), model.inertia_, model.n_iter_, model.stop_reason_


@pytest.fixture(scope="module")
def expected():
    return bits(KMeans(K, **OPTIONS).fit(made(0, N)))


@pytest.fixture(scope="module", autouse=True)
def impatient():
    with dask.config.set(IMPATIENT):
        yield


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with DaskCluster(folder, more=allowed) as made_:
        yield made_


@pytest.fixture
def workers(cluster):
    """Two workers of the cluster, which end with the test."""
    both = [cluster.start_worker() for _ in range(2)]
    yield both
    for worker in both:
        worker.kill()


def fit(client, reader, **options):
    return KMeans(K, **{**OPTIONS, **options}).fit(reader.source)


def judged(fault, expected, run):
    """Run a fit, and enter how it ended in the table; the error, if it ended in one."""
    began = time.monotonic()
    error = None
    try:
        outcome = "identical" if bits(run()) == expected else "lost or damaged"
    except ClusterError as caught:
        outcome, error = "clear error", str(caught)
    if time.monotonic() - began > MOST_SECONDS:
        outcome = "hang"
    TABLE.add(fault, outcome)
    assert outcome in ("identical", "clear error"), fault
    return error


def test_a_worker_killed_in_the_middle_of_a_pass(cluster, workers, expected, tmp_path, long):
    """Another comes for the next fit."""
    for number in range(1, 8) if long else [2]:
        fuse = tmp_path / f"kill-{7 * number % 40}"
        with cluster.client() as client, at_pass(number, fuse.touch):
            run = lambda: fit(client, Rigged(tmp_path))  # noqa: E731
            assert judged("worker killed", expected, run) is None
        assert not fuse.exists()
        workers.append(cluster.start_worker())


def test_a_worker_killed_whose_nanny_starts_another(cluster, expected, tmp_path, long):
    workers = [cluster.start_worker(nanny=True, memory="900MiB") for _ in range(2)]
    for residency in ["memory", "stream"] if long else ["memory"]:
        fuses = [tmp_path / f"kill-{unit}" for unit in (3, 30)]
        with cluster.client() as client:
            fuses[0].touch()
            with at_pass(4, fuses[1].touch):
                run = lambda: fit(client, Rigged(tmp_path), residency=residency)  # noqa: B023, E731
                fault = f"worker killed, with nanny, {residency}"
                assert judged(fault, expected, run) is None
        assert not fuses[0].exists()
        fuses[1].unlink(missing_ok=True)
    for worker in workers:
        worker.kill()


def test_a_worker_that_held_the_data_in_memory(cluster, workers, expected, tmp_path):
    with cluster.client() as client, at_pass(3, workers[0].kill):
        run = lambda: fit(client, Rigged(tmp_path), residency="memory")  # noqa: E731
        assert judged("worker with data killed", expected, run) is None


def test_a_worker_that_had_rows_kept_between_passes(cluster, workers, tmp_path, monkeypatch, long):
    """It is killed between two iterations on them; another reads its share of them again."""
    options = {"init": "random", "tol": 0.0, "max_iter": 12}
    expected = bits(KMeans(K, **{**OPTIONS, **options}).fit(made(0, N)))
    do, plan_of, calls, fatal = Passes._on_pieces, fitting.plan_of, [], []

    def killing(*args):
        calls.append(args)
        if len(calls) in fatal:
            workers[-1].kill()
        return do(*args)

    monkeypatch.setattr(
        fitting, "plan_of", lambda *args: replace(plan_of(*args), kept_rows=8000, kept_at_one=0)
    )
    monkeypatch.setattr(Passes, "_on_pieces", killing)
    for number in (1, 2, 3, 4, 5) if long else [2]:
        calls.clear()
        fatal[:] = [number]
        with cluster.client() as client:
            run = lambda: fit(client, Rigged(tmp_path), algorithm="auto", **options)  # noqa: E731
            assert judged("worker with kept rows killed", expected, run) is None
        assert len(calls) >= 5
        workers.append(cluster.start_worker())


def test_a_worker_out_of_memory_once(cluster, expected, tmp_path):
    """Its nanny starts another, which takes more than the patience on a machine that is busy."""
    worker = cluster.start_worker(nanny=True, memory="900MiB")
    (tmp_path / "hog-17").touch()
    with dask.config.set({"dkmeans.no-workers-timeout": "60s"}), cluster.client() as client:
        run = lambda: fit(client, Rigged(tmp_path))  # noqa: E731
        assert judged("worker out of memory once", expected, run) is None
    worker.kill()


@LONG
def test_a_block_that_never_fits_in_memory(cluster, expected, tmp_path):
    worker = cluster.start_worker(nanny=True, memory="900MiB")
    for unit in range(16, 20):
        (tmp_path / f"hog-{unit}").touch()
    with cluster.client() as client:
        run = lambda: fit(client, Rigged(tmp_path))  # noqa: E731
        error = judged("worker out of memory again and again", expected, run)
    worker.kill()
    assert "a task ended 2 workers that tried it, the last tcp://" in error
    assert "give the workers more of it or fewer threads, or lower memory_limit" in error


def test_a_worker_slow_by_fifty_times(cluster, workers, expected, tmp_path):
    """One of two gets a fiftieth of the time."""
    done = threading.Event()

    def slow():
        while not done.is_set():
            workers[0].signal(signal.SIGSTOP)
            done.wait(0.098)
            workers[0].signal(signal.SIGCONT)
            done.wait(0.002)

    thread = threading.Thread(target=slow)
    with cluster.client() as client, at_pass(2, thread.start):
        run = lambda: fit(client, Rigged(tmp_path))  # noqa: E731
        try:
            assert judged("worker slow by 50 times", expected, run) is None
        finally:
            done.set()
            thread.join()


@LONG
def test_a_worker_that_stands_still(cluster, workers, expected, tmp_path):
    """It answers nothing; its place is taken once the scheduler has waited ``worker-ttl``."""
    (tmp_path / "stop-17").touch()
    with cluster.client() as client:
        run = lambda: fit(client, Rigged(tmp_path))  # noqa: E731
        assert judged("worker standing still", expected, run) is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_scheduler_that_is_lost(tmp_path, expected, number):
    with DaskCluster(tmp_path) as own:
        own.start_worker()
        with own.client() as client, at_pass(3, lambda: own.scheduler.signal(number)):
            run = lambda: fit(client, Rigged(tmp_path))  # noqa: E731
            error = judged("scheduler lost", expected, run)
            own.scheduler.kill()  # so that the client need not wait to say goodbye
    assert f"the scheduler {own.address} has " in error
    assert "start it again if it has ended, and repeat the fit" in error


def test_no_workers_from_the_start(cluster, expected, tmp_path):
    with cluster.client() as client:
        error = judged("no workers", expected, lambda: fit(client, Rigged(tmp_path)))
    assert f"the scheduler {cluster.address} has had no workers for 4" in error
    assert f"dask worker {cluster.address}" in error


@LONG
def test_no_workers_from_the_middle_on(cluster, workers, expected, tmp_path):
    (tmp_path / "kill-5").touch()
    with cluster.client() as client, at_pass(2, workers[0].kill):
        (tmp_path / "kill-35").touch()
        error = judged("no workers", expected, lambda: fit(client, Rigged(tmp_path)))
    assert "has had no workers for 4" in error or "a task ended 2 workers" in error


@LONG
def test_workers_that_come_in_time(cluster, workers, expected, tmp_path):
    """The last worker goes, and another comes before the patience ends."""

    def replace():
        for worker in workers:
            worker.kill()
        workers.append(cluster.start("worker", cluster.address, "--no-nanny", "--nthreads=1"))

    patient = dask.config.set({"dkmeans.no-workers-timeout": "60s"})
    with patient, cluster.client() as client, at_pass(3, replace):
        run = lambda: fit(client, Rigged(tmp_path))  # noqa: E731
        assert judged("all workers replaced", expected, run) is None


def foreign(folder, version):
    """A folder with another dkmeans, to put before the true one."""
    (folder / "dkmeans").mkdir(parents=True)
    text = f"__version__ = {version!r}" if version else "raise ImportError('No module dkmeans')"
    (folder / "dkmeans" / "__init__.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


def others(folder):
    """Options and environment of another dkmeans, another Python and no dkmeans; what is told."""
    preload = folder / "python39.py"
    preload.write_text("import platform\nplatform.python_version_tuple = lambda: ('3', '9', '1')\n")
    python = f"has dkmeans {dkmeans_version()} on Python 3.9"
    dkmeans = f"has dkmeans 0.0.9 on Python {platform_version()}"
    none = "cannot import dkmeans (No module dkmeans)"
    return [
        ([], foreign(folder / "old", "0.0.9"), dkmeans),
        ([f"--preload={preload}"], {}, python),
        ([], foreign(folder / "none", None), none),
    ]


def here():
    return f"here it is dkmeans {dkmeans_version()} on Python {platform_version()}"


def test_workers_with_other_versions(cluster, workers, expected, tmp_path):
    """At the start."""
    for options, environment, theirs in others(tmp_path):
        other = cluster.start_worker(*options, **environment)
        with cluster.client() as client:
            run = lambda: fit(client, Rigged(tmp_path))  # noqa: E731
            error = judged("worker with other versions", expected, run)
        other.kill()
        assert theirs in error
        assert here() in error


@pytest.mark.parametrize("which", [0, 1, 2], ids=["dkmeans", "python", "none"])
def test_a_scheduler_with_other_versions(expected, tmp_path, which):
    options, environment, theirs = others(tmp_path)[which]
    with DaskCluster(tmp_path) as own:
        own.scheduler.kill()
        own.start_scheduler(*options, **environment)
        own.start_worker()
        with own.client() as client:
            run = lambda: fit(client, Rigged(tmp_path))  # noqa: E731
            error = judged("scheduler with other versions", expected, run)
    assert f"{own.address} (the scheduler) {theirs}, {here()}" in error


PAUSING = {  # a worker does no more tasks while it has over 0.7 of its limit
    f"DASK_DISTRIBUTED__WORKER__MEMORY__{name}": value
    for name, value in {"PAUSE": "0.7", "SPILL": "False", "TARGET": "False"}.items()
}
PAUSED = (
    "has been paused for 4.00 s (dkmeans.no-workers-timeout in dask's configuration), mostly for"
    " lack of memory: give them more of it or fewer threads, or lower memory_limit"
)


def test_workers_that_are_all_paused(cluster, expected, tmp_path):
    """From the start, and from the third pass on."""
    both = [cluster.start_worker(memory="16MiB", **PAUSING) for _ in range(2)]
    for worker in both:
        worker.wait_for("Pausing worker")
    with cluster.client() as client:
        run = lambda: fit(client, Rigged(tmp_path), memory_limit="1GiB")  # noqa: E731
        error = judged("all workers paused", expected, run)
    assert f"every worker of {cluster.address} (2) {PAUSED}" in error
    for worker in both:
        worker.kill()
    alone = cluster.start_worker(memory="800MiB", **PAUSING)
    with cluster.client() as client, at_pass(3, lambda: client.run(hold, 600)):
        run = lambda: fit(client, Rigged(tmp_path, seconds=0.1))  # noqa: E731
        error = judged("all workers paused", expected, run)
    alone.kill()
    assert f"every worker of {cluster.address} (1) {PAUSED}" in error


def test_workers_that_are_paused_a_while(cluster, expected, tmp_path):
    alone = cluster.start_worker(memory="800MiB", **PAUSING)
    with cluster.client() as client:
        let_go = threading.Timer(2.0, client.run, [hold, 0])

        def pause():
            client.run(hold, 600)
            let_go.start()

        with at_pass(3, pause):
            run = lambda: fit(client, Rigged(tmp_path, seconds=0.1))  # noqa: E731
            assert judged("workers paused a while", expected, run) is None
        let_go.join()
        assert "Pausing worker" in alone.text
    alone.kill()


def hold(mebibytes):
    """Keep so much memory in this process."""
    import builtins

    builtins.held = bytearray(b"x") * (mebibytes * 2**20)


@LONG
def test_a_worker_with_other_versions_that_comes_later(cluster, workers, expected, tmp_path):
    others = []

    def add():
        others.append(cluster.start_worker(**foreign(tmp_path / "old", "0.0.9")))

    with cluster.client() as client, at_pass(3, add):
        error = judged(
            "worker with other versions", expected, lambda: fit(client, Rigged(tmp_path))
        )
    others[0].kill()
    assert "has dkmeans 0.0.9 on Python" in error


def dkmeans_version():
    import dkmeans

    return dkmeans.__version__


def platform_version():
    import platform

    return ".".join(platform.python_version_tuple()[:2])
