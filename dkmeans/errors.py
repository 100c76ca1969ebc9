"""Exceptions of dkmeans; each is also the builtin that a caller would expect."""

from __future__ import annotations


class DkmeansError(Exception):
    """Base of every error that dkmeans raises on purpose."""


class DataError(DkmeansError, ValueError):
    """The values or the shape of the data are not what the call needs."""


class SourceError(DkmeansError, ValueError):
    """A path or URI cannot be opened, or does not hold a table of numbers."""


class MemoryLimitError(DkmeansError, ValueError):
    """The work does not fit in the memory that it is allowed."""


class OutputError(DkmeansError, ValueError):
    """An output exists already or cannot be written where it is asked for."""


class FormatError(DkmeansError, ValueError):
    """A model or history file is torn, foreign, or of a later version."""


class CheckpointError(DkmeansError, ValueError):
    """A checkpoint is of another fit, torn, foreign, in use, or cannot be written."""


class ClusterError(DkmeansError, RuntimeError):
    """A cluster has been lost, has no workers that can work, or has others than were expected."""


class MissingExtraError(DkmeansError, ImportError):
    """An optional package is not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(purpose, extra)

    def __str__(self) -> str:
        purpose, extra = self.args
        return f'{purpose} needs an optional package: pip install "dkmeans[{extra}]"'
