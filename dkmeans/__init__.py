"""K-means for data larger than memory, on Dask.

Importing the package loads nothing else; a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dkmeans import metrics, plot, preprocessing
    from dkmeans.checkpointing import Checkpoint
    from dkmeans.comparing import Comparison, InitComparison, compare, compare_inits
    from dkmeans.data.sinks import write_labels
    from dkmeans.data.sources import open_source
    from dkmeans.engine.memory import Plan
    from dkmeans.errors import (
        CheckpointError,
        ClusterError,
        DataError,
        DkmeansError,
        FormatError,
        MemoryLimitError,
        MissingExtraError,
        OutputError,
        SourceError,
    )
    from dkmeans.kmeans import KMeans, k_means
    from dkmeans.profiling import Profile, profile
    from dkmeans.record.facts import Facts
    from dkmeans.record.frames import Frame
    from dkmeans.record.history import History, Iteration
    from dkmeans.record.sample import RowSample
    from dkmeans.sweeping import Sweep, sweep

__version__ = "0.1.0"

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ClusterError",
    "Comparison",
    "DataError",
    "DkmeansError",
    "Facts",
    "FormatError",
    "Frame",
    "History",
    "InitComparison",
    "Iteration",
    "KMeans",
    "MemoryLimitError",
    "MissingExtraError",
    "OutputError",
    "Plan",
    "Profile",
    "RowSample",
    "SourceError",
    "Sweep",
    "compare",
    "compare_inits",
    "k_means",
    "metrics",
    "open_source",
    "plot",
    "preprocessing",
    "profile",
    "sweep",
    "write_labels",
]

_MODULES = {"metrics", "plot", "preprocessing"}
_ROOMS = {
    "Checkpoint": "checkpointing",
    "Comparison": "comparing",
    "Facts": "record.facts",
    "Frame": "record.frames",
    "History": "record.history",
    "InitComparison": "comparing",
    "Iteration": "record.history",
    "KMeans": "kmeans",
    "Plan": "engine.memory",
    "Profile": "profiling",
    "RowSample": "record.sample",
    "Sweep": "sweeping",
    "compare": "comparing",
    "compare_inits": "comparing",
    "k_means": "kmeans",
    "open_source": "data.sources",
    "profile": "profiling",
    "sweep": "sweeping",
    "write_labels": "data.sinks",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the room that has it, or a room that is public as a whole."""
    if name not in __all__:
        raise AttributeError(f"module 'dkmeans' has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"dkmeans.{name}")
    return getattr(import_module(f"dkmeans.{_ROOMS.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return [*__all__, "__version__"]
