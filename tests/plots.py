"""Models for the tests of pictures, fitted once for each shape of the data."""

from functools import cache

import numpy as np
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from sklearn.datasets import make_blobs

from dkmeans import History, Iteration, KMeans


@cache
def data(d, k, n=700):
    X, _ = make_blobs(n, n_features=d, centers=max(2, min(k, 20)), random_state=1)
    return X


@cache
def fitted(d, k):
    """A fit from random rows, so that it has iterations to show."""
    return KMeans(k, init="random", n_init=1, random_state=0, tol=0).fit(data(d, k))


def long_fit(d, k, n_iter):
    """A model whose history has so many iterations, in which all centers go one way."""
    model = KMeans(k, random_state=0).fit(data(d, k))
    start = model.cluster_centers_
    steps = [
        Iteration(
            "lloyd",
            step=i,
            centers=start + (n_iter - i) * 0.01,
            inertia=1000.0 + n_iter - i,
            shift=0.0 if i == n_iter else 0.01,
            sizes=(1,) * k,
        )
        for i in range(1, n_iter + 1)
    ]
    sample, facts = model.history_.sample, model.history_.facts
    model.history_ = History(steps, stop_reason="converged", sample=sample, facts=facts)
    return model


def scatters(ax):
    """Positions, face colours and marker outlines of the scatters of axes, in order."""
    return [c for c in ax.collections if type(c) is PathCollection]


def stars(ax):
    """The scatter of the centers, which is drawn over all others."""
    return max(scatters(ax), key=lambda c: c.get_zorder())


def drawn_rows(ax):
    """Places of all rows, in the order in which they are drawn."""
    found = [c.get_offsets() for c in scatters(ax) if c.get_zorder() == 2]
    return np.concatenate([np.asarray(places) for places in found])


def in_order(places):
    return places[np.lexsort(places.T)]


def render(figure):
    """Draw with Agg, wherever the figure is to be shown."""
    FigureCanvasAgg(figure).draw()


def texts_of(figure):
    """Each text that a figure shows once it is drawn, with its box in pixels."""
    render(figure)
    hidden = set()
    for axis in figure.findobj(Axis):
        low, high = sorted(axis.get_view_interval())
        outside = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
        hidden |= {id(text) for tick in outside for text in (tick.label1, tick.label2)}
    shown = {id(text): text for text in figure.findobj(Text) if text.get_visible()}
    boxes = [(t.get_text(), t.get_window_extent()) for i, t in shown.items() if i not in hidden]
    return [(text, box) for text, box in boxes if text.strip()]


def misplaced(figure):
    """Texts of a figure that overlap, and those that leave it."""
    texts, (wide, high) = texts_of(figure), figure.bbox.size
    beyond = [
        text
        for text, box in texts
        if min(box.x0, box.y0) < -1 or box.x1 > wide + 1 or box.y1 > high + 1
    ]
    return beyond + [
        (a, b)
        for i, (a, first) in enumerate(texts)
        for b, second in texts[i + 1 :]
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]
