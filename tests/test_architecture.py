"""Imports go one way, and importing costs and changes nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dkmeans

ROOT = Path(dkmeans.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
LEVELS = {"errors": 0, "_typing": 0, "data": 1, "record": 1, "engine": 2, "cli": 5, "__main__": 6}
SIDEWAYS = {("data", "record"), ("record", "data")}
LATE = {  # methods of convenience, which load pictures when they are called
    ("quantized", "plot"): {"dkmeans.plot"},
    ("quantized", "report"): {"dkmeans.plot.image_report"},
    ("kmeans", "report"): {"dkmeans.plot.report"},
    ("sweeping", "plot"): {"dkmeans.plot"},
    ("sweeping", "report"): {"dkmeans.plot.report"},
}
PUBLIC, PLOT = 3, 4  # estimators and topics; plots of them


def room(module):
    """The first part of the module's name below the package."""
    return module.split(".")[1] if "." in module else ""


def level(name):
    return LEVELS.get(name, PLOT if name == "plot" else PUBLIC)


def imported(path):
    """Modules of the package that a file imports, wherever in it but in the methods of LATE."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and (path.stem, function.name) in LATE
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if node in late:
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [p if is_module(p) else node.module for p in parts]
        for name in names:
            if name.split(".")[0] == "dkmeans":
                yield name, node.lineno


def is_module(name):
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts == ("__init__",):
        return  # the package's face imports what it offers
    own = parts[0]
    for name, line in imported(path):
        other = room(name)
        where = f"{path.relative_to(ROOT)}:{line} imports {name}"
        if other == "":
            assert own in ("cli", "__main__", "plot"), where
            continue
        assert other == own or level(other) <= level(own), where
        assert (own, other) not in SIDEWAYS, where


@pytest.mark.parametrize(("module", "method"), LATE)
def test_only_methods_of_convenience_load_pictures(module, method):
    """Each does nothing but import its one function, and call it."""
    tree = ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))
    (found,) = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == method)
    modules = {node.module for node in ast.walk(found) if isinstance(node, ast.ImportFrom)}
    assert modules == LATE[module, method]


def test_the_rooms_are_those_of_the_design():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert {"data", "engine", "record"} <= folders
    assert folders <= {"data", "engine", "record", "plot", "cli"}


def graph_calls(path):
    """Names of dask's that build graphs, used as attributes in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in ("map_blocks", "reduction", "compute"):
            yield node.attr, node.lineno


@pytest.mark.parametrize("path", sorted((ROOT / "engine").glob("*.py")), ids=lambda p: p.name)
def test_only_passes_and_their_trees_build_and_compute_graphs(path):
    if path.name not in ("passes.py", "trees.py"):
        assert list(graph_calls(path)) == []


@pytest.mark.parametrize(
    "name",
    [
        *(p.name for p in sorted((ROOT / "engine").glob("*kernels.py"))),
        "sampling.py",
        "grid.py",
        "vectors.py",
    ],
)
def test_kernels_know_nothing_of_dask_or_files(name):
    tree = ast.parse((ROOT / "engine" / name).read_text(encoding="utf-8"))
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(node.module.split(".")[0])
    assert roots <= {
        "__future__",
        "math",
        "types",
        "typing",
        "numpy",
        "numba",
        "llvmlite",
        "dkmeans",
    }


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_loads_no_compiler_plots_cluster_or_storage():
    heavy = (
        "numba",
        "llvmlite",
        "matplotlib",
        "distributed",
        "zarr",
        "pyarrow.dataset",
        "PIL",
        "jinja2",
        "xarray",
        "rasterio",
    )
    code = f"import sys, dkmeans; print([m for m in {heavy!r} if m in sys.modules])"
    found = ast.literal_eval(run_python(code))
    assert not set(found) & (set(heavy) - {"distributed", "zarr", "pyarrow.dataset"})


def test_importing_sets_no_seed_and_no_configuration():
    code = """
import logging, warnings, numpy as np, dask
np.random.seed(1)
import dask.array, dask.dataframe, pandas, sklearn.base, sklearn.utils.validation
state, config = np.random.get_state()[1].tolist(), repr(dask.config.config)
filters, errors = list(warnings.filters), np.geterr()
import dkmeans
assert np.random.get_state()[1].tolist() == state
assert repr(dask.config.config) == config
assert list(warnings.filters) == filters
assert np.geterr() == errors
assert logging.getLogger("dkmeans").handlers == []
assert logging.getLogger().handlers == []
print("same")
"""
    assert run_python(code) == "same"


def test_fitting_leaves_numpys_global_random_state_alone():
    import numpy as np

    X = np.random.default_rng(0).normal(size=(50, 2))
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    dkmeans.KMeans(2, random_state=0).fit(X)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_the_typed_marker_and_version_are_there():
    assert (ROOT / "py.typed").is_file()
    assert dkmeans.__version__.count(".") == 2
    assert all(hasattr(dkmeans, name) for name in dkmeans.__all__)


def test_each_error_is_also_a_builtin():
    builtins = (ValueError, TypeError, ImportError, RuntimeError)
    found = [
        e
        for e in vars(dkmeans.errors).values()
        if isinstance(e, type) and issubclass(e, dkmeans.DkmeansError)
    ]
    assert len(found) > 5
    for error in found:
        assert error is dkmeans.DkmeansError or issubclass(error, builtins)
        assert error.__doc__
