"""Memory before work: how a fit would run within a limit, or why it cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dask.utils import format_bytes, parse_bytes

from dkmeans.engine.lloyd import MAX_RELOCATED
from dkmeans.engine.passes import FAN_IN, current_client, default_threads
from dkmeans.errors import MemoryLimitError

BLOCK_BYTES = 64 * 2**20  # what blocks are joined or cut toward
READ_FACTOR = 3  # a block while it is read: encoded pieces, decoded pieces, the joined block
FIXED_BYTES = 96 * 2**20  # compiler, scheduler and readers, whatever the data
BLOCKS_PER_THREAD = 4  # so that threads end a pass together
MARGIN = 0.8  # share of the memory at hand that is taken where no limit is given


@dataclass(frozen=True)
class Shape:
    """What a plan needs to know of the data.

    Parameters
    ----------
    n_rows, unit_rows : None where only a read can tell; a unit is what storage reads whole.
    row_bytes : of one row in memory.
    n_features : width of a row.
    resident : whether the rows are in memory already.
    """

    n_rows: int | None
    unit_rows: int | None
    n_blocks: int
    row_bytes: int
    n_features: int
    resident: bool = False


@dataclass(frozen=True)
class Plan:
    """How a fit will run.

    Parameters
    ----------
    n_rows, n_blocks, block_rows : rows, and how they are cut; None where only a read can tell.
    pass_bytes : bytes of the rows in memory, all of which one pass goes over.
    residency : "memory" if rows are kept after the first read, else "stream".
    threads : blocks at work at once.
    projected_bytes : expected peak above what the process uses before the fit.
    limit_bytes : the limit that this was held against.
    seeding_passes, max_passes : passes before Lloyd's, and the most there can be in all.
    """

    n_rows: int | None
    n_features: int
    n_clusters: int
    n_blocks: int
    block_rows: int | None
    pass_bytes: int | None
    residency: str
    threads: int
    projected_bytes: int | None
    limit_bytes: int
    seeding_passes: int
    max_passes: int

    def lines(self) -> list[tuple[str, str]]:
        """Names and values, for people."""

        def count(value: int | None) -> str:
            return "known after the first pass" if value is None else f"{value:,}"

        def size(value: int | None) -> str:
            return "known after the first pass" if value is None else format_bytes(value)

        kept = "kept in memory after the first read" if self.residency == "memory" else "streamed"
        return [
            ("rows", count(self.n_rows)),
            ("features", f"{self.n_features:,}"),
            ("clusters", f"{self.n_clusters:,}"),
            ("blocks", f"{self.n_blocks:,} of {count(self.block_rows)} rows"),
            ("bytes a pass", size(self.pass_bytes)),
            ("residency", f"{self.residency}: {kept}"),
            ("threads", str(self.threads)),
            (
                "passes",
                f"{self.seeding_passes} to seed, 1 an iteration, {self.max_passes:,} at most",
            ),
            ("projected peak", size(self.projected_bytes)),
            ("memory limit", format_bytes(self.limit_bytes)),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name:>14}  {value}" for name, value in self.lines())


def memory_limit(value: int | float | str | None) -> int:
    """Bytes that a fit may use: as given, or what the workers or the machine have, less a margin.

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
    client = current_client()
    if client is not None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        known = [w["memory_limit"] for w in workers if w.get("memory_limit")]
        if known and len(known) == len(workers):
            return int(MARGIN * sum(known))
    import psutil
    from distributed.system import MEMORY_LIMIT

    return int(MARGIN * min(psutil.virtual_memory().available, MEMORY_LIMIT))


def total_threads() -> int:
    """Blocks that can be at work at once, in this process or on the cluster."""
    client = current_client()
    if client is None:
        return default_threads()
    return max(1, int(sum(client.nthreads().values())))


