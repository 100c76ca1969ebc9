"""Fit the Iris set with dkmeans and with scikit-learn and compare the two.

Petal length and width, standardised, three clusters, the best of ten starts each. Prints the
inertias, the labels that agree once the clusters are matched, and how well either finds the
species (adjusted Rand index).

    python examples/iris_against_sklearn.py
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score, confusion_matrix
from sklearn.preprocessing import StandardScaler

from dkmeans import KMeans


def main() -> None:
    """Fit both and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=3)
    parser.add_argument("--n-init", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    iris = load_iris()
    X = StandardScaler().fit_transform(iris.data[:, 2:])
    options = {"n_init": args.n_init, "random_state": args.seed}
    ours = KMeans(args.clusters, **options).fit(X)
    theirs = SklearnKMeans(args.clusters, **options).fit(X)

    together = confusion_matrix(ours.labels_, theirs.labels_)
    mine, other = linear_sum_assignment(-together)
    agree = together[mine, other].sum()
    apart = np.abs(ours.cluster_centers_[mine] - theirs.cluster_centers_[other]).max()

    print("                  dkmeans   scikit-learn")
    print(f"inertia        {ours.inertia_:10.4f}   {theirs.inertia_:12.4f}")
    scores = [adjusted_rand_score(iris.target, m.labels_) for m in (ours, theirs)]
    print(f"ARI (species)  {scores[0]:10.4f}   {scores[1]:12.4f}")
    print(f"labels that agree: {agree} of {len(X)}")
    print(f"largest difference of a center's coordinate: {apart:.2e}")


if __name__ == "__main__":
    main()
