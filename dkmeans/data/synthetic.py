"""Gaussian blobs of any size, the same rows for the same seed whatever the chunks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np

from dkmeans._typing import AnyArray, Floats
from dkmeans.data.blocks import cut
from dkmeans.data.sinks import Layout, write_rows
from dkmeans.errors import DataError

GROUP_ROWS = 4096  # rows that share one stream of random numbers; part of what a seed means
CHUNK_BYTES = 8 * 2**20  # of a chunk, where the caller does not say
_CENTERS, _ROWS = 0, 1  # streams


@dataclass(frozen=True)
class Blobs:
    """Rows drawn around centers, each center as likely as any other.

    Parameters
    ----------
    spread : standard deviation of a row about its center. Centers are uniform in [-10, 10], for
        integers in [-100, 100] or, unsigned, in [0, 100].
    dtype : float32, float64 or an integer type, to which rows are rounded and clipped.
    """

    n_rows: int
    n_features: int
    n_centers: int
    seed: int = 0
    spread: float = 1.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("n_rows", "n_features", "n_centers"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise DataError(f"seed must not be negative, got {self.seed}")
        if not 0 <= self.spread <= 1e30:
            raise DataError(f"spread must be a number from 0 to 1e30, got {self.spread}")
        try:
            known = np.dtype(self.dtype).kind in "iu" or self.dtype in ("float32", "float64")
        except TypeError:
            known = False
        if not known:
            raise DataError(
                f"dtype must be float32, float64 or an integer type, got {self.dtype!r}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(f"f{i}" for i in range(self.n_features))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.n_features * np.dtype(self.dtype).itemsize

    def centers(self) -> Floats:
        """The centers, (n_centers, n_features) float64."""
        kind = np.dtype(self.dtype).kind
        low, high = {"f": (-10, 10), "i": (-100, 100), "u": (0, 100)}[kind]
        random = _random(self.seed, _CENTERS, 0)
        return random.uniform(low, high, (self.n_centers, self.n_features))

    def rows(self, start: int, stop: int) -> AnyArray:
        """Rows ``start`` to ``stop``, (stop - start, n_features)."""
        out = np.empty((stop - start, self.n_features), self.dtype)
        centers = self.centers()
        for group in range(start // GROUP_ROWS, -(-stop // GROUP_ROWS)):
            first = group * GROUP_ROWS
            a, b = max(start, first), min(stop, first + GROUP_ROWS)
            out[a - start : b - start] = self._group(group, centers)[a - first : b - first]
        return out

    def _group(self, group: int, centers: Floats) -> AnyArray:
        random = _random(self.seed, _ROWS, group)
        kinds = random.integers(0, self.n_centers, GROUP_ROWS)
        precise = np.float32 if self.dtype == "float32" else np.float64
        rows: AnyArray = random.standard_normal((GROUP_ROWS, self.n_features), dtype=precise)
        rows *= precise(self.spread)
        rows += centers.astype(precise)[kinds]
        if np.dtype(self.dtype).kind == "f":
            return rows
        limits = np.iinfo(self.dtype)
        top = limits.max if limits.bits < 64 else limits.max - 2**11  # as float64 knows it
        return np.clip(np.rint(rows), float(limits.min), float(top)).astype(self.dtype)

    def to_dask(self, block_rows: int) -> da.Array:
        """The rows as a lazy array of blocks of ``block_rows`` rows."""
        sizes = cut(self.n_rows, block_rows)
        return da.map_blocks(
            _block,
            blobs=self,
            block_rows=block_rows,
            chunks=(sizes, (self.n_features,)),
            dtype=self.dtype,
            meta=np.empty((0, 0), self.dtype),
        )


def _random(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(list(key))))


def _block(*, blobs: Blobs, block_rows: int, block_id: Any = None) -> AnyArray:
    start = block_id[0] * block_rows
    return blobs.rows(start, min(blobs.n_rows, start + block_rows))


def write_blobs(
    blobs: Blobs,
    path: str | os.PathLike[str],
    *,
    chunk_rows: int | None = None,
    overwrite: bool = False,
    threads: int | None = None,
) -> None:
    """Write blobs to ``.zarr`` or ``.parquet`` in bounded memory, whole or not at all.

    Parameters
    ----------
    chunk_rows : int, optional
        Rows of a Zarr chunk or a Parquet row group; chunks of about 8 MiB if None.
    overwrite, threads
        See :func:`~dkmeans.data.sinks.write_labels`.

    Raises
    ------
    OutputError
        If the path has another ending, exists already, or cannot be written.
    """
    if chunk_rows is None:
        chunk_rows = max(1, CHUNK_BYTES // blobs.row_bytes // GROUP_ROWS) * GROUP_ROWS
    chunk_rows = min(chunk_rows, blobs.n_rows)
    together = max(1, CHUNK_BYTES // (chunk_rows * blobs.row_bytes))
    rows = blobs.to_dask(chunk_rows * together)
    layout = Layout(chunk_rows, blobs.names)
    write_rows(rows, path, layout, overwrite=overwrite, threads=threads)
