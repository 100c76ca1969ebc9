"""Cluster some columns of a Parquet dataset by name.

Writes a folder of Parquet files of customers (an identifier, a region and three numbers), selects
two of the numbers, and fits. The model remembers the names, reads them only, and refuses other
columns. Prints the centers by name and one line a cluster.

    python examples/parquet_named_columns.py --rows 20000 --out customers
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dkmeans import DataError, KMeans, open_source

COLUMNS = ["visits", "basket"]


def write_dataset(folder: Path, rows: int, files: int) -> None:
    """Write customers of four kinds."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    middles = np.array([[4, 20], [4, 60], [16, 20], [16, 60]])
    for f, part in enumerate(np.array_split(np.arange(rows), files)):
        kind = random.integers(4, size=len(part))
        numbers = middles[kind] + random.normal(scale=[1.5, 5], size=(len(part), 2))
        table = pa.table(
            {
                "customer": part,
                "region": random.choice(["north", "south"], size=len(part)),
                "visits": numbers[:, 0].astype(np.float32),
                "basket": numbers[:, 1].astype(np.float32),
                "age": random.integers(18, 90, size=len(part)),
            }
        )
        pq.write_table(table, folder / f"part-{f:03}.parquet")


def main() -> None:
    """Write, select, fit, describe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--clusters", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("customers"))
    args = parser.parse_args()

    write_dataset(args.out, args.rows, args.files)
    print(f"wrote {args.rows:,} rows in {args.files} files to {args.out}")

    X = open_source(args.out, columns=COLUMNS)
    model = KMeans(args.clusters, random_state=args.seed).fit(X)
    print(f"columns: {', '.join(model.feature_names_in_)}")

    sizes = np.bincount(model.labels_.compute(), minlength=args.clusters)
    print("cluster   rows  " + "".join(f"{name:>10}" for name in model.feature_names_in_))
    for j, (center, size) in enumerate(zip(model.cluster_centers_, sizes, strict=True)):
        print(f"{j:7} {size:6}  " + "".join(f"{value:10.2f}" for value in center))

    try:
        model.predict(open_source(args.out, columns=["visits", "age"]))
    except DataError as error:
        print(f"other columns are refused: {error}")


if __name__ == "__main__":
    main()
