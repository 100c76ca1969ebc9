"""The command line: ``dkmeans``, ``python -m dkmeans`` and ``dask kmeans``."""

from __future__ import annotations

import importlib
from typing import Any

import click

from dkmeans import __version__
from dkmeans.cli.errors import one_line

_COMMANDS = {
    "fit": "dkmeans.cli.fit",
    "sweep": "dkmeans.cli.sweep",
    "predict": "dkmeans.cli.predict",
    "plan": "dkmeans.cli.plan",
    "info": "dkmeans.cli.info",
    "image": "dkmeans.cli.image",
    "make-data": "dkmeans.cli.make_data",
    "demo": "dkmeans.cli.demo",
}


class _Commands(click.Group):
    """Commands that are imported when they are asked for, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(_COMMANDS[cmd_name]).command
        assert isinstance(command, click.Command)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line():
            return super().invoke(ctx)


@click.group(
    "kmeans",  # below `dask`, which calls commands by their own names
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="dkmeans %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """K-means for data larger than memory, on Dask.

    Data are Zarr arrays or Parquet datasets, by path or URI. Each command has an example in its
    --help.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
