"""Spark MLlib's KMeans in local mode, its passes counted from Spark's own event log."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.stores import Stored

HEAP = "1g"
HOW = (
    "Spark MLlib in local mode reads the same rows from Parquet, through its VectorAssembler, and"
    f" keeps them, as it does by default, in its own cache (heap {HEAP}, the rest on disk). Its"
    " passes are the stages of its KMeans in Spark's event log that read at least as many records"
    " as there are rows, from Parquet or from the cache; its MB are what they read, in the cache's"
    " own encoding."
)


def fit(stored: Stored, job: Any) -> tuple[list[list[float]], int, float, float, int]:
    """Centers, iterations, seconds, passes, bytes; the session starts and ends outside the time."""
    from pyspark.ml.clustering import KMeans
    from pyspark.ml.feature import VectorAssembler

    # its tol is the distance that no center may exceed: all at it make up the others' shift
    tol = (job.tol * stored.mean_variance / job.k) ** 0.5
    with tempfile.TemporaryDirectory() as folder:
        session = _session(folder, job.threads)
        try:
            columns = session.read.parquet(str(Path(stored.folder, "X.parquet")))
            joined = VectorAssembler(inputCols=columns.columns, outputCol="features")
            rows = joined.transform(columns).select("features")
            model = KMeans(k=job.k, seed=job.seed, maxIter=job.max_iter, tol=tol, **job.options)
            start = time.perf_counter()
            fitted = model.fit(rows)
            seconds = time.perf_counter() - start
            centers = [[float(x) for x in center] for center in fitted.clusterCenters()]
            iterations = int(fitted.summary.numIter)
        finally:
            session.stop()
        passes, read = _reads(Path(folder, "log"), stored.rows)
    return centers, iterations, seconds, float(passes), read


def _session(folder: str, threads: int) -> Any:
    """A new session that writes its event log into the folder."""
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    log = Path(folder, "log")
    log.mkdir()
    settings = {
        "spark.driver.memory": HEAP,
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": folder,
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": log.as_uri(),
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
    }
    builder = SparkSession.builder.master(f"local[{threads}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def _reads(log: Path, rows: int) -> tuple[int, int]:
    """Stages of KMeans that read all rows, and the bytes that they read."""
    records: dict[int, int] = defaultdict(int)
    read: dict[int, int] = defaultdict(int)
    ours: set[int] = set()  # Spark also counts the rows of the table before and after
    for path in filter(Path.is_file, log.rglob("*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event["Event"] == "SparkListenerStageSubmitted":
                if "KMeans" in event["Stage Info"]["Stage Name"]:
                    ours.add(event["Stage Info"]["Stage ID"])
            elif event["Event"] == "SparkListenerTaskEnd" and event.get("Task Metrics"):
                got = event["Task Metrics"]["Input Metrics"]
                records[event["Stage ID"]] += got["Records Read"]
                read[event["Stage ID"]] += got["Bytes Read"]
    passes = sum(records[stage] >= rows for stage in ours)
    return passes, sum(read[stage] for stage in ours)
