"""How values of an image are shown: bytes as they are, others within the range that they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dkmeans._typing import AnyArray, Floats
from dkmeans.errors import DataError
from dkmeans.image import Quantized
from dkmeans.plot.canvas import number

MOST = 12  # images beside the original; of more, some are shown
SQUARES = 64  # pixels of the longer side of an image, up to which they are drawn as squares
_ENDS = 1, 99  # percentiles of a range, beyond which values are shown as its ends

Found = Quantized | Mapping[int, Quantized]


def several(found: Found) -> dict[int, Quantized]:
    """Each number of colours with what was found for it, in ascending order.

    Raises
    ------
    DataError
        If there is none.
    """
    named = {len(found.palette): found} if isinstance(found, Quantized) else dict(found)
    if not named:
        raise DataError("there is no number of colours to draw")
    return dict(sorted(named.items()))


def some(named: dict[int, Quantized]) -> dict[int, Quantized]:
    """As many as can be shown, evenly spaced, the first and the last among them."""
    ks = list(named)
    chosen = np.linspace(0, len(ks) - 1, min(MOST, len(ks))).round().astype(int)
    return {ks[i]: named[ks[i]] for i in chosen}


@dataclass(frozen=True)
class Look:
    """How the values of an image become colours of a screen.

    Parameters
    ----------
    bands : those that are shown: one as grey, or three as red, green and blue.
    low, high : (bands,) values that are shown as black and as the brightest.
    """

    bands: tuple[int, ...]
    low: Floats
    high: Floats

    @classmethod
    def of(cls, found: Quantized) -> Look:
        """Of a preview; colours of three bands that are no bytes keep their hue."""
        width = found.palette.shape[1]
        bands = (0, 1, 2) if width >= 3 else (0,)
        if found.palette.dtype == np.uint8:
            return cls(bands, np.zeros(len(bands)), np.full(len(bands), 255.0))
        pixels, labels = found.preview()
        seen = pixels[labels >= 0][:, bands].astype(np.float64)
        if not len(seen):  # where all of the few that take part are between those of the preview
            seen = found.palette[:, bands].astype(np.float64)
        low, high = np.percentile(seen, _ENDS, axis=0)
        if width == 3:
            low, high = np.full(3, low.min()), np.full(3, high.max())
        return cls(bands, low, high)

    def rgb(self, values: AnyArray) -> AnyArray:
        """Colours (..., 3) uint8 of values (..., bands)."""
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        share = (values[..., self.bands] - self.low) / span
        shown = np.rint(255 * np.clip(np.nan_to_num(share), 0, 1)).astype(np.uint8)
        return np.broadcast_to(shown, (*shown.shape[:-1], 3))

    def original(self, found: Quantized) -> AnyArray:
        """The preview (height, width, 4) uint8; pixels that take no part are transparent."""
        pixels, labels = found.preview()
        return self._seen(found, self.rgb(pixels), labels)

    def quantized(self, found: Quantized) -> AnyArray:
        """The preview in the colours that were found."""
        labels = found.preview()[1]
        return self._seen(found, self.rgb(found.palette)[labels], labels)

    def _seen(self, found: Quantized, rgb: AnyArray, labels: AnyArray) -> AnyArray:
        opacity = np.full(labels.shape, 1.0)
        if found.source.alpha:
            alpha = found.source.preview[:, :, -1]
            opacity = alpha / (np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1.0)
        opacity = np.where(labels < 0, 0.0, opacity)
        return np.dstack([rgb, np.rint(255 * np.clip(opacity, 0, 1)).astype(np.uint8)])


def colours(k: int) -> str:
    """So many colours, in words."""
    return f"{k:,} colour{'' if k == 1 else 's'}"


def names(found: Quantized) -> list[str]:
    """Each colour by its hex name, or by its values where it has none."""
    if found.palette.dtype == np.uint8 and found.palette.shape[1] in (1, 3):
        return list(found.hex)
    more = ", …" if found.palette.shape[1] > 3 else ""
    return [", ".join(number(v, 5) for v in color[:3]) + more for color in found.palette.tolist()]


def error_of(found: Quantized) -> str:
    """How far the image is from its colours, in words."""
    if np.isfinite(found.psnr):
        return f"PSNR {found.psnr:.2f} dB"
    return "no error" if found.mse == 0 else f"MSE {number(found.mse, 5)}"
