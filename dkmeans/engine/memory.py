"""Memory before work: how a fit would run within a limit, or why it cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dask.utils import format_bytes

from dkmeans.data.blocks import READ_BYTES
from dkmeans.engine.lloyd import KEPT_SHARE, MAX_RELOCATED
from dkmeans.engine.machine import FIXED_BYTES, Machine
from dkmeans.engine.trees import FAN_IN
from dkmeans.errors import MemoryLimitError

BLOCK_BYTES = 32 * 2**20  # what blocks are joined or cut toward
DASK_FACTOR = 3  # blocks of a dask array that are alive while one is made, at a guess
BLOCKS_PER_THREAD = 8  # so that threads, and workers above all, end a pass together
LEAST_ROWS = 2**16  # of a piece of a chunk
SAMPLE_COPIES = 4  # of the sample while it is searched
KEPT_COPIES = 3  # of rows kept, while they are put together, or where a worker reads the most
PAIR_BYTES = 32  # of a pair of centers, while iterations go on in memory
LABEL_BYTES = 8  # label and margin of a row of a block at work
KEPT_BYTES = 12  # label, margin and bound of a row kept


@dataclass(frozen=True)
class Shape:
    """What a plan needs to know of the data.

    Parameters
    ----------
    n_rows, unit_rows : None where only a read can tell; a unit is what storage reads whole.
    n_blocks : of a dask array, whose sizes may not be known.
    row_bytes : of one row in memory, with its weight.
    n_features : width of a row.
    resident : whether the rows are in memory already.
    local : whether they stay in this process, though there is a cluster.
    buffered : whether blocks are read into buffers of our own, piece by piece.
    made_bytes : of what a pass makes of a row of a block at work, beside its label and margin.
    read_bytes : what is asked of storage at once.
    """

    n_rows: int | None
    unit_rows: int | None
    n_blocks: int
    row_bytes: int
    n_features: int
    resident: bool = False
    local: bool = False
    buffered: bool = False
    made_bytes: int = 0
    read_bytes: int = READ_BYTES

    @property
    def unit_bytes(self) -> int:
        """Bytes of what storage reads whole, as far as known."""
        return (self.unit_rows or 0) * self.row_bytes

    @property
    def all_bytes(self) -> int:
        """Bytes of all rows, as far as known."""
        return (self.n_rows or 0) * self.row_bytes

    def reading_bytes(self, block_bytes: int) -> int:
        """Bytes that it takes to have a block: the block, and copies while it is read."""
        made = self._beside * block_bytes // max(1, self.row_bytes)
        if self.resident:
            return made
        copies = block_bytes + self._pieces() if self.buffered else DASK_FACTOR * block_bytes
        return made + copies

    def block_for(self, room: int) -> int:
        """Bytes of the largest block for which ``room`` is enough."""
        copies = 1 if self.buffered else DASK_FACTOR
        room -= self._pieces() if self.buffered else 0
        each = copies * self.row_bytes + self._beside
        return max(0, room * self.row_bytes // max(1, each))

    @property
    def _beside(self) -> int:
        return LABEL_BYTES + self.made_bytes

    def _pieces(self) -> int:
        """Encoded and decoded pieces of the rows that are asked of storage at once."""
        return 2 * max(self.read_bytes, self.unit_bytes)


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
    kept_rows : rows that are kept in memory between passes, because they may change clusters.
    kept_at_one : for how many of them any one worker has room.
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
    kept_rows: int = 0
    kept_at_one: int = 0

    @property
    def kept_stay(self) -> bool:
        """Whether kept rows stay on the workers that read them, as :attr:`Run.stay` says."""
        return self.kept_rows > self.kept_at_one

    def lines(self) -> list[tuple[str, str]]:
        """Names and values, for people."""

        def count(value: int | None) -> str:
            return "known after the first pass" if value is None else f"{value:,}"

        def size(value: int | None) -> str:
            return "known after the first pass" if value is None else format_bytes(value)

        memory = self.residency == "memory"
        where = ", on the workers that read them" if self.kept_stay else ""
        kept = "kept in memory after the first read" if memory else "read in every pass"
        return [
            ("rows", count(self.n_rows)),
            ("features", f"{self.n_features:,}"),
            ("clusters", f"{self.n_clusters:,}"),
            ("blocks", f"{self.n_blocks:,} of {count(self.block_rows)} rows"),
            ("bytes a pass", size(self.pass_bytes)),
            ("residency", f"{self.residency}: {kept}"),
            *([("kept rows", count(self.kept_rows) + where)] if self.kept_rows else []),
            ("threads", str(self.threads)),
            (
                "passes",
                f"{self.seeding_passes} to seed, then at most 1 an iteration,"
                f" {self.max_passes:,} at most",
            ),
            ("projected peak", size(self.projected_bytes)),
            ("memory limit", format_bytes(self.limit_bytes)),
        ]

    def __str__(self) -> str:
        lines = self.lines()
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:>{width}}  {value}" for name, value in lines)


@dataclass(frozen=True)
class Work:
    """Sizes that decide what a pass needs beside the rows.

    Parameters
    ----------
    candidates : centers that seeding holds at most.
    seeding_passes, max_passes : passes before Lloyd's, and the most there can be in all.
    sample_rows : rows that are searched for centers in memory, or kept with the history.
    runs : restarts, which advance on the same passes.
    keeps : whether rows are kept between passes.
    part_bytes : of what passes that measure, or count distinct rows, learn of a block, all of them
        that share a pass; they do not run while rows are kept.
    own_bytes : of what this process computes of what passes found.
    what : has these sizes, for messages.
    """

    n_clusters: int
    n_features: int
    candidates: int
    seeding_passes: int
    max_passes: int
    sample_rows: int = 0
    runs: int = 1
    keeps: bool = False
    part_bytes: int = 0
    own_bytes: int = 0
    what: str = "the fit"

    @property
    def fit_bytes(self) -> int:
        """Bytes of what a pass of the fits themselves learns of a block."""
        return self.runs * self.run_bytes

    @property
    def run_bytes(self) -> int:
        """Of this, what is for one restart."""
        return 16 * self.n_clusters * self.n_features + 8 * MAX_RELOCATED * self.n_features

    @staticmethod
    def together(several: Sequence[Work]) -> Work:
        """Of fits that share their passes."""
        most = max(several, key=lambda work: work.n_clusters)
        return replace(
            most,
            max_passes=max(work.max_passes for work in several),
            runs=sum(work.runs for work in several),
        )


def projected(work: Work, threads: int, processes: int, blocks_bytes: int) -> int:
    """Peak memory of a pass in bytes: a pure function of its sizes.

    Parameters
    ----------
    blocks_bytes : of rows held, and of those at work with what it takes to read them.
    """
    fits = work.runs * (2 * work.run_bytes + 24 * work.candidates * work.n_features)
    at_work = max(fits, 2 * work.part_bytes)
    combined = 2 * FAN_IN * max(work.fit_bytes, work.part_bytes)
    pairs = PAIR_BYTES * work.n_clusters**2 if work.keeps else 0
    others = threads * at_work + combined + pairs + work.own_bytes
    return processes * FIXED_BYTES + others + blocks_bytes


@dataclass(frozen=True)
class LabelRoom:
    """Memory for labels whose number shows only when they are read.

    Parameters
    ----------
    base_bytes : projected without them.
    label_bytes : that each different label takes, in all parts of it that there are at once.
    """

    base_bytes: int
    label_bytes: int
    limit_bytes: int

    @classmethod
    def of(cls, plan: Plan, part_bytes: int) -> LabelRoom:
        """What a plan leaves to labels, each of which adds so many bytes to what a pass learns."""
        copies = 2 * plan.threads + 2 * FAN_IN
        return cls(plan.projected_bytes or 0, copies * part_bytes, plan.limit_bytes)

    def check(self, count: int) -> None:
        """Raise a MemoryLimitError if so many different labels do not fit."""
        need = self.base_bytes + count * self.label_bytes
        if need > self.limit_bytes:
            raise MemoryLimitError(
                _refusal(
                    f"the pass, with {count:,} different labels so far,",
                    need,
                    self.limit_bytes,
                    "raise memory_limit, if so many labels are meant",
                )
            )


def make_plan(shape: Shape, work: Work, residency: str, limit: int) -> Plan:
    """Cut the rows into blocks and choose where they live.

    Raises
    ------
    MemoryLimitError
        If no way of running fits in ``limit``.
    """
    machine = Machine.at_hand(local=shape.local)
    residency = _residency(shape, work, residency, limit, machine)
    in_memory = residency == "memory"
    sample_bytes = SAMPLE_COPIES * work.sample_rows * shape.row_bytes
    held = sample_bytes + (shape.all_bytes if in_memory and not shape.resident else 0)
    threads = machine.threads
    if not machine.cluster:
        threads = _threads_that_fit(shape, work, held, limit, threads)
    room = _room(shape, work, held, limit, replace(machine, threads=threads))
    if work.keeps and not in_memory:
        room = max(room // 2, shape.reading_bytes(shape.unit_bytes))  # the rest is for rows kept
    rows = None if shape.n_rows is None else _block_rows(shape, room, threads)
    block_bytes = min(rows or shape.unit_rows or 0, shape.n_rows or 0) * shape.row_bytes
    reading = threads * shape.reading_bytes(block_bytes)
    peak = projected(work, threads, machine.processes, held + reading)
    in_place, spare = in_memory and not machine.cluster, max(0, limit - peak)
    kept_rows, kept_bytes = _kept(shape, work, in_place, spare)
    # any worker may be the one that gets all rows kept, if that has room for as many as all have
    at_one, _ = _kept(shape, work, in_place, spare * machine.smallest // machine.threads)
    known = shape.n_rows is not None
    return Plan(
        shape.n_rows,
        shape.n_features,
        work.n_clusters,
        shape.n_blocks if rows is None else -(-max(1, shape.n_rows or 0) // rows),
        rows,
        shape.all_bytes if known else None,
        residency,
        threads,
        peak + kept_bytes if known else None,
        limit,
        work.seeding_passes,
        work.max_passes,
        kept_rows,
        at_one,
    )


def _residency(shape: Shape, work: Work, wanted: str, limit: int, machine: Machine) -> str:
    """Where the rows live: "memory" or "stream"."""
    if shape.resident:
        return "memory"
    if wanted == "stream":
        return wanted
    reading = machine.threads * shape.reading_bytes(shape.unit_bytes)
    held = shape.all_bytes + SAMPLE_COPIES * work.sample_rows * shape.row_bytes
    whole = projected(work, machine.threads, machine.processes, held + reading)
    if wanted == "auto":
        return "memory" if whole <= limit and shape.n_rows is not None else "stream"
    if whole > limit:
        cure = "residency='stream' reads from storage in every pass"
        raise MemoryLimitError(_refusal(work.what, whole, limit, cure))
    return wanted


def _room(shape: Shape, work: Work, held: int, limit: int, machine: Machine) -> int:
    """Bytes that each thread has for a block, enough for the smallest."""
    threads, processes = machine.threads, machine.processes
    least = shape.reading_bytes(shape.unit_bytes)
    room = (limit - projected(work, threads, processes, held)) // threads
    if room < least:
        need = projected(work, threads, processes, held + threads * least)
        cure = _cure(shape, machine.cluster, room)
        raise MemoryLimitError(_refusal(work.what, need, limit, cure))
    return room


def _kept(shape: Shape, work: Work, in_place: bool, room: int) -> tuple[int, int]:
    """Rows for which there is room between passes, of all runs, and the bytes that they take.

    Rows that are in the memory of this process are kept ``in_place``: all of them or none.
    """
    if not work.keeps:
        return 0, 0
    if in_place:
        kept = (shape.n_rows or 0) * work.runs
        return (kept, KEPT_BYTES * kept) if KEPT_BYTES * kept <= room else (0, 0)
    each = KEPT_COPIES * (shape.row_bytes + KEPT_BYTES)
    kept = room // each
    if shape.n_rows is not None:
        kept = min(kept, int(KEPT_SHARE * shape.n_rows * work.runs))
    return kept, kept * each


def _threads_that_fit(shape: Shape, work: Work, held: int, limit: int, at_hand: int) -> int:
    """As many threads as can each have the smallest block at once, at least one."""
    unit = shape.reading_bytes(shape.unit_bytes)
    for threads in range(at_hand, 1, -1):
        if projected(work, threads, 1, held + threads * unit) <= limit:
            return threads
    return 1


def _block_rows(shape: Shape, room: int, threads: int) -> int:
    """Rows of a block: toward the target, and enough blocks for the threads.

    Blocks that we read are whole units. Chunks of a dask array can be split, though not below
    ``LEAST_ROWS``: a split costs a task and no read.
    """
    unit, row_bytes = max(1, shape.unit_rows or 1), max(1, shape.row_bytes)
    target = min(BLOCK_BYTES, shape.block_for(room)) // row_bytes
    wanted = min(target, math.ceil((shape.n_rows or 0) / (threads * BLOCKS_PER_THREAD)))
    if not shape.buffered:
        return max(wanted, min(unit, LEAST_ROWS))
    return max(unit, wanted // unit * unit)


def _refusal(what: str, need: float, limit: int, cure: str) -> str:
    sizes = f"needs {format_bytes(int(need))} and memory_limit is {format_bytes(limit)}"
    return f"{what} {sizes}: {cure}"


def _cure(shape: Shape, cluster: bool, room: int) -> str:
    rows = shape.block_for(room) // max(1, shape.row_bytes)
    raise_it = "raise memory_limit"
    if cluster:
        raise_it += ", give the workers fewer threads"
    if rows < 1:
        return raise_it
    return f"{raise_it}, or store X in chunks of at most {rows:,} rows"
