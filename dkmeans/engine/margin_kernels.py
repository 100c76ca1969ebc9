"""Compiled functions about *margins*: how far a row is from changing sides.

The margin of a row is the distance to its second nearest center less that to its nearest. What the
kernels write is never more than the true margin, whatever was rounded.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dkmeans.engine.compiled import ENTRY, INNER

_DOWN = 1.0 - 2.0**-20  # makes up for the rounding of the few operations that follow it
_HUGE = 1e38
_LEAST = 2.0**-126  # below it float32 has fewer digits


@njit(**INNER)
def _single(bound):
    """A lower bound as float32, which must not round it up: to infinity, or near to 0."""
    return np.float32(min(bound, _HUGE)) if bound >= _LEAST else np.float32(0)


@njit(**INNER)
def margin_tile(start, m, scorer, scratch, margins, reach):
    """Write the margins of m assigned rows to ``margins`` from ``start`` on, float32.

    ``reach`` (k,) becomes at least the distance of each of these rows to its center. With ``h``
    half the squared distance to the nearest center and ``g`` the least by which half the other
    is more, the margin is at least ``sqrt(2 (h + g)) - sqrt(2 h) = 2 g / (both added)``.

    A row whose two best scores were too close to tell apart may have the label of another center
    than that of the best score, whose slack is not known here: it is at most the largest.
    """
    norms, best, second, labels = scratch.norms, scratch.best, scratch.second, scratch.labels
    share, slack = 1.02 * np.float64(scorer.gamma), scorer.slack
    top = np.float64(scorer.most_slack)
    for i in range(m):
        j, norm = labels[i], np.float64(norms[i])
        if j < 0:
            margins[start + i] = np.inf
            continue
        if not norm < _HUGE:  # overflow: nothing is known of it but its label
            margins[start + i] = 0.0
            reach[j] = np.inf
            continue
        lead = np.float64(second[i]) - np.float64(best[i])
        clear = lead * _DOWN > top + share * norm
        doubt = (np.float64(slack[j]) if clear else top) + share * norm
        gap = max(0.0, lead - doubt)
        half = max(0.0, (0.5 + 2 * share) * norm + np.float64(best[i]) + doubt)
        near = np.sqrt(2 * half)
        far = np.sqrt(2 * half + 2 * gap)
        margin = 2 * gap / (near + far) / scorer.scale * _DOWN if gap > 0 else 0.0
        margins[start + i] = _single(margin)
        reach[j] = max(reach[j], near / scorer.scale / _DOWN)


@njit(**ENTRY)
def stale(labels, bounds, limits, rows):
    """Write to ``rows`` the rows whose bound the limit (k,) of their cluster has reached.

    Returns how many.
    """
    count = 0
    for i in range(labels.shape[0]):
        rows[count] = i
        count += labels[i] >= 0 and bounds[i] <= limits[max(0, labels[i])]
    return count


@njit(**ENTRY)
def settle_rows(rows, fresh, margins, total, labels, bounds, moved, previous):
    """Enter fresh labels and margins of ``rows``; those that changed sides are listed.

    A row is due again when the limit of its cluster, now ``total`` (k,), has grown by its margin.
    Written: ``labels``, ``bounds``, and ``moved`` and ``previous``, the rows that changed and the
    labels that they had. Returns how many.
    """
    count = 0
    for i in range(rows.shape[0]):
        row, label = rows[i], fresh[i]
        if label != labels[row]:
            moved[count], previous[count] = row, labels[row]
            count += 1
            labels[row] = label
        bounds[row] = _single((total[label] + margins[i]) * _DOWN)
    return count


@njit(**ENTRY)
def choose(labels, margins, weights, cuts, unit, rows, floor, spread):
    """Write to ``rows`` the rows whose margin is at most the cut (k,) of their cluster.

    Of all others, ``floor`` (k,) becomes at most the least margin. ``spread`` (k, bins) counts the
    margins by half octaves of ``unit``, the last bin holding those of ``unit`` and more. Rows of
    weight 0 move no center and are passed over. Returns how many were chosen.
    """
    count, bins = 0, spread.shape[1]
    for i in range(labels.shape[0]):
        j = labels[i]
        if j < 0 or (weights.shape[0] > 0 and weights[i] <= 0.0):
            continue
        octaves = (np.float32(margins[i] / unit).view(np.int32) >> 22) - (127 << 1)
        spread[j, min(max(octaves + bins - 1, 0), bins - 1)] += 1
        if margins[i] <= cuts[j] and count < rows.shape[0]:
            rows[count] = i
            count += 1
        else:
            floor[j] = min(floor[j], margins[i])
    return count
