"""Programs share passes, whenever each of them ends."""

from dataclasses import dataclass

import dask.array as da
import numpy as np
import pytest
from strategies import in_memory

from dkmeans.data.blocks import from_dask
from dkmeans.engine.passes import Passes
from dkmeans.engine.programs import Ask, ask_together, run_together


@dataclass(frozen=True)
class Sum:
    total: float

    @staticmethod
    def combine(parts):
        return Sum(sum(part.total for part in parts))


@dataclass(frozen=True)
class Times:
    """The sum of all values, times a number; with a log, it is finished and says so there."""

    factor: float
    log: list | None = None

    def __call__(self, X, weights, offset, block):
        return Sum(float(X.sum()) * self.factor)


class Finishing(Times):
    def finish(self, whole, threads):
        self.log.append((self.factor, threads))
        return -whole.total


class Named(Passes):
    """Passes that note their names."""

    def __init__(self, threads=None):
        super().__init__(threads)
        self.names = []

    def run(self, blocks, step, name):
        self.names.append(name)
        return super().run(blocks, step, name)


X = np.arange(24.0).reshape(12, 2)
TOTAL = X.sum()


@pytest.fixture(params=["memory", "dask"])
def blocks(request):
    if request.param == "memory":
        return in_memory(X, None, (5, 0, 4, 3))
    return from_dask(da.from_array(X, chunks=(4, 2)), None)


def asking(name, factors, result):
    found = []
    for at, factor in enumerate(factors):
        part = yield Ask(f"{name}{at}", Times(factor))
        found.append(part.total)
    return result, found


def test_each_program_gets_the_parts_of_its_own_asks_in_order(blocks):
    passes = Named(2)
    lengths = [3, 0, 1, 5, 2]
    programs = [
        asking(f"p{at}.", [10 * at + i for i in range(many)], at) for at, many in enumerate(lengths)
    ]
    results = run_together(passes, blocks, programs)
    for at, many in enumerate(lengths):
        assert results[at] == (at, [TOTAL * (10 * at + i) for i in range(many)])
    assert passes.names == [
        "p0.0 and 3 more",
        "p0.1 and 2 more",
        "p0.2 and 1 more",
        "p3.3",
        "p3.4",
    ]
    assert passes.total.passes == max(lengths)
    assert passes.total.bytes_read == max(lengths) * X.nbytes


def test_one_program_and_none(blocks):
    passes = Named(1)
    assert run_together(passes, blocks, [asking("a", [2.0], "end")]) == [("end", [2 * TOTAL])]
    assert run_together(passes, blocks, []) == []
    assert run_together(passes, blocks, [asking("a", [], 1), asking("b", [], 2)]) == [
        (1, []),
        (2, []),
    ]
    assert passes.names == ["a0"]


@pytest.mark.parametrize("many", [1, 2, 3])
def test_finish_is_called_once_a_pass_with_the_whole(blocks, many):
    logs = [[] for _ in range(many)]

    def program(at):
        first = yield Ask("x", Finishing(at + 1.0, logs[at]))
        plain = yield Ask("y", Times(5.0))
        return first, plain.total

    results = run_together(Passes(3), blocks, [program(at) for at in range(many)])
    assert results == [(-(at + 1.0) * TOTAL, 5 * TOTAL) for at in range(many)]
    assert logs == [[(at + 1.0, 3)] for at in range(many)]


@pytest.mark.parametrize("many", [1, 2, 4])
def test_several_steps_of_one_program_share_a_pass_with_those_of_others(blocks, many):
    logs = []

    def several():
        steps = [Finishing(at + 1.0, logs) for at in range(many)]
        return (yield from ask_together("several", steps))

    passes = Named(1)
    results = run_together(passes, blocks, [several(), asking("other", [1.0, 2.0], 0)])
    assert results[0] == [-(at + 1.0) * TOTAL for at in range(many)]
    assert results[1] == (0, [TOTAL, 2 * TOTAL])
    assert sorted(factor for factor, _ in logs) == [at + 1.0 for at in range(many)]
    assert passes.names == ["several and 1 more", "other1"]


def test_an_error_of_one_program_ends_all(blocks):
    def failing():
        yield Ask("x", Times(1.0))
        raise ValueError("of its own")

    passes = Named(1)
    with pytest.raises(ValueError, match="of its own"):
        run_together(passes, blocks, [asking("a", [1.0, 2.0], 0), failing()])
    assert passes.names == ["a0 and 1 more"]
