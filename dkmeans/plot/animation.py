"""A fit as a moving picture."""

from __future__ import annotations

import base64
import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dkmeans._typing import Floats
from dkmeans.data.outputs import check_output, replacing
from dkmeans.errors import OutputError
from dkmeans.plot.canvas import dress, horizontal_grid, new_figure, numbers, title
from dkmeans.plot.iterations import Film, film_of
from dkmeans.plot.page import filled, own
from dkmeans.plot.scene import Features
from dkmeans.plot.silhouettes import silhouette_of

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

FRAMES = 60  # of an animation, at most
_DPI = 100
_GIF_FPS = 100  # at most: a GIF counts in hundredths of a second
_PANELS = {"inertia": "Inertia of all rows", "silhouette": "Silhouette of the sample"}


@dataclass(frozen=True, eq=False)
class Animation:
    """Frames that are drawn when they are written.

    Parameters
    ----------
    figure : on which each frame is drawn in its turn.
    frames : number of frames.
    show : draws the frame of a number on the figure.
    fps : frames a second.
    """

    figure: Figure
    frames: int
    show: Callable[[int], None]
    fps: int

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a GIF, or an MP4 where the program ffmpeg is on the PATH; replaces a file.

        Raises
        ------
        OutputError
            If the ending is neither, ffmpeg is missing, or the file cannot be written.
        ValueError
            If ``fps`` is more than a GIF can have.
        """
        ending = _check_path(path, self.fps)
        writer = PillowWriter(self.fps) if ending == ".gif" else FFMpegWriter(self.fps, "h264")
        with replacing(path, overwrite=True) as partial, tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / f"animation{ending}"
            self._write(writer, written)
            shutil.move(written, partial)

    def to_jshtml(self) -> str:
        """HTML with all frames in it and buttons to play them, for a notebook; it loads nothing."""
        return filled(
            "animation.html.j2",
            id=f"animation-{uuid.uuid4().hex}",
            frames=[self._png(number) for number in range(self.frames)],
            width=round(self.figure.get_size_inches()[0] * _DPI),
            script=own("controls.js"),
            delay=round(1000 / self.fps),
        )

    def _repr_html_(self) -> str:
        return self.to_jshtml()

    def _png(self, number: int) -> str:
        """A frame as a data URI."""
        self.show(number)
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=_DPI, facecolor=self.figure.get_facecolor())
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

    def _write(self, writer: AbstractMovieWriter, path: Path) -> None:
        with writer.saving(self.figure, str(path), _DPI):
            for number in range(self.frames):
                self.show(number)
                writer.grab_frame(facecolor=self.figure.get_facecolor())


def _check_path(path: str | os.PathLike[str], fps: float) -> str:
    """The ending of a path to which an animation can be written, or an error."""
    ending = Path(path).suffix.lower()
    if ending not in (".gif", ".mp4"):
        raise OutputError(f"animations are written as .gif or .mp4, got {os.fspath(path)!r}")
    if ending == ".mp4" and shutil.which("ffmpeg") is None:
        raise OutputError(
            "MP4 needs the program ffmpeg, which is not on the PATH: install it, or write a"
            " .gif instead"
        )
    if ending == ".gif" and fps > _GIF_FPS:
        raise ValueError(f"a GIF has at most {_GIF_FPS} frames a second, got fps={fps!r}")
    check_output(path, overwrite=True)
    return ending


def animate(
    model: KMeans,
    path: str | os.PathLike[str] | None = None,
    *,
    X: Any = None,
    features: Features = None,
    voronoi: bool = True,
    panel: str | None = "inertia",
    theme: str = "light",
    fps: int = 2,
) -> Animation:
    """Draw the best restart of a fit as a moving picture: assignment and update by turns.

    Parameters
    ----------
    model, X, features, theme : as in :func:`clusters`.
    path : a .gif, or a .mp4 where the program ffmpeg is on the PATH; a file there is replaced.
    voronoi : whether to show the cells of the centers to which rows are assigned; while centers
        move, those that they leave. See :func:`voronoi`.
    panel : {"inertia", "silhouette"} or None
        What to show by iteration beside the rows: the inertia of all rows, or the mean silhouette
        of the sample.
    fps : frames a second, up to 100 in a GIF. Of more than sixty frames, sixty are chosen evenly,
        those of assignments alone left out.

    Returns
    -------
    Animation
        With ``save(path)`` and ``to_jshtml()``; a notebook plays it.

    Raises
    ------
    OutputError
        If the file cannot be written.
    DataError, ValueError
        As :func:`clusters`.
    """
    if panel is not None and panel not in _PANELS:
        raise ValueError(f'panel must be "inertia", "silhouette" or None, got {panel!r}')
    if not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps!r}")
    if path is not None:
        _check_path(path, fps)
    phases = ("init", "assign", "update", "converged")
    film = film_of(model, X, features, phases, FRAMES, theme)
    figure = new_figure(7 if panel is None else 10, 5, film.marks.theme)
    ratios = [5] if panel is None else [5, 3]
    axes = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
    curve = None if panel is None else _curve(film, panel)

    def show(at: int) -> None:
        axes[0].clear()
        film.draw(axes[0], film.frames[at], voronoi=voronoi)
        caption = film.frames[at].caption
        figure.suptitle(caption, color=film.marks.theme.ink, fontsize=11, x=0.01, ha="left")
        if curve is not None:
            axes[1].clear()
            _draw_curve(axes[1], film, at, curve)
            title(axes[1], _PANELS[panel or ""], film.marks.theme)

    show(0)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # all frames are laid out as the first
    animation = Animation(figure, len(film.frames), show, fps)
    if path is not None:
        animation.save(path)
    return animation


def _draw_curve(ax: Axes, film: Film, at: int, curve: Floats) -> None:
    theme = film.marks.theme
    dress(ax, theme)
    numbers(ax.xaxis, whole=True)
    horizontal_grid(ax, theme)
    steps = np.array([frame.step for frame in film.frames])
    last = max([1, *(frame.step for frame in film.frames)])
    finite = [float(value) for value in curve if np.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = 0.08 * ((high - low) or max(abs(high), 1.0))
    ax.set(
        xlim=(0.5, last + 0.5),
        ylim=(low - room, high + room),
        xlabel="iteration",
    )
    if not np.isfinite(curve).any():
        middle: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, "not defined", color=theme.muted, fontsize=9, **middle)
    known = np.flatnonzero(np.isfinite(curve[: at + 1]))
    ax.plot(steps[known], curve[known], color=theme.ink, linewidth=1.6)
    if len(known):
        ax.plot(steps[known[-1]], curve[known[-1]], "o", color=theme.ink, markersize=6)


def _curve(film: Film, panel: str) -> Floats:
    """A value for each frame; NaN before there are clusters."""
    if panel == "inertia":
        return np.array([frame.inertia for frame in film.frames])
    labels: Sequence[Any] = [frame.labels for frame in film.frames]
    return silhouette_of(film.scene.sample, labels)
