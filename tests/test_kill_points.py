"""A fit that is killed anywhere and gone on with ends with the bits of one that never was."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.faults import TABLE

N = 20_000  # of which init="auto" searches a sample
PROGRAM = Path(__file__).with_name("kill_points.py")


@pytest.mark.faults
def test_fits_that_are_killed_end_with_the_same_bits(tmp_path, long):
    random = np.random.default_rng(0)
    middles = 2 * random.normal(size=(6, 3))
    X = random.normal(size=(N, 3)) + middles[random.integers(6, size=N)]
    store, folder = tmp_path / "X.zarr", tmp_path / "run.ckpt"
    zarr.create_array(store, data=X.astype(np.float32), chunks=(3000, 3))
    each = 50 if long else 6
    command = [sys.executable, PROGRAM, store, folder, "--seed", "0", "--each", str(each)]
    wrong, done = [], 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            found = json.loads(line)
            TABLE.add(found["fault"], found["outcome"])
            done += 1
            if found["outcome"] != "identical":
                wrong.append(found)
    assert process.returncode == 0
    assert done == 5 * each
    assert wrong == []
