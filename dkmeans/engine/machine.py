"""What there is to work with: memory, threads and processes, of this machine or of a cluster."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from dataclasses import dataclass
from pathlib import Path

from dask.utils import parse_bytes

from dkmeans.data.cluster import Cluster, current_client
from dkmeans.engine.passes import default_threads

FIXED_BYTES = 280 * 2**20  # compiler, compiled code and readers; half of it once code is cached
CODE_BYTES = 80 * 2**20  # compiled code that was cached, alone
MARGIN = 0.8  # share of the memory at hand that is taken where no limit is given


def memory_limit(value: int | float | str | None, *, local: bool = False) -> int:
    """Bytes that a fit may use: as given, or what the workers or the machine have, less a margin.

    For rows that are in this process (``local``) it is what the machine has: there is little to
    plan for, and not to load ``distributed`` spares the first fit a third of a second.

    Raises
    ------
    ValueError
        If the value is neither a positive number nor one with a unit of bytes.
    """
    if value is not None:
        try:
            limit = int(parse_bytes(value)) if isinstance(value, str) else int(value)
        except (ValueError, TypeError, OverflowError):
            limit = 0
        if limit <= 0 or isinstance(value, bool):
            raise ValueError(
                f"memory_limit must be a number of bytes or a text such as '1 GiB', got {value!r}"
            )
        return limit
    import psutil

    available = psutil.virtual_memory().available
    if local:
        return int(MARGIN * available)
    client = current_client()
    if client is not None:
        workers = Cluster(client).workers().values()
        if all(worker["memory_limit"] for worker in workers):
            # blocks come to each thread alike, so the worker with the least for each is full first
            least = min(worker["memory_limit"] / worker["nthreads"] for worker in workers)
            return int(MARGIN * least * sum(worker["nthreads"] for worker in workers))
    from distributed.system import MEMORY_LIMIT

    return int(MARGIN * min(available, MEMORY_LIMIT))


def in_cache() -> bool:
    """Whether Numba has the code of passes at hand or on disk, for some type of rows."""
    from dkmeans.engine import sum_kernels

    if getattr(sum_kernels._lloyd, "signatures", ()):
        return True
    stats = getattr(sum_kernels._lloyd, "stats", None)  # none where Numba compiles nothing
    folder = None if stats is None else stats.cache_path
    return folder is not None and any(Path(folder).glob("sum_kernels._lloyd-*.nbi"))


def code_bytes() -> int:
    """Bytes that the code of a fit takes, without readers: less where Numba has it in its cache."""
    return CODE_BYTES if in_cache() else FIXED_BYTES


def give_back() -> None:
    """Hand memory that was freed back to the system, where the C library is glibc and keeps it."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@dataclass(frozen=True)
class Machine:
    """What runs a pass: blocks at work at once, processes, and whether these are a cluster's.

    Parameters
    ----------
    smallest : threads of the process that has the fewest, which has as large a share of the memory.
    """

    threads: int
    processes: int
    cluster: bool
    smallest: int

    @classmethod
    def at_hand(cls, *, local: bool) -> Machine:
        """What runs passes over rows that are ``local``, or else those of the current client."""
        client = None if local else current_client()
        if client is None:
            return cls(default_threads(), 1, False, default_threads())
        threads = [worker["nthreads"] for worker in Cluster(client).workers().values()]
        return cls(sum(threads), len(threads), True, min(threads))
