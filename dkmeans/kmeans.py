"""The estimator: scikit-learn's face over the passes."""

from __future__ import annotations

import os
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from dkmeans import conversions
from dkmeans._typing import Floats
from dkmeans.callbacks import CallbackSupportMixin, Listener, as_task, listeners
from dkmeans.checkpointing import Checkpoint
from dkmeans.data.blocks import Blocks
from dkmeans.data.source import Source, center_dtype, check_table
from dkmeans.data.sources import is_in_memory, open_source
from dkmeans.data.sparse_source import is_sparse, open_csr
from dkmeans.engine import exact
from dkmeans.engine.memory import Plan, Work
from dkmeans.engine.passes import Passes
from dkmeans.engine.predict import CostStep, FillStep, Model
from dkmeans.engine.trees import map_lazily
from dkmeans.errors import DataError
from dkmeans.fitting import fit_models, plan_of, work_of
from dkmeans.inputs import Input, check_input
from dkmeans.record.history import History


class KMeans(
    CallbackSupportMixin,  # type: ignore[misc]
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    ClusterMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """K-means clustering of data of any size, at most one read of the data an iteration.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters and of centers.
    init : {"auto", "k-means||", "k-means++", "random"}, array or callable, default="auto"
        How the first centers are chosen. "auto" searches a sample in memory by k-means++, swaps
        of centers and Lloyd's iterations, and verifies what it finds in the pass that is the
        first iteration as well. "k-means||" takes ``init_rounds + 2`` passes, "k-means++" one pass
        a center, "random" one pass. An array has the shape (n_clusters, n_features). A callable is
        called with ``(X, n_clusters, random_state=...)`` and returns centers.
    n_init : "auto" or int, default="auto"
        Number of restarts, of which the one with the lowest inertia is kept; all advance on the
        same passes. "auto" is 10 for "random" and for a callable, else 1.
    max_iter : int, default=300
        Most iterations of one restart.
    tol : float, default=1e-4
        Stop when the squared shift of the centers is at most ``tol`` times the mean variance of
        the features. With 0, only strict convergence stops.
    algorithm : {"auto", "lloyd", "elkan"}, default="auto"
        "auto" keeps the rows that may change clusters in memory between passes, and takes several
        iterations a pass; "lloyd" takes one. Centers and labels of each iteration are the same to
        the bit. "elkan" is a name for "auto".
    random_state : int, RandomState or None, default=None
        Determines the draws, which depend on it and on global row numbers alone.
    oversampling_factor : float, default=2.0
        Rows that a round of k-means|| draws on average, in multiples of ``n_clusters``.
    init_rounds : int, default=5
        Rounds of k-means||.
    memory_limit : int, str or None, default=None
        Bytes that the fit may use above what the process has, such as ``"1 GiB"``. None: what
        Dask's workers or the machine have, less a margin.
    residency : {"auto", "memory", "stream"}, default="auto"
        Whether the data are kept in memory after the first read; "auto" keeps what fits.
    nan_policy : {"raise", "omit"}, default="raise"
        What NaN and infinity do: end the fit with the row and column, or leave the row out, with
        the label -1.
    dedupe : {"auto", "never"}, default="auto"
        "auto" counts the distinct rows in the first pass, where there are 65,536 rows or more
        without weights. If a row is there 4 times on average, and few are distinct, these are
        clustered in memory with their counts as weights, which is k-means on all rows; draws are
        then among distinct rows. Few are up to 262,144, or of rows longer than 8 bytes as many as
        take 256 KiB with their counts.
    history_rows : int, default=2000
        Rows, at most, of the sample that ``history_`` keeps for pictures, which has no more than
        2**21 values. 0 keeps none.
    callbacks : function, list of functions or None, default=None
        Called with each :class:`~dkmeans.Iteration` once it is recorded. What one raises ends the
        fit. With scikit-learn 1.9 or later, ``set_callbacks`` takes scikit-learn's callbacks too,
        such as ``ProgressBar()``.
    checkpoint : str, path, Checkpoint or None, default=None
        Where the fit keeps its state, a folder or a URI of object storage. A fit that finds its own
        unfinished state there goes on from it; see :class:`~dkmeans.Checkpoint`.
    verbose : int, default=0
        Above 0, iterations are logged to the logger "dkmeans" at level INFO, else at DEBUG.

    Attributes
    ----------
    cluster_centers_ : ndarray (n_clusters, n_features)
        float32 for float32 data, else float64.
    labels_ : ndarray or dask array (n_samples,), int32
        Index of the nearest center of each row; lazy where X is not in memory.
    inertia_ : float
        Sum of weight times squared distance to the nearest center.
    n_iter_ : int
        Iterations of the best restart.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has names that are all strings.
    history_ : History
        Every step of the fit, the seeding included, with a sample of rows and what was clustered.
    stop_reason_ : {"converged", "tol", "max_iter"}

    References
    ----------
    Bahmani, Moseley, Vattani, Kumar, Vassilvitskii 2012, "Scalable k-means++", Algorithm 2.
    Lattanzi and Sohler 2019, "A Better k-means++ Algorithm via Local Search": the swaps.
    Hamerly 2010, "Making k-means even faster": the bounds between passes.
    Lloyd 1982, "Least squares quantization in PCM".

    Examples
    --------
    >>> import numpy as np
    >>> from dkmeans import KMeans
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> model.inertia_
    16.0
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [
            StrOptions({"auto", "k-means||", "k-means++", "random"}),
            callable,
            "array-like",
        ],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "algorithm": [StrOptions({"auto", "lloyd", "elkan"})],
        "random_state": ["random_state"],
        "oversampling_factor": [Interval(Real, 0, None, closed="neither")],
        "init_rounds": [Interval(Integral, 1, None, closed="left")],
        "memory_limit": [Interval(Real, 0, None, closed="neither"), str, None],
        "residency": [StrOptions({"auto", "memory", "stream"})],
        "nan_policy": [StrOptions({"raise", "omit"})],
        "dedupe": [StrOptions({"auto", "never"})],
        "history_rows": [Interval(Integral, 0, None, closed="left")],
        "callbacks": [callable, list, None],
        "checkpoint": [str, os.PathLike, Checkpoint, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "auto",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        algorithm: str = "auto",
        random_state: Any = None,
        oversampling_factor: float = 2.0,
        init_rounds: int = 5,
        memory_limit: int | str | None = None,
        residency: str = "auto",
        nan_policy: str = "raise",
        dedupe: str = "auto",
        history_rows: int = 2000,
        callbacks: Listener | list[Listener] | None = None,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.algorithm = algorithm
        self.random_state = random_state
        self.oversampling_factor = oversampling_factor
        self.init_rounds = init_rounds
        self.memory_limit = memory_limit
        self.residency = residency
        self.nan_policy = nan_policy
        self.dedupe = dedupe
        self.history_rows = history_rows
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.verbose = verbose

    def plan(self, X: Any, sample_weight: Any = None, *, predict: bool = False) -> Plan:
        """How a fit of X would run, without reading more than metadata.

        Parameters
        ----------
        predict : whether to plan the one pass of ``predict`` instead.

        Raises
        ------
        MemoryLimitError
            If it would not fit in ``memory_limit``.
        """
        self._validate_params()
        if is_sparse(X) and is_in_memory(X):
            given = Input(open_csr(X.tocsr()), sample_weight)
        elif is_in_memory(X):
            X = np.asarray(X)
            check_table(X.shape, X.dtype, "X")
            given = Input(X, sample_weight)
        else:
            given = Input(open_source(X), sample_weight)
        rows = given.shape.n_rows
        if not predict and rows is not None and rows < self.n_clusters:
            raise DataError(f"n_samples={rows} should be >= n_clusters={self.n_clusters}.")
        if predict:
            return self._plan_once(given)
        return plan_of(given, work_of(self, given), self.residency, self.memory_limit)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Find the centers.

        Parameters
        ----------
        X : array-like, DataFrame, dask array or DataFrame, zarr.Array, path or URI, or Source
            Rows (n_samples, n_features). A path names a Zarr array or a Parquet file or folder;
            :func:`~dkmeans.open_source` opens one with options.
        y : ignored
        sample_weight : array-like or dask array (n_samples,), optional

        Raises
        ------
        DataError
            NaN or infinity, named by row and column; too few rows; not a table of numbers.
        MemoryLimitError
            If the plan does not fit, before any work.
        CheckpointError
            If ``checkpoint`` is of another fit, torn, foreign, or cannot be written.
        """
        with as_task(self, X, sample_weight):
            fit_models([self], X, sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit, and return ``labels_``."""
        return self.fit(X, sample_weight=sample_weight).labels_

    def predict(self, X: Any) -> Any:
        """Index of the nearest center of each row, int32; lazy where X is not in memory."""
        return self._apply(X, "labels", np.int32, 0)

    def transform(self, X: Any) -> Any:
        """Distance of each row to each center, (n_samples, n_clusters); lazy where X is."""
        return self._apply(X, "distances", None, self.n_clusters)

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit, and return ``transform(X)``."""
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the inertia of X under the centers; one pass."""
        check_is_fitted(self)
        given = check_input(self, X, sample_weight, reset=False)
        plan = self._plan_once(given)
        blocks = given.blocks(plan.block_rows)
        cost = Passes(plan.threads, local=given.local).run(blocks, CostStep(self._model()), "score")
        return -exact.to_float(cost.total)

    def save(
        self, path: str | os.PathLike[str], storage_options: dict[str, Any] | None = None
    ) -> None:
        """Write the fitted model to one file, without pickle; see :meth:`load`.

        ``labels_`` are not saved, nor is a callable ``init`` or a ``RandomState``.

        Parameters
        ----------
        path : of the file, or its URI.
        storage_options : options of the storage behind a URI.
        """
        conversions.save(self, path, storage_options)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], storage_options: dict[str, Any] | None = None
    ) -> Self:
        """Read a model that :meth:`save` wrote, from a path or URI.

        Raises
        ------
        FormatError
            If the file is torn or not such a model.
        """
        return conversions.load(cls, path, storage_options)

    def report(self, path: str | os.PathLike[str], X: Any = None) -> None:
        """Write one HTML page on the fitted model: its clusters, pictures, plan and warnings.

        Parameters
        ----------
        path : of the file, as .html, which is complete in itself, and replaces one that is there.
        X : data for a profile of the clusters, read in one pass. Without them no data are read,
            and the profile is that of the rows that the history keeps.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from dkmeans.plot.report import model_report

        check_is_fitted(self)
        model_report(self, path, X)

    def to_sklearn(self) -> Any:
        """A fitted ``sklearn.cluster.KMeans`` with these centers."""
        return conversions.to_sklearn(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.nan_policy == "omit"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _repr_html_inner(self) -> str:
        return f"{super()._repr_html_inner()}{conversions.to_html(self)}"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**options)
        if "text/html" in bundle:
            bundle["text/html"] = self._repr_html_inner()
        return bundle

    def _set(
        self, centers: Floats, inertia: float, n_iter: int, stop_reason: str, history: History
    ) -> None:
        self.cluster_centers_ = centers
        self.inertia_ = inertia
        self.n_iter_ = n_iter
        self.stop_reason_ = stop_reason
        self.history_ = history
        self._n_features_out = len(centers)

    def _listeners(self) -> list[Listener]:
        """Who is told of each step."""
        return listeners(self)

    def _plan_once(self, given: Input, part_bytes: int = 0, own_bytes: int = 0) -> Plan:
        """Passes that assign rows and keep none; the sizes are those of :class:`Work`."""
        k, d = self.n_clusters, given.shape.n_features
        work = Work(k, d, k, seeding_passes=0, max_passes=1, what="the pass")
        work = replace(work, part_bytes=part_bytes, own_bytes=own_bytes)
        return plan_of(given, work, "stream", self.memory_limit)

    def _model(self) -> Model:
        names = getattr(self, "feature_names_in_", None)
        return Model(
            self.cluster_centers_.astype(np.float64),
            self.nan_policy,
            None if names is None else tuple(names),
        )

    def _apply(self, X: Any, what: str, dtype: Any, columns: int) -> Any:
        """What :class:`Model` says of each row; without a dtype, in that of distances."""
        check_is_fitted(self)
        given = check_input(self, X, reset=False)
        dtype = dtype or center_dtype(given.X.dtype)
        if isinstance(given.X, Source):
            blocks = given.blocks(self._plan_once(given).block_rows)
            return self._map(blocks, what, dtype, columns, local=given.local)
        shape = (len(given.X), columns) if columns else (len(given.X),)
        out = np.empty(shape, dtype)
        Passes().run(given.blocks(None), FillStep(self._model(), what, out), what)
        return out

    def _map(self, blocks: Blocks, what: str, dtype: Any, columns: int = 0, *, local: bool) -> Any:
        """What :class:`Model` says of each row, lazy unless the rows are local."""
        lazy = map_lazily(blocks, self._model(), what, dtype, columns)
        return lazy.compute(scheduler="threads") if local else lazy


def k_means(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    return_n_iter: bool = False,
    **options: Any,
) -> tuple[Floats, Any, float] | tuple[Floats, Any, float, int]:
    """Cluster X; the functional form of :class:`KMeans`, whose parameters are the options.

    Returns
    -------
    centroid : ndarray (n_clusters, n_features)
    label : array (n_samples,), lazy where X is not in memory
    inertia : float
    best_n_iter : int, if ``return_n_iter``
    """
    model = KMeans(n_clusters, **options).fit(X, sample_weight=sample_weight)
    found = model.cluster_centers_, model.labels_, model.inertia_
    return (*found, model.n_iter_) if return_n_iter else found
