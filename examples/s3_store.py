"""Cluster a Zarr store on S3, or on what speaks its language, and write the labels there.

The address and the keys come from where AWS's own tools have them: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY`` and, for other servers such as MinIO, ``AWS_ENDPOINT_URL``. They can be
given as ``storage_options`` as well, in s3fs's words.

    AWS_ENDPOINT_URL=http://localhost:9000 python examples/s3_store.py --bucket bucket/example
"""

from __future__ import annotations

import argparse

from dkmeans import KMeans, open_source, write_labels
from dkmeans.data.synthetic import Blobs, write_blobs


def main() -> None:
    """Write, fit, label."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bucket", required=True, help="bucket, and a folder in it")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--clusters", type=int, default=5)
    args = parser.parse_args()

    options = {"default_block_size": 8 * 2**20}  # such as "anon": True for a public bucket
    place = f"s3://{args.bucket}"
    blobs = Blobs(args.rows, 4, args.clusters, seed=0)
    write_blobs(blobs, f"{place}/X.zarr", chunk_rows=5_000, overwrite=True)

    source = open_source(f"{place}/X.zarr", storage_options=options)
    model = KMeans(args.clusters, random_state=0).fit(source)
    print(model.history_)
    print(f"{model.history_.retries} reads were tried again")

    model.save(f"{place}/model.npz", storage_options=options)
    write_labels(model.labels_, f"{place}/labels.parquet", overwrite=True, storage_options=options)
    print(f"wrote {place}/labels.parquet and {place}/model.npz")


if __name__ == "__main__":
    main()
