"""Ctrl-C at any time ends the command line with one line and the status 130."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import zarr

from dkmeans import KMeans
from tests.clusters import D, N, environment, made
from tests.faults import TABLE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
LINE = "Interrupted; no output is half-written\n"
PROGRAM = """
import os, signal, sys
import dkmeans
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have had ignored
os.write(int(sys.argv.pop(1)), b"x")  # from here on it is ours
from dkmeans.__main__ import main
sys.exit(main())
"""
FIT = ["fit", "X.zarr", "-k6", "--seed=0", "--overwrite", "--quiet", "--checkpoint=run.ckpt"]
FIT = [*FIT, "--model=model.npz", "--labels=labels.zarr"]


class Run:
    """The command line as a process, which has just loaded the package."""

    def __init__(self, folder, *command, program=PROGRAM, **more):
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(writing), *map(str, command)],
            cwd=folder,
            env=environment(**more),
            pass_fds=[writing],
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        assert os.read(reading, 1) == b"x"
        os.close(reading)

    def interrupted(self, after):
        """Press Ctrl-C after so many seconds, as a terminal does it; the status, stdout, stderr."""
        try:
            self.process.wait(after)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGINT)
        out, err = self.process.communicate(timeout=90)
        return self.process.returncode, out, err


@pytest.fixture
def folder(tmp_path):
    zarr.create_array(tmp_path / "X.zarr", data=made(0, N), chunks=(1000, D))
    return tmp_path


def outputs(folder):
    """What there is beside the data, and nothing half-written in the checkpoint."""
    kept = folder / "run.ckpt"
    assert not kept.exists() or all(name.suffix == ".entry" for name in kept.iterdir())
    return sorted(name for name in os.listdir(folder) if name not in ("X.zarr", "run.ckpt"))


@pytest.mark.faults
@pytest.mark.parametrize("more", [[], ["--workers=1"]], ids=["threads", "workers"])
def test_ctrl_c_at_any_time(folder, more, long):
    began = time.monotonic()
    assert Run(folder, *FIT, *more).interrupted(80)[0] == 0
    whole = time.monotonic() - began
    labels = zarr.open_array(folder / "labels.zarr")[:]
    assert outputs(folder) == ["labels.zarr", "model.npz"]
    chance = random.Random(len(more))
    for number in range(40 if long else 6):
        if number % 2:  # outputs are there already, and stay; or are not, and none comes
            shutil.rmtree(folder / "labels.zarr", ignore_errors=True)
            (folder / "model.npz").unlink(missing_ok=True)
        shutil.rmtree(folder / "run.ckpt", ignore_errors=True)
        before = outputs(folder)
        status, _, err = Run(folder, *FIT, *more).interrupted(whole * chance.uniform(0, 1))
        assert (status, err) in [(130, LINE), (0, "")], (status, err)
        after = outputs(folder)
        assert after in (before, ["labels.zarr", "model.npz"], ["model.npz"])
        if "labels.zarr" in after:
            np.testing.assert_array_equal(zarr.open_array(folder / "labels.zarr")[:], labels)
        if "model.npz" in after:
            KMeans.load(folder / "model.npz")
        TABLE.add("Ctrl-C", "clear error" if status else "identical")


LATE = {  # where nothing is there to catch an exception, or it is lost, or taken for another
    "before the commands are loaded": "pass",
    "in a destructor": """
class Lost:
    def __del__(self):
        strike()
def then():
    Lost()
    time.sleep(60)
""",
    "in an import that says what it likes": """
def then():
    try:
        strike()
    except KeyboardInterrupt:
        raise ImportError("cannot import the core")
""",
    "twice": """
def then():
    try:
        strike()
    finally:
        strike()
""",
    "when all is done": "atexit.register(strike)",
    "when the interpreter is taken apart": """
class Last:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, 2)
sys.last = Last()
""",
}


@pytest.mark.parametrize("where", LATE)
def test_ctrl_c_where_an_exception_would_be_lost(tmp_path, where):
    early = "strike()" if "loaded" in where else ""
    program = f"""
import atexit, os, signal, sys, time
import dkmeans
signal.signal(signal.SIGINT, signal.default_int_handler)
def strike():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0)
def then():
    pass
{LATE[where]}
os.write(int(sys.argv.pop(1)), b"x")
import dkmeans.__main__ as program
run = program._run
def started():
    {early}
    import dkmeans.cli.info
    describe = dkmeans.cli.info.show_lines
    dkmeans.cli.info.show_lines = lambda lines: (then(), describe(lines))
    return run()
program._run = started
sys.exit(program.main())
"""
    zarr.create_array(tmp_path / "X.zarr", data=np.ones((4, 2)))
    status, out, err = Run(tmp_path, "info", "X.zarr", program=program).interrupted(60)
    done = where.startswith("when")
    assert (status, err) == ((0, "") if done else (130, LINE))
    assert ("4 x 2" in out) == done


def test_ctrl_c_that_is_ignored_stays_so(folder):
    """As that of a shell's background jobs."""
    program = PROGRAM.replace("signal.default_int_handler", "signal.SIG_IGN")
    run = Run(folder, "fit", "X.zarr", "-k2", "--seed=0", program=program)
    status, out, err = run.interrupted(0.5)
    assert (status, err) == (0, "")
    assert "inertia" in out
