"""The source of the materialize bench: `generate.py ROWS PATH [OLDER]` writes a Parquet file with ROWS entity keys, each once,
and OLDER further rows of the same keys that a materialization passes over.

Every value follows from the key, so that benches/floor/src/bin/hset.rs can write the same bytes without reading anything:
driver_id i has conv_rate i / 8, acc_rate i / 4, daily_trips i, event_timestamp START + i microseconds. Rows are in scattered
order.
"""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = 1_790_812_800_000_000
CHUNK = 500_000


def table(ids, age):
    times = START + ids - age
    stamp = pa.timestamp("us", tz="UTC")
    return pa.table({
        "driver_id": pa.array(ids),
        "conv_rate": pa.array(ids / 8),
        "acc_rate": pa.array(ids / 4),
        "daily_trips": pa.array(ids),
        "event_timestamp": pa.array(times).cast(stamp),
        "created": pa.array(times).cast(stamp),
    })


def scattered(n, first, last):
    """The numbers 0..n, each once over all places, in an order without pattern: its places from first to last."""
    step = 7_368_787  # a prime that divides none of the sizes in use
    assert n % step
    return (np.arange(first, last, dtype=np.int64) * step) % n


def main():
    n, path = int(sys.argv[1]), sys.argv[2]
    older = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    with pq.ParquetWriter(path, table(np.arange(1, dtype=np.int64), 0).schema) as writer:
        for first in range(0, older, CHUNK):
            ids = scattered(n, first, min(first + CHUNK, older))
            writer.write_table(table(ids, 1_000_000), row_group_size=100_000)
        for first in range(0, n, CHUNK):
            writer.write_table(table(scattered(n, first, min(first + CHUNK, n)), 0), row_group_size=100_000)


main()
