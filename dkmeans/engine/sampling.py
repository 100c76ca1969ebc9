"""Random numbers keyed by (seed, stream, global row), and the rows with the smallest keys.

A draw is the rows with the smallest keys. With ``u`` uniform in (0, 1) and ``w`` the weight of a
row, the smallest ``-log(u) / w`` is a draw of one row in proportion to ``w``, the ``m`` smallest a
draw of ``m`` rows without replacement (Efraimidis and Spirakis 2006). Neither the chunking nor the
order of the blocks enters, and two draws combine by keeping the smallest keys of both.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dkmeans.engine.compiled import EITHER, INNER


def stream_key(seed: int, *stream: int) -> np.uint64:
    """Key of one stream of :func:`uniform` numbers."""
    return np.uint64(np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0])


@njit(**EITHER)
def uniform(key, row):
    """Number in (0, 1) that depends on (key, row) alone: two rounds of the SplitMix64 finaliser."""
    z = key ^ (np.uint64(row) * np.uint64(0x9E3779B97F4A7C15))
    for _ in range(2):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = (z ^ (z >> np.uint64(31))) + key
    return (np.float64(z >> np.uint64(12)) + 0.5) * 2.0**-52


@njit(**INNER)
def _after(keys, rows, i, key, row):
    """Whether entry ``i`` comes after (key, row); equal keys are ordered by row."""
    return keys[i] > key or (keys[i] == key and rows[i] > row)


@njit(**INNER)
def offer(keys, rows, size, key, row):
    """Offer (key, row) to a heap that keeps the ``len(keys)`` smallest; return its new size."""
    if size < keys.shape[0]:
        i = size
        size += 1
        while i > 0 and not _after(keys, rows, (i - 1) // 2, key, row):
            keys[i], rows[i] = keys[(i - 1) // 2], rows[(i - 1) // 2]
            i = (i - 1) // 2
    else:
        i = np.int64(0)  # the literal would have a comparison compiled for it
        if size == 0 or not _after(keys, rows, i, key, row):
            return size
        while 2 * i + 1 < size:
            child = 2 * i + 1
            if child + 1 < size and _after(keys, rows, child + 1, keys[child], rows[child]):
                child += 1
            if not _after(keys, rows, child, key, row):
                break
            keys[i], rows[i] = keys[child], rows[child]
            i = child
    keys[i], rows[i] = key, row
    return size
