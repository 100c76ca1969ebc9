"""What the player of a report draws: the frames of a fit, in the places of its picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_hex

from dkmeans._typing import AnyArray, Floats
from dkmeans.plot.scene import Scene
from dkmeans.plot.theme import marks_of, theme_of
from dkmeans.record.frames import Frame

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

WIDTH, HEIGHT = 1000, 640  # of the picture, in units of its own
MOST_ROWS = 600  # drawn
MOST_FRAMES = 120
MOST_CENTERS = 30_000  # places in all frames


def colors_of(k: int) -> list[tuple[str, str]]:
    """The colour of each cluster on a light and on a dark background."""
    themes = [[to_hex(c) for c in marks_of(k, theme_of(t)).colors] for t in ("light", "dark")]
    return list(zip(*themes, strict=True))


def player_data(model: KMeans, scene: Scene) -> dict[str, Any] | None:
    """Places, labels and captions of each frame, in values that JSON has; None without frames."""
    every, k = list(model.history_.frames()), len(model.cluster_centers_)
    frames = _chosen(every, k)
    if not frames:
        return None
    box = scene.box([frame.centers for frame in frames])
    drawn = np.linspace(0, len(scene.points) - 1, min(MOST_ROWS, len(scene.points))).astype(int)
    labels: list[list[int]] = []
    plain = [_frame(frame, scene, box, drawn, labels) for frame in frames]
    light, dark = zip(*colors_of(k), strict=True)
    names = [*scene.view.labels, ""]
    return {
        "size": (WIDTH, HEIGHT),
        "points": _placed(scene.points[drawn], box),
        "labels": labels,
        "frames": plain,
        "left_out": len(every) - len(frames),
        "light": light,
        "dark": dark,
        "regions": scene.view.is_whole,
        "scale": _scale(scene, box),
        "x_name": names[0],
        "y_name": names[1],
    }


def _chosen(frames: Sequence[Frame], k: int) -> list[Frame]:
    """Few enough frames: all of the first iterations, then fewer and fewer, and the last."""
    most = max(2, min(MOST_FRAMES, MOST_CENTERS // k))
    if len(frames) <= most:
        return list(frames)
    chosen = np.unique(np.geomspace(1, len(frames), most).round().astype(int)) - 1
    return [frames[i] for i in chosen]


def _frame(
    frame: Frame, scene: Scene, box: Sequence[float], drawn: AnyArray, labels: list[list[int]]
) -> dict[str, Any]:
    """One frame; its labels are appended unless they are those of the frame before it."""

    def places(centers: Floats) -> list[list[float]]:
        return _placed(scene.view.project(centers), box)

    if frame.labels is not None:
        own = frame.labels[drawn].tolist()
        if not labels or labels[-1] != own:
            labels.append(own)
    return {
        "phase": frame.phase,
        "step": frame.step,
        "caption": frame.caption,
        "centers": places(frame.centers),
        "assigned": places(frame.assigned),
        "labels": None if frame.labels is None else len(labels) - 1,
        "inertia": None if math.isnan(frame.inertia) else frame.inertia,
    }


def _placed(points: Floats, box: Sequence[float]) -> list[list[float]]:
    """Points (m, 2) in the units of the picture, whose second axis points down."""
    left, right, bottom, top = box
    x = (points[:, 0] - left) / (right - left) * WIDTH
    y = (top - points[:, 1]) / (top - bottom) * HEIGHT
    placed: list[list[float]] = np.column_stack([x, y]).round(1).tolist()
    return placed


def _scale(scene: Scene, box: Sequence[float]) -> tuple[float, float]:
    """Weights of squared lengths along both axes of the picture, as the data have them."""
    left, right, bottom, top = box
    across, down = ((right - left) / WIDTH) ** 2, ((top - bottom) / HEIGHT) ** 2
    return (1.0, 0.0) if scene.view.is_line else (1.0, down / across)
