"""Stores that are fitted: one Zarr array, its reads counted, and the same rows as Parquet."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zarr
from sklearn.metrics import pairwise_distances_argmin_min
from zarr.storage import LocalStore, WrapperStore

from benchmarks.data import Made


class CountingStore(WrapperStore[LocalStore]):
    """Counts the stored bytes of chunks that are read."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store)
        self.lock = threading.Lock()
        self.read_bytes = 0

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Read, and count what is not metadata."""
        value = await super().get(key, prototype, byte_range)
        if value is not None and not key.endswith(".json"):
            with self.lock:
                self.read_bytes += len(value)
        return value


@dataclass(frozen=True)
class Stored:
    """What is in a folder: ``X.zarr`` and, if asked for, ``X.parquet``."""

    folder: str
    rows: int
    features: int
    chunks: int
    chunk_rows: int
    mean_variance: float
    stored_bytes: int

    @property
    def data_bytes(self) -> int:
        """Bytes of the rows in memory."""
        return 4 * self.rows * self.features

    def save(self) -> None:
        """Write this beside the data, for a worker."""
        Path(self.folder, "info.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Stored:
        """What :meth:`save` wrote."""
        return cls(**json.loads(Path(folder, "info.json").read_text(encoding="utf-8")))

    def open(self) -> tuple[zarr.Array, Callable[[], int]]:
        """The array in a store that counts, and the bytes of chunks that have left it so far."""
        store = CountingStore(LocalStore(Path(self.folder, "X.zarr"), read_only=True))
        return zarr.open_array(store, mode="r"), lambda: store.read_bytes

    def open_plain(self) -> tuple[zarr.Array, Callable[[], int]]:
        """The array as it is, and the bytes that this process has read from files so far."""
        X = zarr.open_array(LocalStore(Path(self.folder, "X.zarr"), read_only=True), mode="r")
        return X, _read_from_files


def _read_from_files() -> int:
    """Bytes that the read calls of this process gave, from the system's memory or not."""
    return int(psutil.Process().io_counters().read_chars)


def make_store(
    folder: Path, made: Made, rows: int, chunk_rows: int, *, parquet: bool = False
) -> Stored:
    """Write the rows of ``made``, a chunk at a time."""
    folder.mkdir(parents=True)
    path = folder / "X.zarr"
    shape, chunks = (rows, made.features), (chunk_rows, made.features)
    X = zarr.create_array(LocalStore(path), shape=shape, chunks=chunks, dtype="float32")
    sums, squares, start = np.zeros(made.features), np.zeros(made.features), 0
    with _parquet_writer(folder / "X.parquet" if parquet else None) as write:
        for block in made.blocks(rows, chunk_rows):
            X[start : start + len(block)] = block
            write(block)
            start += len(block)
            sums += block.sum(axis=0, dtype=np.float64)
            squares += np.square(block, dtype=np.float64).sum(axis=0)
    variance = float(np.mean(squares / rows - np.square(sums / rows)))
    files = [p for p in path.rglob("*") if p.is_file() and p.suffix != ".json"]
    stored_bytes = sum(p.stat().st_size for p in files)
    count = -(-rows // chunk_rows)
    stored = Stored(str(folder), rows, made.features, count, chunk_rows, variance, stored_bytes)
    stored.save()
    return stored


@contextmanager
def _parquet_writer(folder: Path | None) -> Iterator[Any]:
    """What appends a block as one file, a column a feature."""
    if folder is None:
        yield lambda block: None
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()

    def write(block: Any) -> None:
        columns = {f"x{i}": column for i, column in enumerate(block.T)}
        name = f"{len(list(folder.iterdir())):05d}.parquet"
        pq.write_table(pa.table(columns), folder / name)

    yield write


def cost(X: Any, centers: Any, chunk_rows: int) -> float:
    """Inertia of all rows in float64, by the same code for every contender."""
    centers, total = np.asarray(centers, dtype=np.float64), 0.0
    for start in range(0, X.shape[0], chunk_rows):
        block = np.asarray(X[start : start + chunk_rows]).astype(np.float64)
        total += float(pairwise_distances_argmin_min(block, centers, metric="sqeuclidean")[1].sum())
    return total


@contextmanager
def scratch(needed_bytes: int) -> Iterator[tuple[Path, str]]:
    """A folder of its own, in tmpfs where there is room, and where it is in words."""
    shm = Path("/dev/shm")
    in_shm = shm.is_dir() and shutil.disk_usage(shm).free > 2 * needed_bytes
    with tempfile.TemporaryDirectory(dir=shm if in_shm else None) as folder:
        yield Path(folder), "in tmpfs" if in_shm else "on disk"
