"""Models on disk: one ``.npz`` file of plain arrays and JSON, never pickles."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.errors import FormatError, OutputError
from dkmeans.record.facts import Facts
from dkmeans.record.history import History
from dkmeans.record.parsing import PARSE_ERRORS, read_npz, strict_json
from dkmeans.record.sample import RowSample

FORMAT, VERSION = "dkmeans-model", 1
_SAMPLE = "sample_"  # before the names of the sample's arrays


@dataclass(frozen=True)
class SavedModel:
    """What a model file holds: plain values, arrays by name, the history with all it has."""

    values: dict[str, Any]
    arrays: dict[str, AnyArray]
    history: History


def write_model(path: str | os.PathLike[str], model: SavedModel) -> None:
    """Write beside ``path``, then rename, so that the file appears whole or not at all."""
    target = Path(path)
    if not target.parent.is_dir():
        raise OutputError(f"no such folder: {target.parent}")
    history = model.history
    head = {"format": FORMAT, "version": VERSION, **model.values}
    texts = {"head": json.dumps(head), "history": "\n".join(history.dump())}
    if history.facts is not None:
        texts["facts"] = json.dumps(history.facts.to_dict())
    encoded = {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
    if history.sample is not None:
        encoded |= {_SAMPLE + name: a for name, a in history.sample.arrays().items()}
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            np.savez(file, allow_pickle=False, **encoded, **model.arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_model(path: str | os.PathLike[str], where: str) -> SavedModel:
    """Read what :func:`write_model` wrote; ``where`` it comes from is for messages.

    Raises
    ------
    FormatError
        If the file is torn, not a model, or of a later version.
    """
    if os.path.exists(path) and not zipfile.is_zipfile(path):
        raise FormatError(f"{where} is not a dkmeans model: not an .npz file")
    try:
        arrays = read_npz(path)
        head = strict_json(arrays.pop("head").tobytes())
        lines = arrays.pop("history").tobytes().decode().splitlines()
        facts, sample = _facts(arrays), _sample(arrays)
        if head.pop("format") != FORMAT or head["version"] > VERSION:
            raise ValueError(f"version {head['version']}; this dkmeans reads up to {VERSION}")
        head.pop("version")
    except FileNotFoundError as error:
        raise FormatError(f"no such file: {where}") from error
    except PARSE_ERRORS as error:
        raise FormatError(f"{where} is not a dkmeans model: {error}") from error
    history = History.parse(lines, where)
    history.facts, history.sample = facts, sample
    return SavedModel(head, arrays, history)


def _facts(arrays: dict[str, AnyArray]) -> Facts | None:
    """Take the facts out of the arrays of a file, where it has them."""
    encoded = arrays.pop("facts", None)
    return None if encoded is None else Facts.from_dict(strict_json(encoded.tobytes()))


def _sample(arrays: dict[str, AnyArray]) -> RowSample | None:
    """Take the sample out of the arrays of a file, where it has one."""
    names = [name for name in arrays if name.startswith(_SAMPLE)]
    found = {name.removeprefix(_SAMPLE): arrays.pop(name) for name in names}
    return RowSample.parse(found) if found else None
