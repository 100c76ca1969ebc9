"""Pictures of fits, from what a model's history keeps: they cost the same for data of any size.

Those of images read every n-th pixel of a large one, block by block.

Functions that draw one picture take ``ax=`` and return the Axes; those with several panels return
the Figure. None changes a global setting or needs a display.
"""

from dkmeans.plot.animation import Animation, animate
from dkmeans.plot.clusters import clusters, overview, projection, voronoi
from dkmeans.plot.colors import color_cloud, palette, quantization
from dkmeans.plot.curves import convergence, elbow, init_comparison, silhouette_curve
from dkmeans.plot.iterations import iterations
from dkmeans.plot.profiles import profiles
from dkmeans.plot.silhouettes import silhouette

__all__ = [
    "Animation",
    "animate",
    "clusters",
    "color_cloud",
    "convergence",
    "elbow",
    "init_comparison",
    "iterations",
    "overview",
    "palette",
    "profiles",
    "projection",
    "quantization",
    "silhouette",
    "silhouette_curve",
    "voronoi",
]
