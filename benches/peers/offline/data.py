"""Writes the entity rows and the sources of one size as Parquet, the same ones at each run:

    data.py DIRECTORY ENTITY_ROWS SOURCE_ROWS

Sources are in order of time, as something that appends leaves them, and entity rows in none. One source row in fifty corrects
the one before it: same driver, same event timestamp, another created timestamp, before it or after it. No two rows of a driver are alike in
both, so that there is one right answer. One driver in a hundred of the entity rows is in no source, some entity rows are older than
all sources, and one float in a hundred is null.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from question import CREATED, DAYS, KEY, ROW, TIME, VIEWS, Size

START = 1_709_251_200  # 2024-03-01, in seconds
SECOND = 1_000_000
CHUNK = 1_000_000
ROW_GROUP = 128 * 1024


def main(directory, n_entity_rows, n_source_rows):
    directory = Path(directory)
    directory.mkdir(parents=True)
    size = Size(int(n_entity_rows), int(n_source_rows))
    write(directory / "entity_rows.parquet", [entity_rows(size)])
    for number, view in enumerate(VIEWS):
        write(directory / f"{view.name}.parquet", source_rows(size, view, np.random.default_rng(number)))


def write(path, tables):
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=ROW_GROUP)
    writer.close()


def entity_rows(size):
    chosen = np.random.default_rng(99)
    n_rows = size.n_entity_rows
    drivers = chosen.integers(0, size.n_drivers + max(1, size.n_drivers // 100), n_rows)
    seconds = chosen.integers(START - 86400, START + DAYS * 86400, n_rows)
    return pa.table({ROW: np.arange(n_rows), KEY: drivers, TIME: times(seconds * SECOND)})


def source_rows(size, view, chosen):
    """Chunk by chunk, each with a part of the days to itself."""
    n_chunks = -(-size.n_source_rows // CHUNK)
    for number in range(n_chunks):
        n_rows = min(CHUNK, size.n_source_rows - number * CHUNK)
        first, last = (START + DAYS * 86400 * at // n_chunks for at in (number, number + 1))
        drivers = chosen.integers(0, size.n_drivers, n_rows)
        seconds = np.sort(chosen.integers(first, last, n_rows))
        corrections = chosen.integers(1, n_rows, n_rows // 50)
        drivers[corrections] = drivers[corrections - 1]
        seconds[corrections] = seconds[corrections - 1]
        # The place in the chunk tells rows of one second and one delay apart.
        created = (seconds + chosen.integers(1, 3600, n_rows)) * SECOND + np.arange(n_rows)
        features = {name: feature(kind, chosen, n_rows) for name, kind in view.features.items()}
        yield pa.table({KEY: drivers} | features | {TIME: times(seconds * SECOND), CREATED: times(created)})


def feature(kind, chosen, n_rows):
    if kind == "int":
        return pa.array(chosen.integers(0, 100_000, n_rows))
    return pa.array(chosen.random(n_rows), mask=chosen.random(n_rows) < 0.01)


def times(micros):
    return pa.array(micros, pa.timestamp("us", tz="UTC"))


if __name__ == "__main__":
    main(*sys.argv[1:])
