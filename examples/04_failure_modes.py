"""Where k-means fails: moons, unequal sizes, unequal densities, and a feature that says nothing.

Each is clustered into its true number of clusters. The adjusted Rand index with the truth stands in
the title (moons: 0.4790), and what the diagnosis of the fit warns of is printed. Draws the truth
above what k-means finds.

    python examples/04_failure_modes.py --out failure-modes
    python examples/04_failure_modes.py --times 1000       # a thousand times as many rows
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import make_blobs, make_moons

from dkmeans import KMeans, plot
from dkmeans.metrics import adjusted_rand_score
from dkmeans.plot.diagnosis import diagnose
from dkmeans.preprocessing import StandardScaler

COLORS = np.array(["#0072b2", "#e69f00", "#009e73"])


def failures(times: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows and true clusters of each."""
    random = np.random.default_rng(42)
    scaled = StandardScaler().fit_transform
    moons, halves = make_moons(300 * times, noise=0.08, random_state=42)
    few, many = 20 * times, 400 * times
    sizes = make_blobs((many, few, few), centers=[(0, 0), (4, 0), (4, 3)], random_state=42)
    spreads = [2.5, 0.3, 0.3]
    middles = [(0, 0), (4, 0), (4, 3)]
    dense = make_blobs(400 * times, centers=middles, cluster_std=spreads, random_state=42)
    near, sides = make_blobs(300 * times, centers=[(0, 0), (4, 0)], random_state=42)
    noise = np.column_stack([near[:, 0], random.normal(scale=30, size=len(near))])
    return {
        "moons": (scaled(moons), halves),
        "unequal sizes": sizes,
        "unequal densities": dense,
        "irrelevant feature": (noise, sides),
    }


def main() -> None:
    """Fit and draw each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1, help="how many times as many rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("failure-modes"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    figure = Figure(figsize=(15, 7.5), layout="constrained")
    columns = figure.subplots(2, 4).T
    for (name, (X, truth)), (above, below) in zip(
        failures(args.times).items(), columns, strict=True
    ):
        model = KMeans(truth.max() + 1, n_init=10, random_state=args.seed).fit(X)
        ari = adjusted_rand_score(truth, model.labels_)
        print(f"{name}: adjusted Rand index {ari:.4f}")
        for sentence in diagnose(model):
            print(f"  {sentence}")
        plot.clusters(model, ax=below).get_legend().remove()
        below.set_title(f"k-means: ARI {ari:.4f}", loc="left")
        shown = model.history_.sample.index
        above.scatter(*X[shown].T, color=COLORS[truth[shown]], s=20)
        above.set(xlim=below.get_xlim(), ylim=below.get_ylim())
        above.set_title(f"{name}: the truth", loc="left")
    figure.savefig(args.out / "failure-modes.png")
    print(f"wrote {args.out / 'failure-modes.png'}")


if __name__ == "__main__":
    main()