def make_plan(
    shape: Shape,
    n_clusters: int,
    residency: str,
    limit: int,
    candidates: int,
    seeding_passes: int,
    max_passes: int,
    threads: int | None = None,
) -> Plan:
    """Cut the rows into blocks and choose where they live.

    Parameters
    ----------
    candidates : centers that seeding holds at most.
    threads : those at hand; as many are used as fit.

    Raises
    ------
    MemoryLimitError
        If no way of running fits in ``limit``.
    """
    at_hand = threads or total_threads()
    unit_bytes = (shape.unit_rows or 0) * shape.row_bytes
    pass_bytes = None if shape.n_rows is None else shape.n_rows * shape.row_bytes
    held = 0
    if shape.resident:
        residency, unit_bytes = "memory", 0
    elif residency == "memory" or (residency == "auto" and pass_bytes is not None):
        held = pass_bytes or 0
        whole = held + projected(at_hand, unit_bytes, n_clusters, shape.n_features, candidates)
        if whole > limit and residency == "memory":
            raise MemoryLimitError(
                _refusal(whole, limit, "residency='stream' reads from storage in every pass")
            )
        residency = "memory" if whole <= limit else "stream"
        held = held if residency == "memory" else 0
    else:
        residency = "stream"
    for used in range(at_hand, 0, -1):
        fixed = held + projected(used, 0, n_clusters, shape.n_features, candidates)
        room = (limit - fixed) // (used * READ_FACTOR)
        if room >= unit_bytes:
            break
        if current_client() is not None or used == 1:
            need = held + projected(used, unit_bytes, n_clusters, shape.n_features, candidates)
            raise MemoryLimitError(_refusal(need, limit, _cure(shape, used, room)))
    target = max(min(BLOCK_BYTES, room), 1)
    rows = None if shape.n_rows is None else _block_rows(shape, target, used)
    block_bytes = unit_bytes if rows is None else min(rows, shape.n_rows or 0) * shape.row_bytes
    peak = held + projected(
        used, 0 if shape.resident else block_bytes, n_clusters, shape.n_features, candidates
    )
    return Plan(
        shape.n_rows,
        shape.n_features,
        n_clusters,
        shape.n_blocks if rows is None else -(-max(1, shape.n_rows or 0) // rows),
        rows,
        pass_bytes,
        residency,
        used,
        None if shape.n_rows is None else peak,
        limit,
        seeding_passes,
        max_passes,
    )


def _block_rows(shape: Shape, target: int, threads: int) -> int:
    """Rows of a block: toward the target, whole units, and enough blocks for the threads."""
    unit = max(1, shape.unit_rows or 1)
    most = max(unit, target // max(1, shape.row_bytes))
    share = max(unit, math.ceil((shape.n_rows or 0) / (threads * BLOCKS_PER_THREAD)))
    return min(most, share) // unit * unit


def projected(threads: int, block_bytes: int, k: int, d: int, candidates: int) -> int:
    """Peak memory of a pass in bytes, whatever the data: a pure function of its sizes."""
    part = 16 * k * d + 8 * MAX_RELOCATED * d
    at_work = block_bytes * READ_FACTOR + 2 * part + 24 * candidates * d
    return FIXED_BYTES + threads * at_work + 2 * FAN_IN * part


def _refusal(need: float, limit: int, cure: str) -> str:
    return (
        f"the fit needs {format_bytes(int(need))} and memory_limit is {format_bytes(limit)}: {cure}"
    )


def _cure(shape: Shape, threads: int, room: int) -> str:
    rows = max(0, room) // max(1, shape.row_bytes)
    raise_it = "raise memory_limit"
    if threads > 1:
        raise_it += ", give the workers fewer threads"
    if rows < 1:
        return f"{raise_it}, or ask for fewer clusters"
    return f"{raise_it}, or store X in chunks of at most {rows:,} rows"


def unit_of(units: Sequence[int] | None) -> int | None:
    """Rows of the largest unit."""
    return max(units, default=0) if units is not None else None
