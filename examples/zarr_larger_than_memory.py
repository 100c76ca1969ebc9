"""Fit a Zarr store that is eight times larger than the memory that the fit is allowed.

Writes the store block by block, prints the plan (which says that the data will be streamed), fits,
writes the labels to a second store block by block, and prints the record of the fit. The room that
the limit leaves is for rows near the border between two clusters: a pass keeps them, and iterations
that concern them alone are taken in memory. In the record they are the lines without a pass.

    python examples/zarr_larger_than_memory.py --memory-limit "384 MiB" --out larger-than-memory

The rows take eight times ``--memory-limit`` (``--times`` changes the eight). They are rounded to
whole numbers, so that the compressed store takes a fraction of that on disk. The limit has a floor
of about 325 MiB, below which the plan is refused with both numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import zarr
from dask.utils import format_bytes, parse_bytes

from dkmeans import KMeans


def write_store(path: Path, size: int, features: int, chunk_rows: int) -> zarr.Array:
    """Write Gaussian clusters as float32 until the array has ``size`` bytes."""
    random = np.random.default_rng(0)
    middles = random.uniform(-10, 10, (8, features)).astype(np.float32)
    rows = size // (4 * features)
    X = zarr.create_array(
        path, shape=(rows, features), chunks=(chunk_rows, features), dtype="float32", overwrite=True
    )
    for start in range(0, rows, chunk_rows):
        n = min(chunk_rows, rows - start)
        noise = random.standard_normal((n, features), dtype=np.float32)
        X[start : start + n] = np.rint(middles[random.integers(8, size=n)] + noise)
    return X


def main() -> None:
    """Write, plan, fit, label."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory-limit", default="384 MiB")
    parser.add_argument("--times", type=float, default=8, help="size of X over the memory limit")
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--chunk-rows", type=int, default=16_384)
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("larger-than-memory"))
    args = parser.parse_args()

    limit = parse_bytes(args.memory_limit)
    X = write_store(args.out / "X.zarr", int(args.times * limit), args.features, args.chunk_rows)
    print(f"{args.out / 'X.zarr'}: {X.shape[0]:,} rows x {X.shape[1]}, {format_bytes(X.nbytes)}")

    model = KMeans(args.clusters, random_state=args.seed, memory_limit=limit)
    print(model.plan(X))
    model.fit(X)
    print(model.history_)
    print(
        f"{model.stop_reason_} after {model.n_iter_} iterations in {model.history_.passes} passes"
        f" over the data, inertia {model.inertia_:.6g}"
    )

    model.labels_.to_zarr(args.out / "labels.zarr", mode="w")
    model.save(args.out / "model.npz")
    print(f"wrote {args.out / 'labels.zarr'} and {args.out / 'model.npz'}")


if __name__ == "__main__":
    main()
