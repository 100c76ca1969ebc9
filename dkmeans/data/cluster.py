"""Work on a cluster that may fail: who takes part, and waits that end.

``distributed`` itself computes again what a lost worker had or did. What it would wait for without
end is bounded here: a cluster without workers that can work, and a scheduler that does not answer.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import platform
import sys
import time
import uuid
from collections.abc import Coroutine, Iterator, Sequence
from importlib import import_module
from typing import Any, NoReturn

import dask
import dask.array as da
import numpy as np
from dask.utils import format_time, parse_timedelta

from dkmeans.errors import ClusterError, DkmeansError

CLUSTER = (None, "dask.distributed", "distributed")  # dask's schedulers that a client stands for
# configuration of a cluster that this process starts: memory that is freed serves again, and nobody
# samples what threads do a hundred times a second, or times their event loops fifty times
OWN_WORKERS = {
    "distributed.admin.tick.interval": "1s",
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    "distributed.worker.profile.enabled": False,
}
_LOOK = 1.0  # seconds between looks at the cluster while a result is waited for
_TIMEOUTS = {"no-workers-timeout": "60 s", "scheduler-timeout": "120 s"}
# evaluated on each worker: a text arrives in any Python, whether or not dkmeans is there
_PROBE = "(__import__('dkmeans').__version__, __import__('platform').python_version_tuple()[:2])"


def timeout(name: str) -> float:
    """Seconds, of dask's configuration where ``dkmeans.NAME`` is set there."""
    value = dask.config.get(f"dkmeans.{name}", _TIMEOUTS[name])
    return float(parse_timedelta(value))


def current_client() -> Any | None:
    """The ``distributed.Client`` that dask would use now, if any."""
    configured = dask.config.get("scheduler", None)
    if "distributed" not in sys.modules or configured not in CLUSTER:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None


