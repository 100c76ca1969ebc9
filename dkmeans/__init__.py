"""K-means for data larger than memory, on Dask."""

from dkmeans.engine.memory import Plan
from dkmeans.errors import (
    DataError,
    DkmeansError,
    FormatError,
    MemoryLimitError,
    MissingExtraError,
    OutputError,
    SourceError,
)
from dkmeans.kmeans import KMeans, k_means
from dkmeans.record.history import History, Iteration

__version__ = "0.1.0"

__all__ = [
    "DataError",
    "DkmeansError",
    "FormatError",
    "History",
    "Iteration",
    "KMeans",
    "MemoryLimitError",
    "MissingExtraError",
    "OutputError",
    "Plan",
    "SourceError",
    "k_means",
]
