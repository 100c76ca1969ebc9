"""Compiled functions that count rows of up to three unsigned bytes by their codes."""

from __future__ import annotations

import numpy as np
from numba import njit

_ROWS = 4096  # whose codes are found before they are counted, which is four times as fast


@njit(cache=True, nogil=True)
def count(X, columns, skip_zero, dense):
    """Add 1 to ``dense`` (256**columns,) at the code of each row of X (n, d) uint8.

    The first ``columns`` of a row make its code. With ``skip_zero``, rows are left out where the
    column after these is 0.
    """
    codes = np.empty(_ROWS, np.uint32)
    for start in range(0, X.shape[0], _ROWS):
        m = min(_ROWS, X.shape[0] - start)
        for i in range(m):
            codes[i] = X[start + i, 0]
        for f in range(1, columns):
            for i in range(m):
                codes[i] = codes[i] << np.uint32(8) | X[start + i, f]
        if skip_zero:
            for i in range(m):
                dense[codes[i]] += X[start + i, columns] > 0
        else:
            for i in range(m):
                dense[codes[i]] += 1


@njit(cache=True, nogil=True)
def gather(dense, codes, counts):
    """Write the codes whose count is not 0, in ascending order, and these counts."""
    at = 0
    for code in range(dense.shape[0]):
        if dense[code] > 0:
            codes[at], counts[at] = code, dense[code]
            at += 1


@njit(cache=True, nogil=True)
def add_cells(rows, points, weights, shift, cells, sums, masses):
    """Add up weighted ``points`` (n, d) by the cell that their ``rows`` (n, columns) uint8 are in.

    Rows of a cell agree in all bits from ``shift`` on. ``cells`` has -1 for each cell there can be;
    it gets their numbers, and ``sums`` (m, d) and ``masses`` (m,) are added to. Returns how many
    cells there are.
    """
    many = 0
    for i in range(rows.shape[0]):
        cell = 0
        for f in range(rows.shape[1]):
            cell = cell << (8 - shift) | rows[i, f] >> shift
        at = cells[cell]
        if at < 0:
            at = cells[cell] = many
            many += 1
        masses[at] += weights[i]
        for f in range(points.shape[1]):
            sums[at, f] += weights[i] * points[i, f]
    return many