class Cluster:
    """The workers of a client, and results from them.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._address = "" if client.scheduler is None else str(client.scheduler.address)
        self._checked: set[str] = set()
        self._seen = time.monotonic()  # when a worker was last there that could work

    def workers(self) -> dict[str, dict[str, Any]]:
        """What the scheduler knows of each worker that can work; waits for the first to come.

        Raises
        ------
        ClusterError
            No such worker in ``dkmeans.no-workers-timeout``, no answer from the scheduler in
            ``dkmeans.scheduler-timeout``, or a worker with another version of dkmeans or Python.
        """
        self._seen = time.monotonic()
        while not (found := self._look()):
            time.sleep(_LOOK / 10)
        self._check(found)
        return found

    def threads(self) -> int:
        """Threads of all workers that can work."""
        return sum(worker["nthreads"] for worker in self.workers().values())

    def result(self, work: Any) -> Any:
        """The value of a dask array of one chunk, or of something delayed."""
        self.workers()
        (held,) = self.client.persist([work])
        (future,) = self.client.futures_of(held)
        try:
            value = self._wait(_awaited(future))
        finally:
            future.release()  # which ends its tasks, should they be at work
        self._check(self._look())  # those that came meanwhile
        return value

    def held(self, arrays: Sequence[da.Array]) -> list[da.Array]:
        """The arrays computed, and kept by the workers."""
        self.workers()
        held: list[da.Array] = self.client.persist(list(arrays))
        self._wait(_all_of(self.client.futures_of(held)))
        return held

    @contextlib.contextmanager
    def staying(self, work: da.Array, rows: da.Array) -> Iterator[tuple[Any, da.Array]]:
        """The value of ``work``, and what the chunks of ``rows`` are, a tuple on each worker.

        They stay where they were made while the context lasts; what a lost worker had, others make
        again.
        """
        self.workers()
        work, rows = self.client.persist([work, rows])
        (whole,), parts = self.client.futures_of(work), self.client.futures_of(rows)
        pieces: list[Any] = []
        try:
            value = self._wait(_awaited(whole))
            self._wait(_all_of(parts))
            pieces = self._pieces(parts)
            self._wait(_all_of(pieces))
            for future in (whole, *parts):
                future.release()
            self._check(self._look())  # those that came meanwhile
            yield value, _column(pieces)
        finally:
            for future in (whole, *parts, *pieces):
                future.release()

    def _pieces(self, futures: Sequence[Any]) -> list[Any]:
        """A future for each worker, of all that the worker has."""
        where = self._ask(self.client.scheduler.who_has(keys=[f.key for f in futures]))
        held: dict[str, list[Any]] = {}
        for future in futures:
            held.setdefault(next(iter(where.get(future.key, ())), ""), []).append(future)
        name = f"rows-{uuid.uuid4().hex}"
        return [
            self.client.submit(
                tuple,
                several,
                key=(name, i, 0),
                workers=[at] if at else None,
                allow_other_workers=bool(at),
            )
            for i, (at, several) in enumerate(held.items())
        ]

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What the work gives, unless the cluster is lost before."""
        try:
            return self._polled(work)
        except DkmeansError:
            raise
        except Exception as error:
            self._explain(error)

    def _polled(self, work: Coroutine[Any, Any, Any]) -> Any:
        pending = asyncio.run_coroutine_threadsafe(work, self.client.loop.asyncio_loop)
        try:
            while True:
                try:
                    return pending.result(_LOOK)
                except TimeoutError:
                    if pending.done():
                        raise
                self._look()
        finally:
            pending.cancel()

    def _ask(self, question: Coroutine[Any, Any, Any]) -> Any:
        """The scheduler's answer."""
        patience = timeout("scheduler-timeout")
        pending = asyncio.run_coroutine_threadsafe(question, self.client.loop.asyncio_loop)
        try:
            return pending.result(patience)
        except TimeoutError as error:
            raise self._lost(f"has not answered for {format_time(patience)}") from error
        except (OSError, concurrent.futures.CancelledError, AttributeError) as error:
            raise self._lost("has been lost") from error
        finally:
            pending.cancel()

    def _look(self) -> dict[str, dict[str, Any]]:
        """The workers that can work, none for a while at most."""
        if self.client.status != "running":
            raise self._lost("has been lost")
        known = self._ask(self.client.scheduler.identity())["workers"]
        able = {at: worker for at, worker in known.items() if worker["status"] == "running"}
        now, patience = time.monotonic(), timeout("no-workers-timeout")
        if able:
            self._seen = now
        elif now - self._seen > patience:
            raise ClusterError(self._idle(len(known), patience))
        return able

    def _idle(self, paused: int, patience: float) -> str:
        waited = f"for {format_time(patience)} (dkmeans.no-workers-timeout in dask's configuration)"
        if paused:
            return (
                f"every worker of {self._address} ({paused}) has been paused {waited}, mostly for"
                " lack of memory: give them more of it or fewer threads, or lower memory_limit"
            )
        return (
            f"the scheduler {self._address} has had no workers {waited}: start some with"
            f" dask worker {self._address}, and look into the logs of those that ended"
        )

    def _lost(self, what: str) -> ClusterError:
        return ClusterError(
            f"the scheduler {self._address} {what}: look into its log, start it again if it has"
            " ended, and repeat the fit"
        )

    def _check(self, workers: dict[str, Any]) -> None:
        """Raise a ClusterError if one that is new has other versions than this process."""
        new = [at for at in workers if at not in self._checked]
        if not new:
            return
        found = self._ask(self.client._run(eval, _PROBE, workers=new, on_error="return"))
        if not self._checked:
            found[f"{self._address} (the scheduler)"] = self._ask(self._of_scheduler())
        for at, versions in found.items():
            if isinstance(versions, OSError):  # it has gone meanwhile
                continue
            if versions != _versions():
                raise ClusterError(_other(at, versions))
            self._checked.add(at)

    async def _of_scheduler(self) -> Any:
        try:
            return await self.client._run_on_scheduler(eval, _PROBE)
        except ImportError as error:
            return error

    def _explain(self, error: Exception) -> NoReturn:
        """Raise what an error of a task or of the client means, where that is known."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            raise ClusterError(
                f"a task ended {error.allowed_failures + 1} workers that tried it, the last"
                f" {error.last_worker.address}, mostly for lack of memory: give the workers more"
                " of it or fewer threads, or lower memory_limit"
            ) from error
        if isinstance(error, concurrent.futures.CancelledError):
            raise self._lost("has been lost, or its client was closed") from error
        self._check(self._look())  # a task of a worker with other versions fails in any way
        raise error


async def _all_of(futures: Sequence[Any]) -> None:
    from distributed import as_completed

    async for future in as_completed(futures, loop=futures[0].client.loop):
        if future.status != "finished":
            await future.result()


def _column(futures: Sequence[Any]) -> da.Array:
    """Futures, whose keys are those of chunks, as a dask array."""
    graph, chunks = {future.key: future for future in futures}, ((1,) * len(futures), (1,))
    return da.Array(graph, futures[0].key[0], chunks, dtype=object, meta=np.empty((0, 0), object))


async def _awaited(future: Any) -> Any:
    return await future


def _versions() -> tuple[str, tuple[str, ...]]:
    """Of this process, as ``_PROBE`` tells those of another."""
    return import_module("dkmeans").__version__, platform.python_version_tuple()[:2]


def _other(at: str, versions: Any) -> str:
    """What is wrong with a worker that has these versions, or an error in place of them."""
    own = "here it is dkmeans {} on Python {}".format(*_named(_versions()))
    if isinstance(versions, Exception):
        return f"{at} cannot import dkmeans ({versions}), {own}: install the same version there"
    theirs = "dkmeans {} on Python {}".format(*_named(versions))
    return f"{at} has {theirs}, {own}: results are the same only with the same versions"


def _named(versions: tuple[str, tuple[str, ...]]) -> tuple[str, str]:
    return versions[0], ".".join(versions[1])
