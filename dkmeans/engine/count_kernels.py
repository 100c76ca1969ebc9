"""Compiled functions that count rows of up to three unsigned bytes, and look up what these are.

A row has a *code* here in which the bits of its bytes are interleaved (Morton 1966, "A computer
oriented geodetic data base"): rows that agree in the leading bits of each byte are neighbours in a
table of all codes, so that the colours of an image, which are much alike, share lines of the cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dkmeans.engine.compiled import ALLOCATES, ENTRY, INNER

PIECE = 4096  # rows whose codes are found before they are counted: noise is so twice as fast


@njit(**INNER)
def _codes(rows, width, start, spread, codes):
    """Write the codes of ``codes.shape[0]`` rows from ``start`` on."""
    at = start * width
    if spread.shape[0] == 3:
        for i in range(codes.shape[0]):
            first, second, third = rows[at], rows[at + 1], rows[at + 2]
            codes[i] = spread[0, first] | spread[1, second] | spread[2, third]
            at += width
        return
    for i in range(codes.shape[0]):
        codes[i] = spread[0, rows[at]]
        for f in range(1, spread.shape[0]):
            codes[i] |= spread[f, rows[at + f]]
        at += width


@njit(**(ENTRY | ALLOCATES))
def count(rows, width, start, spread, skip_zero, table, carried):
    """Add 1 to ``table`` (256**columns,) uint8 at the code of each row, from ``start`` on.

    Rows are ``rows`` (n * width,) uint8, of which the first columns make the code: ``spread``
    (columns, 256) uint32 has what each byte gives to it. With ``skip_zero``, rows are left out
    where the column after these is 0. Codes whose count has come to 256, and is 0 again, are
    written to ``carried``, until there is no room for ``PIECE`` more of them. Returns the row to
    go on from, which is n in the end, and how many codes were carried.
    """
    n, many = rows.shape[0] // width, 0
    codes = np.empty(PIECE, np.uint32)
    while start < n and many + PIECE <= carried.shape[0]:
        m = min(PIECE, n - start)
        _codes(rows, width, start, spread, codes[:m])
        after = start * width + spread.shape[0]
        for i in range(m):
            if skip_zero and rows[after + i * width] == 0:
                continue
            code = codes[i]
            table[code] += np.uint8(1)
            if table[code] == 0:
                carried[many] = code
                many += 1
        start += m
    return start, many


@njit(**ENTRY)
def add(table, dense):
    """Add a table of bytes to ``dense`` of the same length."""
    for i in range(dense.shape[0]):
        dense[i] += table[i]


@njit(**ENTRY)
def gather(dense, spread, codes, counts):
    """Write rows as one number each, in ascending order, whose count is not 0, and these counts.

    ``dense`` (256**columns,) has them by code; the first byte of a row is the most significant one.
    """
    at, columns = 0, spread.shape[0]
    for leading in range(256 ** (columns - 1)):
        code = np.uint32(0)
        for f in range(columns - 1):
            code |= spread[f, leading >> 8 * (columns - 2 - f) & 255]
        for last in range(256):
            found = dense[code | spread[columns - 1, last]]
            if found > 0:
                codes[at], counts[at] = leading << 8 | last, found
                at += 1


@njit(**ENTRY)
def look_up(rows, spread, table, values):
    """Write to ``values`` (n,) what ``table`` (256**columns,) has at the code of each row."""
    at, columns = 0, spread.shape[0]
    if columns == 3:
        for i in range(values.shape[0]):
            first, second, third = rows[at], rows[at + 1], rows[at + 2]
            values[i] = table[spread[0, first] | spread[1, second] | spread[2, third]]
            at += 3
        return
    for i in range(values.shape[0]):
        code = spread[0, rows[at]]
        for f in range(1, columns):
            code |= spread[f, rows[at + f]]
        values[i] = table[code]
        at += columns


@njit(**ENTRY)
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
