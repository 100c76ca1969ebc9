"""Fits that are killed at chosen points and gone on with, each in a process of its own.

This is a program that a test starts: it loads all that a fit needs, stays without threads, and
forks a process for each fit, which is much cheaper than to start one. For each fault it prints a
line of JSON with the fault, how the fit ended and what is wrong, if anything is.
"""

import argparse
import collections
import hashlib
import itertools
import json
import os
import random
import select
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np

from dkmeans import Checkpoint, KMeans
from dkmeans.data import durable, zarr_source
from dkmeans.engine import auto, settle

PATIENCE = 120  # seconds after which a fit hangs
KILLS = 3  # of one fit, at most
FITS = [  # parameters, and the seconds after which iterations in memory are kept
    ({"n_clusters": 5, "memory_limit": "2 GiB", "residency": "stream"}, 30.0),
    (
        {"n_clusters": 12, "init": "k-means||", "n_init": 2, "residency": "stream", "max_iter": 6},
        0.0,
    ),
    ({"n_clusters": 6, "init": "k-means++", "residency": "memory", "max_iter": 8}, 0.0),
    ({"n_clusters": 7, "init": "random", "n_init": 3, "residency": "memory", "max_iter": 9}, 0.0),
    ({"n_clusters": 4, "init": "random", "algorithm": "lloyd", "max_iter": 7}, 30.0),
]


