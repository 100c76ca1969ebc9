"""Lloyd's algorithm on all colours of three bytes, as many times as there are pixels of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.threads import in_order

N_BYTES = 32 * (8**6 + 8**5 + 8**4 + 8**3)  # of masses and sums of the boxes of all levels
_TURNS = 16  # in which threads take the boxes, of which some have far more in them than others
_NO_LABELS = np.empty(0, np.uint8)


@dataclass(frozen=True)
class Owned:
    """What each of k centers has: colours, ``masses`` (k,) times in all, and their ``sums`` (k, 3).

    Parameters
    ----------
    square : sum of the squares of all colours.
    """

    masses: Ints
    sums: Ints
    square: int

    @property
    def means(self) -> Floats:
        """Where the centers belong, (k, 3)."""
        return np.asarray(self.sums / self.masses[:, None])

    def of(self, order: Ints) -> Owned:
        """That of the same centers in another order."""
        return Owned(self.masses[order], self.sums[order], self.square)

    def inertia(self, centers: AnyArray) -> float:
        """Sum of squared distances of the colours to these centers (k, 3), rounded once."""
        total = Fraction(self.square)
        for mass, sums, center in zip(self.masses, self.sums, centers, strict=True):
            for own, at in zip(sums.tolist(), map(Fraction, center.tolist()), strict=True):
                total += at * (int(mass) * at - 2 * own)
        return float(total)


@dataclass(frozen=True, eq=False)
class Cells:
    """Counts of all colours, in the order of their codes, and their sums over boxes of colours.

    Parameters
    ----------
    dense : (256**3,) unsigned.
    masses, sums : (m,) and (m, 3) int64 of the boxes of each level, from the widest on; see
        :mod:`dkmeans.engine.cell_kernels`.
    square : sum of the squares of all colours.
    """

    dense: Ints
    masses: tuple[Ints, ...]
    sums: tuple[Ints, ...]
    square: int

    @staticmethod
    def of(dense: Ints) -> Cells:
        """Add up."""
        from dkmeans.engine import cell_kernels

        n = len(dense) // cell_kernels.CELL
        masses, sums = [np.empty(n, np.int64)], [np.empty((n, 3), np.int64)]
        square = cell_kernels.tabulate(dense, masses[0], sums[0])
        while len(masses) < cell_kernels.LEVELS:
            masses.insert(0, masses[0].reshape(-1, 8).sum(axis=1))
            sums.insert(0, sums[0].reshape(-1, 8, 3).sum(axis=1))
        return Cells(dense, tuple(masses), tuple(sums), int(square))

    def means(self, level: int) -> tuple[Floats, Ints]:
        """Means (m, 3) of the boxes of a level that have colours, and their masses (m,)."""
        masses = self.masses[level]
        some = masses > 0
        return self.sums[level][some] / masses[some][:, None], masses[some]

    def assign(self, centers: Floats, threads: int, labels: Ints = _NO_LABELS) -> Owned:
        """Give each colour to its nearest center (k, 3), the first of equally near ones.

        ``labels`` (256**3,) get the number of that center, in the order of the codes.
        """
        from dkmeans.engine import cell_kernels

        def assigned(first: int) -> tuple[Ints, Ints]:
            masses, sums = np.zeros(len(centers), np.int64), np.zeros((len(centers), 3), np.int64)
            cell_kernels.assign(
                first, _TURNS, centers, self.dense, self.masses, self.sums, masses, sums, labels
            )
            return masses, sums

        masses, sums = zip(*in_order(assigned, _TURNS, threads), strict=True)
        return Owned(np.sum(masses, axis=0), np.sum(sums, axis=0), self.square)

    def lloyd(self, centers: Floats, tol: float, max_iter: int, threads: int) -> Floats | None:
        """Iterate from ``centers`` (k, 3); None where one of them is left without colours.

        The iterations are Lloyd's from where Nesterov's method goes on to (1983), which takes a
        third as many; it starts anew where it has gone too far (O'Donoghue and Candes 2015, the
        gradient scheme).

        Parameters
        ----------
        tol : it ends where the way of the centers to the means of their colours lowers the inertia
            by no more than this share.
        """
        before, pace = centers, 1.0
        for _ in range(max_iter):
            owned = self.assign(centers, threads)
            if not owned.masses.all():
                return None
            means = owned.means
            pull = owned.masses[:, None] * (means - centers)
            inertia = owned.square - (owned.sums * centers + pull * centers).sum()
            if (pull * (means - centers)).sum() <= tol * inertia:
                return means
            step = means - before
            if (pull * step).sum() < 0:
                pace = 1.0
            after = (1 + math.sqrt(1 + 4 * pace * pace)) / 2
            before, centers, pace = means, means + (pace - 1) / after * step, after
        return before
