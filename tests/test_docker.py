"""The container files: valid, in agreement with the command line, and their commands run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
import zarr

from dkmeans import KMeans
from dkmeans.cli import cli
from tests.clusters import Process
from tests.hosts import Hosts, can_make_hosts

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
README = (ROOT / "docker" / "README.md").read_text(encoding="utf-8")
COMPOSE = (ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8")
SERVICES = yaml.safe_load(COMPOSE)["services"]
OURS = [name for name in SERVICES if name != "store"]


def options_of(command):
    found = cli.get_command(click.Context(cli), command)
    assert found is not None, f"dkmeans has no command {command!r}"
    return {name for parameter in found.params for name in parameter.opts}


def checked(*command):
    """Run a checker that was installed with the tests."""
    tool = Path(sys.executable).with_name(command[0])
    done = subprocess.run([tool, *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_file_is_valid():
    path = ROOT / "docker" / "compose.yaml"
    checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)


def test_dockerfile_passes_the_linter():
    checked("hadolint", "--failure-threshold=info", ROOT / "docker" / "Dockerfile")


def test_image_is_pinned_small_and_not_root():
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", image) for image in images)
    assert "latest" not in DOCKERFILE + COMPOSE
    final = DOCKERFILE.rsplit("FROM ", 1)[1]
    assert re.search(r"^USER 1000:1000$", final, re.MULTILINE)
    assert "\nRUN" not in final[final.index("USER") :]
    assert "HEALTHCHECK" in final
    assert "--constraint requirements.lock" in DOCKERFILE


def test_everything_copied_exists_and_is_in_the_context():
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in ignore


def test_lock_pins_every_requirement():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["test"], *extras["s3"], *extras["image"]]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in needed}
    assert names - set(pins) == set()
    assert not any("/" in line or "@" in line for line in lines)


@pytest.mark.parametrize("service", [s for s in OURS if SERVICES[s]["command"][0] == "dkmeans"])
def test_commands_are_those_of_the_command_line(service):
    _, command, *args = SERVICES[service]["command"]
    given = {arg.split("=")[0] for arg in args if arg.startswith("--")}
    assert given <= options_of(command)


def test_services_wait_for_what_they_need_and_say_that_they_are_well():
    assert all("healthcheck" in SERVICES[name] for name in ("scheduler", "worker", "store"))
    assert set(SERVICES["upload"]["depends_on"]) == {"make-data", "store"}
    assert set(SERVICES["fit"]["depends_on"]) == {"upload", "worker"}
    assert all(SERVICES[name]["volumes"] == ["data:/data"] for name in OURS)
    assert "ports" not in COMPOSE  # nothing is open to the world


def test_commands_in_the_readme_exist():
    text = re.sub(r"\\\n\s*", "", README)
    found = re.findall(r"(?<=dkmeans )(plan|info|fit|make-data) ([^\n]+)", text)
    assert {command for command, _ in found} >= {"plan", "info", "fit"}
    for command, rest in found:
        flags = set(re.findall(r"(?<= )-{1,2}[a-z][\w-]*", rest.partition("$(")[0]))
        assert flags <= options_of(command)


def test_python_in_the_readme_compiles():
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "docker/README.md", "exec")
    for block in re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE):
        assert shlex.split(block)


class Composed:
    """Commands of services as processes: on test hosts word for word, else on loopback."""

    def __init__(self, folder, hosts):
        self.folder, self.hosts, self.processes = folder, hosts, []
        (folder / "data").mkdir()
        self.ports = {port: port if hosts else free_port() for port in (8786, 8789, 9000)}

    def text(self, given):
        """A part of a command or environment as it is here."""
        for name, value in {"ROWS": "20000", "STORE_USER": "dkmeans"}.items():
            given = re.sub(rf"\$\{{{name}:-[^}}]*\}}", value, given)
        given = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", given)
        given = given.replace("/data/", f"{self.folder}/data/")
        if self.hosts is None:
            given = re.sub(r"(scheduler|store|localhost)(?=:|',)", "127.0.0.1", given)
            for port, here in self.ports.items():
                given = given.replace(str(port), str(here))
        return given

    def start(self, service, host, *, command=None):
        """Start what a service runs, or another command in its place."""
        plan = SERVICES[service]
        given = [self.text(word) for word in command or plan["command"]]
        modules = {"dask": ["-m", "dask"], "dkmeans": ["-m", "dkmeans"], "python": []}
        if given[0] in modules:
            given = [sys.executable, *modules[given[0]], *given[1:]]
        environment = {name: self.text(value) for name, value in plan["environment"].items()}
        namespace = None if self.hosts is None else self.hosts.namespace(host)
        log = self.folder / f"{service}-{len(self.processes)}.log"
        self.processes.append(Process(given, log, host=namespace, **environment))
        return self.processes[-1]

    def run(self, service, host):
        """Run a service that ends."""
        process = self.start(service, host)
        assert process.popen.wait(120) == 0, process.text

    def healthy(self, service, host):
        """Run the health check of a service until it passes, as long as compose would."""
        plan = SERVICES[service]["healthcheck"]
        end = time.monotonic() + plan["retries"] * float(plan["interval"].removesuffix("s"))
        while self.start(service, host, command=plan["test"][1:]).popen.wait(60) != 0:
            assert time.monotonic() < end, f"{service} is not healthy"
            time.sleep(0.2)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def composed(tmp_path):
    if can_make_hosts():
        with Hosts(aliases=["store"]) as hosts:
            made = Composed(tmp_path, hosts)
            yield made
            for process in reversed(made.processes):
                process.kill()
        return
    made = Composed(tmp_path, None)
    yield made
    for process in reversed(made.processes):
        process.kill()


def test_the_commands_of_compose_fit_what_is_in_the_store(composed):
    """The very commands, with moto's server in the place of MinIO."""
    server = shutil.which("moto_server", path=os.fspath(Path(sys.executable).parent))
    store = composed.start("store", "scheduler", command=[server, "-H", "0.0.0.0", "-p", "9000"])
    composed.start("scheduler", "scheduler")
    composed.healthy("scheduler", "scheduler")
    composed.start("worker", "worker1")
    composed.healthy("worker", "worker1")
    if composed.hosts:  # --scale worker=2
        composed.start("worker", "worker2")
    composed.run("make-data", "scheduler")
    store.wait_for("Running on")
    composed.run("upload", "scheduler")
    composed.run("fit", "scheduler")
    data = composed.folder / "data"
    assert sorted(os.listdir(data)) == ["labels.zarr", "model.npz", "points.zarr"]
    assert "PUT /demo/points.zarr/" in store.text
    model = KMeans.load(data / "model.npz")
    expected = KMeans(8, random_state=0).fit(zarr.open_array(data / "points.zarr", mode="r")[:])
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    np.testing.assert_array_equal(zarr.open_array(data / "labels.zarr")[:], expected.labels_)