class Events:
    """What happens in a fit, counted; at number ``fatal`` the process is killed."""

    def __init__(self, fatal=None):
        self.fatal, self.seen = fatal, []
        self._lock = threading.Lock()

    def happen(self, what):
        with self._lock:
            if len(self.seen) == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            self.seen.append(what)

    def before(self, owner, name, what):
        """Have an event before each call of a function."""
        function = getattr(owner, name)

        def called(*args, **kwargs):
            self.happen(what)
            return function(*args, **kwargs)

        setattr(owner, name, called)

    def watch(self):
        """Have events wherever a fit could be killed."""
        self.before(zarr_source.ZarrRows, "read", "while a block is read")
        self.before(auto, "search", "before the sample is searched")
        self.before(settle, "_iterate", "in an iteration")
        self.before(durable.LocalFolder, "write", "before an entry is written")
        self.before(durable, "_claim", "between sync and rename")
        durable.open = self._open
        sync = os.fsync

        def synced(number):
            folder = Path(f"/proc/self/fd/{number}").is_dir()
            self.happen("before a folder is synced" if folder else "before an entry is synced")
            sync(number)
            if folder:
                self.happen("after an entry is written")

        os.fsync = synced

    def _open(self, path, mode):
        file = open(path, mode)  # noqa: SIM115
        if "r" in mode:
            return file
        write = file.write

        class Torn:
            """A file of which each piece is written in two halves."""

            def __enter__(self):
                return self

            def __exit__(self, *error):
                file.close()

            def __getattr__(self, name):
                return getattr(file, name)

        def in_halves(piece):
            piece = memoryview(piece).cast("B") if len(piece) else b""
            write(piece[: len(piece) // 2])
            file.flush()
            self.happen("while an entry is written")
            write(piece[len(piece) // 2 :])

        torn = Torn()
        torn.write = in_halves
        return torn


def digest(model):
    """Of all bits of a fit, but what it cost, and how its restarts took turns."""
    found = hashlib.sha256(model.cluster_centers_.tobytes())
    found.update(np.asarray(model.labels_).tobytes())
    for i in sorted(model.history_, key=lambda i: i.run):
        centers = None if i.centers is None else i.centers.tobytes()
        found.update(repr((i.phase, i.run, i.step, i.inertia, i.shift, i.sizes, centers)).encode())
    ending = (model.inertia_, model.n_iter_, model.stop_reason_, model.history_.best_run)
    found.update(repr(ending).encode())
    return found.hexdigest()


def in_child(function):
    """What a function returns in a process of its own: a value for JSON, or a text of its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            answer = json.dumps(function()).encode()
            while answer:
                answer = answer[os.write(writing, answer) :]
            status = 0
        except BaseException as error:
            os.write(writing, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    answer, end = b"", time.monotonic() + PATIENCE
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        piece = os.read(reading, 2**16)
        if not piece:
            break
        answer += piece
    else:
        os.kill(child, signal.SIGKILL)
        answer = b'"hang"'
    os.close(reading)
    os.waitpid(child, 0)
    return json.loads(answer) if answer else "killed"


def fitted(store, number, folder=None, events=None):
    """The digest of a fit, and the events that it saw."""

    def fit():
        parameters, seconds = FITS[number]
        with dask.config.set(num_workers=2):
            checkpoint = Checkpoint(folder, seconds=seconds) if folder else None
            if events is not None:
                events.watch()
            model = KMeans(**parameters, random_state=number, checkpoint=checkpoint, tol=0)
            model.fit(store)
        return {"digest": digest(model), "events": events.seen if events is not None else []}

    return in_child(fit)


def warm():
    """Load the compiled kernels, in this thread alone."""
    X = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
    with dask.config.set(scheduler="synchronous", num_workers=1):
        for parameters, _ in FITS:
            few = parameters | {"n_clusters": 3, "random_state": 0}
            KMeans(**few).fit(da.from_array(X, chunks=(150, 3)))
            KMeans(**few).fit(X)
    assert threading.active_count() == 1


def damage(folder):
    """What a finished fit should not have left, in words."""
    names = sorted(os.listdir(folder))
    wanted = [*(f"{n:06d}.entry" for n in range(len(names) - 1)), "end.entry"]
    return "" if names == wanted else f"left behind {names}"


def inject(store, folder, number, fatal, chance):
    """Kill a fit at an event, go on with it, and perhaps kill it again: how it ended."""
    killed = []
    while True:
        events = Events(fatal if len(killed) < KILLS else None)
        found = fitted(store, number, folder, events)
        if found != "killed":
            return found, killed
        killed.append(fatal)
        fatal = chance.randrange(4 * fatal + 8) if chance.random() < 0.4 else None


def outcome(found, expected, folder):
    """One of the outcomes of the table, and what is wrong."""
    if found == "hang":
        return "hang", "no end"
    if "error" in found:
        return "clear error", found["error"]
    if found["digest"] != expected:
        return "lost or damaged", "other bits"
    left = damage(folder)
    return ("lost or damaged", left) if left else ("identical", "")


def points(events, many, chance):
    """Numbers of events at which to kill: as many of each kind as there can be."""
    kinds = collections.defaultdict(list)
    for at, what in enumerate(events):
        kinds[what].append(at)
    names = sorted(kinds)
    chance.shuffle(names)
    turns = itertools.islice(itertools.cycle(names), many)
    return [(what, chance.choice(kinds[what])) for what in turns]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--each", type=int, required=True, help="kill points of each fit")
    given = parser.parse_args()
    warm()
    chance = random.Random(given.seed)
    for number in range(len(FITS)):
        expected = fitted(given.store, number)
        whole = fitted(given.store, number, given.folder, Events())
        if "error" in (*expected, *whole) or whole["digest"] != expected["digest"]:
            sys.exit(f"fit {number} ends otherwise without faults: {expected}, {whole}")
        for what, fatal in points(whole["events"], given.each, chance):
            shutil.rmtree(given.folder)
            found, killed = inject(given.store, given.folder, number, fatal, chance)
            how, wrong = outcome(found, expected["digest"], given.folder)
            line = {"fault": f"killed {what}", "outcome": how, "wrong": wrong, "killed": killed}
            sys.stdout.write(json.dumps(line | {"fit": number}) + "\n")
            sys.stdout.flush()
        shutil.rmtree(given.folder)


if __name__ == "__main__":
    main()
