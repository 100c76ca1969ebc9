"""Segments of customers, from a Parquet dataset that may be larger than the memory allowed.

Writes customers of four kinds (how recently, how often and for how much they bought, and for how
long they have been known) beside columns that are no features, then chooses the number of segments
on standardized features, and describes the segments in days, orders and euros.

    python examples/06_customer_segments.py --out segments

Four times as many bytes as the memory limit, which the passes then stream:

    python examples/06_customer_segments.py --memory-limit 400MiB --times 4
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dask.utils import format_bytes, parse_bytes
from sklearn.pipeline import make_pipeline

from dkmeans import open_source, plot, profile, sweep, write_labels
from dkmeans.metrics import adjusted_rand_score
from dkmeans.preprocessing import StandardScaler

FEATURES = ["recency_days", "orders", "spent_eur", "known_days"]
KINDS = np.array([[10, 40, 900, 1500], [30, 12, 250, 700], [150, 4, 80, 900], [20, 3, 60, 60]])
SPREAD = np.array([[4, 7, 150, 250], [9, 3, 60, 150], [30, 1.5, 25, 200], [7, 1, 20, 25]])
FILE_ROWS = 500_000


def write_customers(folder: Path, rows: int) -> np.ndarray:
    """Write the dataset a file at a time, and return the kind of each customer."""
    random = np.random.default_rng(42)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = np.empty(rows, np.int8)
    for f, start in enumerate(range(0, rows, FILE_ROWS)):
        kind = kinds[start : start + FILE_ROWS]
        kind[:] = random.choice(4, size=len(kind), p=[0.1, 0.35, 0.35, 0.2])
        values = np.abs(KINDS[kind] + SPREAD[kind] * random.normal(size=(len(kind), 4)))
        columns = {"customer": np.arange(start, start + len(kind))}
        columns |= dict(zip(FEATURES, values.T.astype(np.float32), strict=True))
        columns["region"] = random.choice(["north", "south"], size=len(kind))
        pq.write_table(pa.table(columns), folder / f"part-{f:04}.parquet", row_group_size=100_000)
    return kinds


def main() -> None:
    """Write, choose, describe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--memory-limit", default="1GiB")
    parser.add_argument("--times", type=float, help="size of the features over the limit")
    parser.add_argument("--most", type=int, default=8, help="segments to try, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("segments"))
    args = parser.parse_args()
    row_bytes = 4 * len(FEATURES)
    if args.times:
        args.rows = int(args.times * parse_bytes(args.memory_limit) / row_bytes)

    kinds = write_customers(args.out / "customers", args.rows)
    size = format_bytes(args.rows * row_bytes)
    print(f"wrote {args.rows:,} customers to {args.out / 'customers'}, {size} of features")
    X = open_source(args.out / "customers", columns=FEATURES)

    limit = {"memory_limit": args.memory_limit}
    scaler = StandardScaler(**limit).fit(X)
    several = sweep(scaler.transform(X), range(2, args.most + 1), random_state=args.seed, **limit)
    print(several)
    model = several.models[several.best_k]
    described = profile(make_pipeline(scaler, model), X)
    print(f"{several.best_k} segments, {several.passes} passes for all that were tried")
    print(described)
    labels = args.out / "segments.parquet"
    write_labels(model.labels_, labels, overwrite=True)
    print(f"wrote {labels}, adjusted Rand index {adjusted_rand_score(kinds, labels):.4f}")

    pictures = {
        "projection": plot.projection(model).figure,
        "silhouette": plot.silhouette(model).figure,
        "profiles": plot.profiles(described).figure,
    }
    for name, figure in pictures.items():
        figure.savefig(args.out / f"{name}.png")
        print(f"wrote {args.out / name}.png")


if __name__ == "__main__":
    main()
