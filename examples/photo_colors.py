"""Write a photo in k colours, found from all of its pixels.

The photo is scikit-learn's bundled ``china.jpg``. Prints the colours with their shares and the
error; writes ``photo.png``, ``photo-K-colors.png``, a palette for GIMP, pictures of the photo in
4 and in K colours and of the cloud of its colours, and a report.

    python examples/photo_colors.py --colors 16 --out photo-colors

Needs Pillow: ``pip install "dkmeans[image]"``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from dkmeans import plot
from dkmeans.image import quantize
from dkmeans.plot.image_report import image_report


def main() -> None:
    """Quantise the photo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--colors", type=int, default=16)
    parser.add_argument("--space", choices=["srgb", "lab", "oklab"], default="srgb")
    parser.add_argument("--every", type=int, default=1, help="take every n-th pixel each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("photo-colors"))
    args = parser.parse_args()

    photo = np.ascontiguousarray(load_sample_image("china.jpg")[:: args.every, :: args.every])
    args.out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(args.out / "photo.png")

    options = {"space": args.space, "random_state": args.seed}
    both = quantize(args.out / "photo.png", [4, args.colors], **options)
    found = both[args.colors]
    for name, share in zip(found.hex, found.shares, strict=True):
        print(f"  {name}  {100 * share:5.1f} %")
    print(f"mean squared error {found.mse:.2f}, PSNR {found.psnr:.2f} dB")
    print(f"{found.compression_ratio:.1f} times smaller, {found.passes} pass over the pixels")

    target = args.out / f"photo-{args.colors}-colors.png"
    found.write(target, palette=target.with_suffix(".gpl"), overwrite=True)
    print(f"wrote {target}")
    plot.quantization(both).savefig(args.out / "side-by-side.png")
    plot.color_cloud(found).figure.savefig(args.out / "cloud.png")
    image_report(both, args.out / "report.html")
    print(f"wrote {args.out}/side-by-side.png, {args.out}/cloud.png and {args.out}/report.html")


if __name__ == "__main__":
    main()
