"""The container files agree with each other and with the command line; no container is started."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from dkmeans.cli import cli

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
SERVICES = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))[
    "services"
]


def options_of(command: str) -> set[str]:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None, f"dkmeans has no command {command!r}"
    return {name for parameter in found.params for name in parameter.opts}


def test_image_is_pinned_small_and_not_root() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", image) for image in images)
    assert "latest" not in DOCKERFILE
    final = DOCKERFILE.rsplit("FROM ", 1)[1]
    assert re.search(r"^USER dkmeans$", final, re.MULTILINE)
    assert final.index("USER dkmeans") < final.index("ENTRYPOINT")
    assert "--constraint requirements.lock" in DOCKERFILE


def test_everything_copied_exists_and_is_in_the_context() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in ignore


def test_lock_pins_every_requirement() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["test"], *extras["s3"], *extras["image"]]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in needed}
    assert names - set(pins) == set()
    assert not any("/" in line or "@" in line for line in lines)


@pytest.mark.parametrize("service", [name for name, s in SERVICES.items() if "entrypoint" not in s])
def test_commands_are_those_of_the_command_line(service: str) -> None:
    command, *args = SERVICES[service]["command"]
    given = {arg.split("=")[0] for arg in args if arg.startswith("--")}
    assert given <= options_of(command)


def test_client_waits_for_the_data_and_joins_the_scheduler() -> None:
    assert SERVICES["scheduler"]["entrypoint"][:2] == ["dask", "scheduler"]
    assert SERVICES["worker"]["entrypoint"] == ["dask", "worker", "tcp://scheduler:8786"]
    assert "--scheduler=tcp://scheduler:8786" in SERVICES["fit"]["command"]
    assert set(SERVICES["fit"]["depends_on"]) == {"make-data", "worker"}
    assert all(service["volumes"] == ["data:/data"] for service in SERVICES.values())


def test_commands_in_the_readme_exist() -> None:
    text = (ROOT / "docker" / "README.md").read_text(encoding="utf-8")
    for command, rest in re.findall(r"(?:dkmeans|--rm fit) (plan|info|fit) (.+)", text):
        flags = set(re.findall(r"(?<= )-{1,2}\w[\w-]*", rest))
        assert flags <= options_of(command)
