"""Where a fit keeps its state, and whether what is there is the state of the same fit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import zip_longest
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from dkmeans.data.durable import open_folder
from dkmeans.data.source import Source
from dkmeans.engine.passes import Passes, Tally
from dkmeans.engine.programs import Log
from dkmeans.engine.recording import Recording, endings_of, spent_for
from dkmeans.errors import CheckpointError
from dkmeans.inputs import Input
from dkmeans.record.checkpoint import CURE, FIRST, Entries, Entry
from dkmeans.record.codec import decode, encode
from dkmeans.record.facts import versions, without_secrets

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

SECONDS = 30.0
_DIGEST_LETTERS = 64
_FREE = {  # parameters that change no bit of the result
    "algorithm",
    "callbacks",
    "checkpoint",
    "memory_limit",
    "residency",
    "verbose",
}


@dataclass(frozen=True)
class Checkpoint:
    """Where a fit keeps its state, so that one that was killed goes on from there.

    After each pass the answer of that pass is written and synced, as one more file of a folder. A
    fit that finds its own unfinished checkpoint is given these answers again, without a pass, and
    ends with the same bits as one that was never interrupted. Only one fit can use it at a time:
    of two, the one that is slower ends with an error. A fit that has ended leaves its checkpoint,
    from which the same fit is had again without a pass; the folder can then be removed. A pass
    adds some 40 bytes for each value of the centers, and 8 for each further iteration.

    Parameters
    ----------
    path : str or path
        A folder on disk that need not be there, or a URI of object storage.
    fresh : bool, default=False
        Start over, whatever is there.
    seconds : float, default=30
        Iterations in memory that take longer are interrupted by a pass, to be kept; unless a pass
        takes longer still.
    storage_options : dict, optional
        Options of the storage behind a URI, for fsspec.

    Raises
    ------
    ValueError
        If ``seconds`` is negative, or the path empty.
    """

    path: str | os.PathLike[str]
    fresh: bool = False
    seconds: float = SECONDS
    storage_options: dict[str, Any] | None = field(default=None, repr=False)  # may have secrets

    def __post_init__(self) -> None:
        if not os.fspath(self.path):
            raise ValueError("the path of a checkpoint is empty; name a folder, or a URI")
        if not self.seconds >= 0:
            raise ValueError(f"seconds of a checkpoint must be at least 0, got {self.seconds!r}")

    @classmethod
    def of(cls, given: Any) -> Checkpoint:
        """The checkpoint that is given as such, or by its path."""
        return given if isinstance(given, Checkpoint) else cls(given)


@dataclass(frozen=True)
class Header:
    """Which fits a checkpoint is of.

    Parameters
    ----------
    dkmeans : the version.
    source : where the rows came from, for people.
    data : what tells the data from others.
    fits : the parameters of each fit that change its result.
    seeds : of each, one for each restart.
    """

    dkmeans: str
    source: str
    data: dict[str, str]
    fits: tuple[dict[str, str], ...]
    seeds: tuple[tuple[int, ...], ...]


def begin(
    models: Sequence[KMeans],
    given: Input,
    passes: Passes,
    seeds: Sequence[tuple[int, ...]],
    resumed: Callable[[str, int | None], None],
) -> tuple[Log, Sequence[tuple[int, ...]]]:
    """What remembers the answers to these fits of ``given``, and the seeds that they go by.

    Parameters
    ----------
    resumed : called where fits go on from answers that were kept, with the path or URI of the
        checkpoint and the passes taken before; None where nothing is left to do.

    Raises
    ------
    CheckpointError
        If the checkpoint is of other fits, is none, or cannot be read or written.
    """
    wanted = models[0].checkpoint
    if wanted is None:
        return Log(), seeds
    checkpoint = Checkpoint.of(wanted)
    files = open_folder(checkpoint.path, checkpoint.storage_options)
    entries = Entries(files, fresh=checkpoint.fresh)
    header = _header(models, given, passes, seeds)
    first = entries.following()
    if first is None:
        files.tidy()
        entries.add(Entry("fit", encode(header, []), ()))
    else:
        header = _checked(entries, header_of(entries, first), header)
        files.tidy()
    passes.every = checkpoint.seconds
    told = partial(resumed, entries.where)
    return Recording(entries, passes, given.shape.n_features, told), header.seeds


def header_of(entries: Entries, first: Entry) -> Header:
    """What the first entry says."""
    try:
        header: Header = decode(Header, first.plain, first.arrays)
    except ValueError as error:
        raise entries.refuse(str(error)) from error
    return header


def _checked(entries: Entries, there: Header, here: Header) -> Header:
    """The header that is there, which must be that of the same fits of the same data."""
    found = _differences({"dkmeans": there.dkmeans}, {"dkmeans": here.dkmeans})
    found += _differences(there.data, here.data)
    for one, other in zip_longest(there.fits, here.fits, fillvalue=dict[str, str]()):
        found += _differences(one, other)
    if found:
        raise CheckpointError(f"{entries.where} is of another fit: {found[0]}; {CURE}")
    most = np.iinfo(np.int32).max
    if [len(s) for s in there.seeds] != [len(s) for s in here.seeds] or not all(
        0 <= seed < most for seeds in there.seeds for seed in seeds
    ):
        raise entries.refuse("its seeds are not those of a fit")
    return there


def _differences(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What is not the same, in words."""
    found = []
    for name in {**there, **here}:
        one, other = there.get(name, "missing"), here.get(name, "missing")
        if one != other:
            short = max(len(one), len(other)) < _DIGEST_LETTERS
            found.append(f"{name}: {one} there, {other} here" if short else f"other {name}")
    return found


