"""Other libraries: which of them can run here, and why the others cannot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import cache


def _dask_ml() -> None:
    import dask_ml.cluster  # noqa: F401


def _intelex() -> None:
    import sklearnex.cluster  # noqa: F401


def _faiss() -> None:
    import faiss  # noqa: F401


def _imagequant() -> None:
    import libimagequant  # noqa: F401


def _spark() -> None:
    import pyspark  # noqa: F401

    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        raise RuntimeError("there is no Java runtime")


_PROBES: dict[str, Callable[[], None]] = {
    "dask-ml": _dask_ml,
    "scikit-learn-intelex": _intelex,
    "faiss-cpu": _faiss,
    "libimagequant": _imagequant,
    "pyspark": _spark,
}


@cache
def why_missing(peer: str) -> str | None:
    """Why a peer cannot run here, or None if it can."""
    try:
        _PROBES[peer]()
    except Exception as error:  # whatever a broken installation raises is the reason
        return f"{peer} is missing: {type(error).__name__}: {error}"
    return None


def have(peer: str) -> bool:
    """Whether a peer can run here."""
    return why_missing(peer) is None


def missing(peers: Sequence[str]) -> list[str]:
    """A note for each peer that cannot run here."""
    return [reason for peer in peers if (reason := why_missing(peer)) is not None]
