"""What was clustered and how: plain values that are kept with a history."""

from __future__ import annotations

import contextlib
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from typing import Any

_WITH_CONTAINER = ("abfs", "abfss", "wasb", "wasbs")  # whose URIs name it where others have a user
_LIBRARIES = {
    "dkmeans": "dkmeans",
    "numpy": "numpy",
    "dask": "dask",
    "scikit-learn": "sklearn",
    "numba": "numba",
}


@dataclass(frozen=True)
class Facts:
    """What was clustered and how, in values that JSON has.

    Parameters
    ----------
    source : where the rows came from: a path, a URI without user and query, or a description.
    n_rows : all rows that were read, those left out for NaN included.
    dtype : of the rows.
    feature_names : where the data have names.
    weighted : whether there was a ``sample_weight``.
    parameters : of the estimator; those that JSON does not have are described by a text.
    plan_lines : names and values of the plan, for people.
    plan : the numbers of the plan.
    peak_bytes : most memory that this process had resident until the fit ended; None where the
        system does not tell.
    worker_peak_bytes : the same of that worker of a cluster that had the most; None without one.
    versions : of dkmeans, Python and the libraries.
    resumed : from which checkpoint the fit went on, and where it was; None if it began anew.
    """

    source: str
    n_rows: int
    n_features: int
    dtype: str
    feature_names: tuple[str, ...] | None
    weighted: bool
    parameters: dict[str, Any]
    plan_lines: tuple[tuple[str, str], ...]
    plan: dict[str, Any]
    peak_bytes: int | None
    versions: dict[str, str]
    worker_peak_bytes: int | None = None
    resumed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Facts:
        """The inverse of :meth:`to_dict`, once this has been to JSON and back.

        Raises
        ------
        ValueError, KeyError, TypeError
            If a value is missing, or not of its type.
        """
        older: dict[str, Any] = {"worker_peak_bytes": None, "resumed": None}
        plain = {**older, **plain}
        values = {field.name: plain[field.name] for field in fields(cls)}
        for name, kind in _TYPES.items():
            if not isinstance(values[name], kind):
                raise TypeError(f"{name} of the facts is {values[name]!r}")
        if values["feature_names"] is not None:
            values["feature_names"] = _texts(values["feature_names"])
        values["plan_lines"] = tuple(_texts(line) for line in values["plan_lines"])
        if any(len(line) != 2 for line in values["plan_lines"]):
            raise ValueError("a line of the plan is not a name and a value")
        _texts(values["versions"].values())
        return cls(**values)


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    texts = tuple(values)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"texts of the facts are {texts!r}")
    return texts


_TYPES: dict[str, Any] = {
    "source": str,
    "n_rows": int,
    "n_features": int,
    "dtype": str,
    "feature_names": list | None,
    "weighted": bool,
    "parameters": dict,
    "plan_lines": list,
    "plan": dict,
    "peak_bytes": int | None,
    "worker_peak_bytes": int | None,
    "versions": dict,
    "resumed": str | None,
}


def without_secrets(where: str) -> str:
    """A URI, or a chain of them, without user, password and query, which often let others in."""
    if "://" not in where:
        return where
    return "::".join(map(_without_user, re.split(r"::(?=[\w+.-]+://)", where)))


def _without_user(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user, _, host = authority.rpartition("@")
    if not user and not re.fullmatch(r"[^:]*(:\d*)?", host):
        user = rest.rpartition("@")[0]  # what is no port is a password, with a slash in it
    if user:
        rest = rest[len(user) + 1 :]
        if scheme in _WITH_CONTAINER:
            rest = f"{user.partition(':')[0]}@{rest}"
    return f"{scheme}{separator}{rest.partition('?')[0]}"


def peak_bytes() -> int | None:
    """Most memory that this process has had resident; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:  # on Linux; what getrusage tells begins with the parent's
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    """Of Python and of the libraries that a fit uses."""
    found = {name: str(import_module(module).__version__) for name, module in _LIBRARIES.items()}
    return {"python": platform.python_version(), **found}
