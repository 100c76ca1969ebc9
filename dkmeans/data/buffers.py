"""Memory that serves again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray


class Buffers:
    """Memory used again: fresh pages can cost more than the work on them."""

    def __init__(self) -> None:
        self._free: list[AnyArray] = []

    @contextmanager
    def lend(self, size: int) -> Iterator[AnyArray]:
        """An array of ``size`` bytes for as long as the context lasts."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = np.empty(0, np.uint8)
        if len(buffer) < size:
            del buffer
            buffer = np.empty(size, np.uint8)
        try:
            yield buffer[:size]
        finally:
            self._free.append(buffer)

    def __reduce__(self) -> Any:
        return Buffers, ()
