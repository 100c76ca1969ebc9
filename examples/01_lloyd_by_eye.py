"""Lloyd's algorithm by eye: rows drawn at random become centers, which move until they stand still.

Three blobs, standardized. Prints the centers, the inertia (212.391) and that of one to nine
clusters; draws the clusters, each iteration, and the elbow.

    python examples/01_lloyd_by_eye.py --out lloyd-by-eye

The same with data of any size, of which pictures show a sample:

    dkmeans make-data points.zarr --rows 10000000 --features 2 --centers 3
    python examples/01_lloyd_by_eye.py --data points.zarr
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sklearn.datasets import make_blobs

from dkmeans import KMeans, plot, sweep
from dkmeans.preprocessing import StandardScaler

CORNERS = [(1, 1), (-1, -1), (1, -1)]


def main() -> None:
    """Fit, look, and try other numbers of clusters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a Zarr array or Parquet dataset, instead of the blobs")
    parser.add_argument("--clusters", type=int, default=3)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("lloyd-by-eye"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    blobs, _ = make_blobs(750, centers=CORNERS, cluster_std=0.4, random_state=0)
    X = StandardScaler().fit_transform(args.data or blobs)

    model = KMeans(args.clusters, init="random", n_init=1, random_state=args.seed).fit(X)
    print(model.history_)
    best = KMeans(args.clusters, init="random", n_init=10, random_state=args.seed).fit(X)
    print(f"inertia {model.inertia_:.3f}, of the best of ten starts {best.inertia_:.3f}")
    for center in sorted(best.cluster_centers_.tolist()):
        print("center  " + "  ".join(f"{value:8.4f}" for value in center))

    several = sweep(X, range(1, 10), n_init=10, random_state=args.seed, metrics=())
    for k, inertia in several.table["inertia"].items():
        print(f"k = {k}  inertia {inertia:10.3f}")
    print(f"the knee is at k = {several.best_by('knee')}")

    pictures = {
        "clusters": plot.clusters(best).figure,
        "iterations": plot.iterations(model),
        "elbow": several.plot().figure,
    }
    for name, figure in pictures.items():
        figure.savefig(args.out / f"{name}.png")
        print(f"wrote {args.out / name}.png")


if __name__ == "__main__":
    main()
