"""Answers to programs that are kept in a checkpoint, so that a later process need not find them.

A program does the same whenever it is sent the same. So a fit that was killed is run again from its
first ask, is sent what was kept without any pass, and then goes on where the other one was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.engine import exact
from dkmeans.engine.dedupe import Distinct, DistinctStep, words
from dkmeans.engine.kept import BINS
from dkmeans.engine.lloyd import RunStep
from dkmeans.engine.partial import Rows
from dkmeans.engine.passes import Passes, Tally
from dkmeans.engine.programs import (
    Ask,
    Ending,
    Log,
    Memo,
    each_part,
    each_step,
    joint_name,
    whole_part,
)
from dkmeans.engine.search import Found
from dkmeans.engine.seeding import Attraction, AttractStep, Draw, Trials, TrialStep
from dkmeans.engine.settle import Anchor, Course, Settled, Taken
from dkmeans.engine.survey import Sample, Survey, SurveyStep
from dkmeans.record.checkpoint import Entries, Entry
from dkmeans.record.codec import decode, encode
from dkmeans.record.frames import ENDS

_SHAPES: dict[Any, dict[str, str]] = {  # of arrays; "*" is any size
    Rows: {"keys": "m", "index": "m", "values": "m d", "weights": "m"},
    Survey: {"low": "d", "high": "d"},
    Distinct: {"codes": "m words", "counts": "m"},
    Draw: {"cost": "limbs"},
    Attraction: {"counts": "c", "masses": "c *"},
    Trials: {"costs": "t limbs"},
    Course: {"centers": "k d", "drops": "k"},
    Anchor: {"centers": "k d", "sums": "k d *", "masses": "k", "own": "limbs"},
    Taken: {"centers": "k d", "counts": "k"},
    Settled: {"counts": "k", "spread": "k bins", "means": "k d"},
    Found: {"centers": "k d"},
}


class Recording(Log):
    """Answers from the entries of a checkpoint, and from passes once these are used up.

    Parameters
    ----------
    entries : of which the first, which says what fit it is, has been read.
    passes : that count what is spent.
    n_features : of the rows.
    resumed : called once all that was kept has been used, if there was any, with the number of
        passes that it had taken; None where these were all.
    """

    def __init__(
        self,
        entries: Entries,
        passes: Passes,
        n_features: int,
        resumed: Callable[[int | None], None],
    ) -> None:
        self._entries, self._passes = entries, passes
        self._resumed = resumed if entries.count > 1 else None
        self._sizes = {"limbs": exact.LIMBS, "bins": BINS, "d": n_features}
        self.finished = entries.ended
        self._begin()

    def answers(self, asks: Sequence[Ask], take: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        """A part for each ask, as it was kept, or from a pass that is then kept."""
        steps = [step for ask in asks for step in each_step(ask.step)]
        kept = self._next(joint_name(asks), [_answer_kind(step) for step in steps])
        if kept is None:
            taken = take()
            self._keep(joint_name(asks), [part for whole in taken for part in each_part(whole)])
            return taken
        for step, part in zip(steps, kept, strict=True):
            self._check(part, _sizes_of(step))
            if not _answers(step, part):
                raise self._entries.refuse("it answers something else")
        parts = iter(kept)
        return [whole_part(ask.step, [next(parts) for _ in each_step(ask.step)]) for ask in asks]

    def remember(self, memo: Memo) -> Any:
        """What the memo found, or finds now and is then kept."""
        kept = self._next(memo.name, [memo.kind])
        if kept is None:
            kept = [memo.find()]
            self._keep(memo.name, kept)
        else:
            self._check(kept[0], {"k": memo.n_clusters})
        return kept[0]

    def end(self, endings: Sequence[Ending]) -> None:
        """Close the checkpoint of fits that have ended so."""
        if self._entries.following() is not None:
            raise self._entries.refuse("the fit had ended before it")
        if self.finished:
            if endings_of(self._entries) != tuple(endings):
                raise self._entries.refuse("the fit ends otherwise")
            self._tell(None)
        else:
            self._entries.add(Entry("end", encode(endings, []), ()), last=True)

    def _begin(self) -> None:
        """Count what is spent from now on."""
        self._before, self._mark = self._passes.total, time.perf_counter()

    def _next(self, name: str, kinds: Sequence[Any]) -> Sequence[Any] | None:
        """The values of the next entry, or None if there is none."""
        entry = self._entries.following()
        if entry is None:
            if self.finished:
                raise self._entries.refuse(f"{name!r} is missing after it")
            self._tell(self._passes.total.passes)
            return None
        if entry.name != name:
            raise self._entries.refuse(f"it holds {entry.name!r}, and the fit asks for {name!r}")
        spent, plain = spent_for(self._entries, entry), entry.plain[1]
        try:
            values: Sequence[Any] = decode(tuple[tuple(kinds)], plain, entry.arrays)  # type: ignore[misc]
        except ValueError as error:
            raise self._entries.refuse(str(error)) from error
        self._passes.recall(spent)
        self._begin()
        return values

    def _tell(self, passes: int | None) -> None:
        """Say, once, that the fit goes on from here."""
        if self._resumed is not None:
            self._resumed(passes)
            self._resumed = None

    def _keep(self, name: str, values: Sequence[Any]) -> None:
        """Write an entry with what was spent for it."""
        arrays: list[AnyArray] = []
        before, after = self._before, self._passes.total
        spent = after.since(before, time.perf_counter() - self._mark)
        plain = encode((spent, values), arrays)
        self._entries.add(Entry(name, plain, arrays))
        self._begin()

    def _check(self, value: Any, sizes: Mapping[str, int]) -> None:
        """Raise a CheckpointError unless all arrays have the shapes that they are to have."""
        if isinstance(value, np.ndarray):
            self._check_shape(value, "k d", {**self._sizes, **sizes})
        elif isinstance(value, tuple):
            for one in value:
                self._check(one, sizes)
        elif is_dataclass(value):
            shapes, known = _SHAPES.get(type(value), {}), {**self._sizes, **sizes}
            for field in fields(value):
                inner = getattr(value, field.name)
                if not isinstance(inner, np.ndarray):
                    self._check(inner, sizes)
                elif field.name in shapes:
                    self._check_shape(inner, shapes[field.name], known)

    def _check_shape(self, array: AnyArray, expected: str, known: dict[str, int]) -> None:
        letters = expected.split()
        fits = array.ndim == len(letters) and all(
            letter == "*" or known.setdefault(letter, size) == size
            for letter, size in zip(letters, array.shape, strict=True)
        )
        if not fits:
            raise self._entries.refuse(f"it has an array of shape {array.shape}")


def spent_for(entries: Entries, entry: Entry) -> Tally:
    """What an answer was had for.

    Raises
    ------
    CheckpointError
        If it does not say so.
    """
    try:
        if not isinstance(entry.plain, list) or len(entry.plain) != 2:
            raise ValueError("it is no answer")
        spent: Tally = decode(Tally, entry.plain[0], entry.arrays)
        if min(spent.passes, spent.bytes_read, spent.rows, spent.seconds) < 0:
            raise ValueError("it was had for less than nothing")
    except ValueError as error:
        raise entries.refuse(str(error)) from error
    return spent


def endings_of(entries: Entries) -> tuple[Ending, ...]:
    """How the fits ended, once all answers have been read."""
    last = entries.last()
    try:
        endings: tuple[Ending, ...] = decode(tuple[Ending, ...], last.plain, last.arrays)
    except ValueError as error:
        raise entries.refuse(str(error)) from error
    return endings


def _answer_kind(step: Any) -> Any:
    """The type of the answer to a step, as it is declared."""
    call = step.finish if hasattr(step, "finish") else type(step).__call__
    return get_type_hints(call)["return"]


def _sizes_of(step: Any) -> dict[str, int]:
    """Sizes of arrays in the answer, by their letters in ``_SHAPES``."""
    if isinstance(step, RunStep):
        return {"k": len(step.course.centers)}
    if isinstance(step, AttractStep):
        return {"c": len(step.centers)}
    if isinstance(step, DistinctStep):
        return {"words": words(step.row_bytes)}
    return {"t": len(step.trials)} if isinstance(step, TrialStep) else {}


def _answers(step: Any, part: Any) -> bool:
    """Whether a part has all that the step asks for."""
    if isinstance(step, SurveyStep):
        return (
            part.streams == step.streams
            and (len(part.draws), part.most) == (len(step.streams), step.most)
            and (part.searched is None) == (step.searched is None)
            and sorted(part.sizes) == list(range(len(part.sizes)))
            and min(part.sizes.values(), default=0) >= 0
            and (part.searched is None or _is_sample(part.searched, part.dtype))
        )
    if isinstance(step, RunStep):
        later = bool(step.course.n_iter or step.course.reason)
        return (
            (part.drawn is None) == (step.assign.draw is None)
            and bool(part.taken or (later and not part.done))
            and part.course.reason in ("", *ENDS)
            and all(taken.phase in ("lloyd", "final") for taken in part.taken)
        )
    if isinstance(step, DistinctStep):
        return bool(part.most == step.most)
    return not isinstance(step, TrialStep) or len(part.rows) == len(step.trials) * len(step.streams)


def _is_sample(sample: Sample, dtype: np.dtype[Any]) -> bool:
    """Whether a sample has rows of this type."""
    return bool(sample.pieces) and all(piece.values.dtype == dtype for piece in sample.pieces)
