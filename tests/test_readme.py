"""README's blocks run as they stand, in one folder, in order; it names every command and option."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from dkmeans.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = "python -m pip install"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def run(command: list[str], folder: Path) -> str:
    """Run in the folder, with a ``dkmeans`` on the path that is this interpreter's."""
    tool = folder / "bin" / "dkmeans"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dkmeans "$@"\n')
    tool.chmod(0o755)
    path = os.pathsep.join([str(tool.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_blocks_install() -> None:
    commands = [block for block in blocks("sh") if block.startswith(INSTALL)]
    assert [block.count("\n") for block in commands] == [1, 1]
    assert commands[0].endswith("&& dkmeans demo\n")
    assert commands[1].endswith("&& python -m pytest -n 2\n")


def test_python_blocks_run(tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks("python")), encoding="utf-8")
    printed = run([sys.executable, str(script)], tmp_path)
    assert "stream" in printed or "memory: kept" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_shell_blocks_run(tmp_path: Path) -> None:
    script = tmp_path / "readme.sh"
    commands = [block for block in blocks("sh") if not block.startswith(INSTALL)]
    assert commands
    script.write_text("set -eu\n" + "\n".join(commands), encoding="utf-8")
    run(["sh", str(script)], tmp_path)


@pytest.mark.parametrize("name", cli.list_commands(click.Context(cli)))
def test_command_and_its_options_are_named(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    options = [option for parameter in command.params for option in parameter.opts]
    named = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", README))
    assert [o for o in options if o.startswith("-") and o not in named] == []
    assert f"dkmeans {name}" in README


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_dependency_has_its_line_and_bound() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:\*(\w+):\* )?([\w-]+)(?:\[.*\])? \| ([\d.]+) \|", text, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = {"build": project["build-system"]["requires"], "": project["project"]["dependencies"]}
    extras |= project["project"]["optional-dependencies"]
    needed = {
        (extra, *re.match(r"([\w-]+)(?:\[.*\])?>=([\d.]+)", line).groups())
        for extra, lines in extras.items()
        for line in lines
        if not line.startswith("dkmeans")
    }
    assert set(rows) == needed
