"""The files of a checkpoint: numbered entries, each with its checksum and that of the one before.

An entry is a line of JSON, the bytes of its arrays one after another, and the SHA-256 of all that.
The first entry says which fit it is of; each of the others holds one answer that the fit was given.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.errors import CheckpointError
from dkmeans.record.codec import dtype_of
from dkmeans.record.parsing import strict_json

FORMAT, VERSION = "dkmeans-checkpoint", 1
FIRST = "000000.entry"
END = "end.entry"  # the name of the last entry of a fit that has ended
_NAME = re.compile(r"[0-9]{6}\.entry")
_DIGEST_BYTES = 32
_MOST_LINE = 2**28  # bytes of JSON
_MOST_SIZE = 2**48  # rows or columns of an array
_MOST_DIMENSIONS = 4
CURE = "give another path, or start over with fresh=True (--fresh)"


class Files(Protocol):
    """Where the entries are; see :mod:`dkmeans.data.durable`."""

    where: str

    def names(self) -> list[str]:
        """Names of the files."""

    def read(self, name: str) -> bytes:
        """The bytes of one."""

    def write(self, name: str, pieces: Sequence[bytes | memoryview]) -> None:
        """Write one, for good."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove some."""


@dataclass(frozen=True)
class Entry:
    """One entry: plain values, and arrays."""

    name: str
    plain: Any
    arrays: Sequence[AnyArray]


class Entries:
    """The entries of a checkpoint, which are read in order and then added to.

    Parameters
    ----------
    files : where they are.
    fresh : whether to remove those that are there.

    Raises
    ------
    CheckpointError
        If something is there that is no checkpoint, or an entry is missing.
    """

    def __init__(self, files: Files, *, fresh: bool = False) -> None:
        self._files = files
        self._after = ""  # checksum of the entry before
        self._read = 0
        names = sorted(files.names(), reverse=True)  # the end first, the first entry last
        self._check_foreign(names)
        if fresh:
            files.remove(names)
            names = []
        self._check_missing(names)
        self.count = sum(name != END for name in names)  # the end is not counted
        self.ended = END in names

    @property
    def where(self) -> str:
        """The path or URI."""
        return self._files.where

    def following(self) -> Entry | None:
        """The next entry, or None if there is no other; the end is not among them."""
        if self._read == self.count:
            return None
        return self._parsed(_name(self._read))

    def last(self) -> Entry:
        """The end, once all others have been read."""
        return self._parsed(END)

    def add(self, entry: Entry, *, last: bool = False) -> None:
        """Write an entry, once all that are there have been read."""
        file = END if last else _name(self._read)
        types = [[array.dtype.str, list(array.shape)] for array in entry.arrays]
        head = {
            "format": FORMAT,
            "version": VERSION,
            "number": self._read,
            "after": self._after,
            "name": entry.name,
            "arrays": types,
            "value": entry.plain,
        }
        line = json.dumps(head, allow_nan=False).encode() + b"\n"
        pieces: list[bytes | memoryview] = [line]
        pieces += [array.reshape(-1).view(np.uint8).data for array in entry.arrays]
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        self._files.write(file, [*pieces, digest.digest()])
        self._after, self._read = digest.hexdigest(), self._read + 1
        self.count, self.ended = self.count + (not last), last

    def refuse(self, reason: str, number: int | None = None) -> CheckpointError:
        """The error for an entry, the last one read if None."""
        name = _name(max(0, self._read - 1) if number is None else number)
        return CheckpointError(f"{self.where}: {name} is not as a fit wrote it: {reason}; {CURE}")

    def _check_foreign(self, names: Sequence[str]) -> None:
        foreign = sorted(name for name in names if name != END and not _NAME.fullmatch(name))
        if foreign:
            raise CheckpointError(
                f"{self.where} is not a checkpoint: it holds {foreign[0]!r}; give the path of one,"
                " or of a folder that is not there yet"
            )

    def _check_missing(self, names: Sequence[str]) -> None:
        entries = sorted(name for name in names if name != END)
        missing = [n for n, name in enumerate(entries) if name != _name(n)]
        if missing or (names and not entries):
            raise CheckpointError(
                f"{self.where} is damaged: {_name(missing[0] if missing else 0)} is missing; {CURE}"
            )

    def _parsed(self, file: str) -> Entry:
        """Read an entry, which must follow the one read before."""
        try:
            head, arrays, digest = parse(self._files.read(file))
            if head["number"] != self._read or head["after"] != self._after:
                raise ValueError("it does not follow the entry before")
        except ValueError as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"{self.where}: {file} is torn or no entry of a checkpoint: {error}; {CURE}"
            ) from error
        self._after, self._read = digest, self._read + 1
        return Entry(head["name"], head["value"], arrays)


def parse(raw: bytes) -> tuple[dict[str, Any], list[AnyArray], str]:
    """The head, the arrays and the checksum of an entry.

    Raises
    ------
    ValueError
        If these bytes are no entry. Nothing is allocated that they do not hold.
    """
    line = raw[: raw.find(b"\n", 0, _MOST_LINE) + 1]
    if not line.startswith(b'{"format": "%s", "version": ' % FORMAT.encode()):
        raise ValueError("it does not begin as one")
    body = memoryview(raw)[: max(0, len(raw) - _DIGEST_BYTES)]
    digest = hashlib.sha256(body)
    if digest.digest() != raw[len(body) :]:
        raise ValueError("its checksum is not that of its bytes")
    try:
        head = strict_json(line)
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error
    if head.get("version") != VERSION:
        raise ValueError(f"version {head.get('version')!r}; this dkmeans reads {VERSION}")
    if head.keys() != {"format", "version", "number", "after", "name", "arrays", "value"}:
        raise ValueError("it has other fields")
    if not isinstance(head["name"], str) or not head["name"].isprintable():
        raise ValueError("it has no name")
    return head, _arrays(head["arrays"], body[len(line) :]), digest.hexdigest()


def _arrays(types: Any, raw: memoryview) -> list[AnyArray]:
    """Arrays whose bytes follow each other and take all there are."""
    found, start = list[AnyArray](), 0
    if not isinstance(types, list):
        raise ValueError("it has no list of arrays")
    for one in types:
        if not isinstance(one, list) or len(one) != 2 or not isinstance(one[1], list):
            raise ValueError("an array without type and shape")
        dtype, shape = dtype_of(one[0]), one[1]
        sized = all(type(size) is int and 0 <= size < _MOST_SIZE for size in shape)
        if not sized or len(shape) > _MOST_DIMENSIONS:
            raise ValueError("an array whose shape is none")
        stop = start + math.prod(shape) * dtype.itemsize
        if stop > len(raw):
            raise ValueError("its arrays have more bytes than it has")
        found.append(np.ndarray(shape, dtype, raw, start).copy())
        start = stop
    if start != len(raw):
        raise ValueError("its arrays have fewer bytes than it has")
    return found


def _name(number: int) -> str:
    return f"{number:06d}.entry"
