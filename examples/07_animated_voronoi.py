"""A fit as a moving picture: cells of the centers, their moves, and the silhouette beside them.

Sepal length and width of Iris, three clusters: inertia 37.0507 and silhouette 0.4451 from every
seed. Prints the captions of the frames; writes the animation as GIF and as a page with a player.

    python examples/07_animated_voronoi.py --out animated-voronoi

The same with data of any size, of which a sample is drawn:

    dkmeans make-data points.zarr --rows 10000000 --features 2 --centers 6
    python examples/07_animated_voronoi.py --data points.zarr --clusters 6
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sklearn.datasets import load_iris

from dkmeans import KMeans, plot
from dkmeans.metrics import silhouette_score


def main() -> None:
    """Fit from several seeds and animate the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a Zarr array or Parquet dataset, instead of Iris")
    parser.add_argument("--clusters", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 0, 42])
    parser.add_argument("--out", type=Path, default=Path("animated-voronoi"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    X = args.data or load_iris(as_frame=True).data.iloc[:, :2]
    for seed in args.seeds:
        best = KMeans(args.clusters, init="random", n_init=10, random_state=seed).fit(X)
        silhouette = silhouette_score(X, best, random_state=seed)
        print(f"seed {seed}: inertia {best.inertia_:.4f}, silhouette {silhouette:.4f}")

    model = KMeans(args.clusters, init="random", n_init=1, random_state=args.seeds[0]).fit(X)
    for frame in model.history_.frames():
        print(f"{frame.phase:>9}  {frame.caption}")
    film = plot.animate(model, args.out / "voronoi.gif", panel="silhouette")
    (args.out / "voronoi.html").write_text(film.to_jshtml(), encoding="utf-8")
    print(f"wrote {args.out / 'voronoi.gif'} and {args.out / 'voronoi.html'}")


if __name__ == "__main__":
    main()