def _header(
    models: Sequence[KMeans], given: Input, passes: Passes, seeds: Sequence[tuple[int, ...]]
) -> Header:
    """The header of these fits."""
    shape = given.shape
    names = getattr(models[0], "feature_names_in_", None)
    values, weights = _digests(given, passes)
    data = {
        "n_samples": "unknown" if shape.n_rows is None else str(shape.n_rows),
        "n_features": str(shape.n_features),
        "dtype": str(given.X.dtype),
        "feature names": "none" if names is None else _digest([json.dumps(list(names)).encode()]),
        "values of X": values,
        "values of sample_weight": weights,
    }
    if shape.n_rows is None:
        data["blocks"] = str(shape.n_blocks)
    fits = tuple(_parameters(model, len(own)) for model, own in zip(models, seeds, strict=True))
    version = versions()["dkmeans"]
    return Header(version, _printable(without_secrets(given.where)), data, fits, tuple(seeds))


def _parameters(model: KMeans, n_runs: int) -> dict[str, str]:
    """The parameters that change the result, as texts."""
    params = {n: v for n, v in model.get_params(deep=False).items() if n not in _FREE}
    if not isinstance(model.random_state, Integral):
        params["random_state"] = None  # the seeds that were drawn are kept
    params["n_init"] = n_runs
    return {name: _text(value) for name, value in params.items()}


def _text(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if callable(value):
        return _printable(f"function {getattr(value, '__name__', type(value).__name__)}")
    array = np.asarray(value, np.float64)
    return _digest([repr(array.shape).encode(), array.tobytes()])


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _digest(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _digests(given: Input, passes: Passes) -> tuple[str, str]:
    """Digests of a few rows spread over the data, and of their weights."""
    X = given.X.rows if isinstance(given.X, Source) else given.X
    columns = [X] if given.weights is None else [X, given.weights]
    found = [_digest(p.tobytes() for p in pieces) for pieces in passes.peek(columns)]
    return found[0], found[1] if len(found) > 1 else "none"


def is_checkpoint(path: str, storage_options: dict[str, Any] | None = None) -> bool:
    """Whether a folder or URI has the first entry of a checkpoint."""
    try:
        return open_folder(path, storage_options).has(FIRST)
    except CheckpointError:  # what cannot be read is told by those who read data
        return False


def describe(path: str, storage_options: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint is of, and how far that has come; all entries are read and checked.

    Raises
    ------
    CheckpointError
        If it is torn or no checkpoint.
    """
    entries = Entries(open_folder(path, storage_options))
    first = entries.following()
    if first is None:
        raise CheckpointError(f"{entries.where} is not a checkpoint: it is empty")
    header, total, name = header_of(entries, first), Tally(), None
    while (entry := entries.following()) is not None:
        total, name = total.plus(spent_for(entries, entry)), entry.name
    return {
        "dkmeans": header.dkmeans,
        "source": header.source,
        "data": header.data,
        "parameters": list(header.fits),
        "answers": entries.count - 1,
        "last_answer": name,
        "passes": total.passes,
        "bytes_read": total.bytes_read,
        "seconds": total.seconds,
        "finished": entries.ended,
        "found": [asdict(ending) for ending in endings_of(entries)] if entries.ended else None,
    }
