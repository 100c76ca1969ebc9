"""How many clusters? The elbow and three indices, from the same passes over the data.

Three blobs, in which one to ten clusters are sought; the inertia of three is 362.790. Prints the
table, what each criterion chooses, and how much the start matters; draws the elbow, the mean
silhouettes, the silhouette of each row and the starts.

    python examples/05_choose_k.py --out choose-k

The same with data of any size:

    dkmeans make-data points.zarr --rows 10000000 --features 8 --centers 5
    python examples/05_choose_k.py --data points.zarr
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sklearn.datasets import make_blobs

from dkmeans import compare_inits, plot, sweep


def main() -> None:
    """Try all, choose, and look at the choice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a Zarr array or Parquet dataset, instead of the blobs")
    parser.add_argument("--most", type=int, default=10, help="clusters to try, at most")
    parser.add_argument("--n-init", type=int, default=10, help="restarts of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("choose-k"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    X = args.data or make_blobs(300, centers=3, cluster_std=0.8, random_state=42)[0]
    several = sweep(X, range(1, args.most + 1), n_init=args.n_init, random_state=args.seed)
    print(several)
    print(f"{several.passes} passes over the data for all of them")

    best = several.models[several.best_k]
    starts = compare_inits(X, several.best_k, n_runs=20, random_state=args.seed)
    print(starts)

    pictures = {
        "elbow": several.plot().figure,
        "silhouettes": plot.silhouette_curve(several).figure,
        "silhouette": plot.silhouette(best).figure,
        "starts": plot.init_comparison(starts),
    }
    for name, figure in pictures.items():
        figure.savefig(args.out / f"{name}.png")
        print(f"wrote {args.out / name}.png")


if __name__ == "__main__":
    main()
