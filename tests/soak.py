"""Minutes of fits with random faults on a cluster of two workers: ``python -m tests.soak --help``.

Says how fits ended, and the memory of client, scheduler and workers in each tenth of the time.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path

import click
import dask
import numpy as np
import psutil
import zarr

from dkmeans import ClusterError, KMeans, write_labels
from tests.clusters import IMPATIENT, OPTIONS, DaskCluster, N, Rigged, at_pass, made
from tests.faults import FaultTable

MIB = 2**20
PARTS = 10
FAULTS = ("none", "worker killed", "worker killed twice", "worker stopped a while", "all killed")


class Soak:
    """A cluster, the data, and what was seen."""

    def __init__(self, cluster, folder, seed):
        self.cluster, self.folder, self.random = cluster, folder, random.Random(seed)
        self.table, self.samples = FaultTable(), []
        self.nannies = [cluster.start_worker(nanny=True) for _ in range(2)]
        self.expected = KMeans(6, **OPTIONS).fit(made(0, N))

    def workers(self):
        """The worker processes, children of their nannies."""
        found = []
        for nanny in self.nannies:
            found += psutil.Process(nanny.popen.pid).children()
        return [p for p in found if "resource_tracker" not in " ".join(p.cmdline())]

    def inject(self, fault):
        """Do it, in the middle of a pass."""
        units = self.random.sample(range(N // Rigged.unit), 2)
        if fault == "worker killed":
            (self.folder / f"kill-{units[0]}").touch()
        elif fault == "worker killed twice":
            for unit in units:
                (self.folder / f"kill-{unit}").touch()
        elif fault == "worker stopped a while":
            victim = self.random.choice(self.workers())
            victim.send_signal(signal.SIGSTOP)
            time.sleep(1)
            victim.send_signal(signal.SIGCONT)
        elif fault == "all killed":
            for worker in self.workers():
                worker.kill()

    def fit(self):
        """One fit with a fault, its labels written; how it ended is counted."""
        fault = self.random.choice(FAULTS)
        at = self.random.randint(1, 8)
        path = self.folder / "labels.zarr"
        residency = self.random.choice(["memory", "stream"])
        options = {**OPTIONS, "residency": residency}
        try:
            with at_pass(at, lambda: self.inject(fault)):
                model = KMeans(6, **options).fit(Rigged(self.folder).source)
                write_labels(model.labels_, path, overwrite=True)
        except ClusterError:
            outcome = "clear error"
        else:
            same = model.cluster_centers_.tobytes() == self.expected.cluster_centers_.tobytes()
            same &= np.array_equal(zarr.open_array(path, mode="r")[:], self.expected.labels_)
            outcome = "identical" if same else "lost or damaged"
        self.table.add(fault, outcome)
        for fuse in self.folder.glob("kill-*"):
            fuse.unlink(missing_ok=True)

    def sample(self, since):
        """Note the memory of all."""
        rss = [p.memory_info().rss for p in self.workers()]
        scheduler = psutil.Process(self.cluster.scheduler.popen.pid).memory_info().rss
        client = psutil.Process(os.getpid()).memory_info().rss
        self.samples.append((time.monotonic() - since, client, scheduler, max(rss, default=0)))

    def lines(self, seconds):
        """The tables, as Markdown."""
        head = "| minutes | fits | client MiB | scheduler MiB | largest worker MiB |"
        lines = [head, "| :-- | --: | --: | --: | --: |"]
        for part in range(PARTS):
            low, high = part * seconds / PARTS, (part + 1) * seconds / PARTS
            some = [s for s in self.samples if low <= s[0] < high]
            if some:
                middle = [
                    statistics.median(column) / MIB for column in list(zip(*some, strict=True))[1:]
                ]
                cells = " | ".join(f"{value:.0f}" for value in middle)
                lines.append(f"| {low / 60:.1f} to {high / 60:.1f} | {len(some)} | {cells} |")
        return [*lines, "", "```text", *self.table.lines(), "```"]


def main():
    """Parse, run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    seconds = 60 * given.minutes
    patient = {**IMPATIENT, "dkmeans.no-workers-timeout": "60s"}
    with tempfile.TemporaryDirectory() as name, dask.config.set(patient):
        more = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "10"}
        with DaskCluster(Path(name), more=more) as cluster:
            soak, began = Soak(cluster, Path(name), given.seed), time.monotonic()
            with cluster.client():
                while time.monotonic() - began < seconds:
                    soak.fit()
                    soak.sample(began)
    click.echo(f"{len(soak.samples)} fits in {given.minutes:g} minutes, seed {given.seed}.\n")
    click.echo("\n".join(soak.lines(seconds)))


if __name__ == "__main__":
    from tests import soak

    soak.main()
