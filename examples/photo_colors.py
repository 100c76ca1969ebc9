"""Cluster the pixels of a photo by colour and write the photo in k colours.

The photo is scikit-learn's bundled ``china.jpg``. Its pixels become a dask array of unsigned bytes
in blocks of image rows; ``KMeans`` reads them as they are, and ``predict`` stays lazy until the
picture is put together. Prints the colours and the error; writes ``photo.png`` and
``photo-K-colors.png``.

    python examples/photo_colors.py --colors 16 --out photo-colors

Needs Pillow: ``pip install "dkmeans[image]"``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import dask.array as da
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from dkmeans import KMeans


def main() -> None:
    """Quantise the photo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--colors", type=int, default=16)
    parser.add_argument("--every", type=int, default=1, help="take every n-th pixel each way")
    parser.add_argument("--block-rows", type=int, default=64, help="image rows in a block")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("photo-colors"))
    args = parser.parse_args()

    photo = np.ascontiguousarray(load_sample_image("china.jpg")[:: args.every, :: args.every])
    height, width, channels = photo.shape
    pixels = da.from_array(photo, chunks=(args.block_rows, width, channels)).reshape(-1, channels)
    print(f"{height} x {width} pixels in {pixels.numblocks[0]} blocks, {pixels.dtype}")

    model = KMeans(args.colors, random_state=args.seed).fit(pixels)
    palette = np.clip(np.rint(model.cluster_centers_), 0, 255).astype(np.uint8)
    labels = model.predict(pixels).compute()
    painted = palette[labels].reshape(photo.shape)

    shares = np.bincount(labels, minlength=args.colors) / len(labels)
    for j in np.argsort(-shares):
        red, green, blue = palette[j]
        print(f"  #{red:02x}{green:02x}{blue:02x}  {100 * shares[j]:5.1f} %")
    error = np.mean((painted.astype(float) - photo) ** 2)
    psnr = 10 * np.log10(255**2 / error)
    print(f"{model.n_iter_} iterations, mean squared error {error:.2f}, PSNR {psnr:.2f} dB")

    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"photo-{args.colors}-colors.png"
    Image.fromarray(photo).save(args.out / "photo.png")
    Image.fromarray(painted).save(target)
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
