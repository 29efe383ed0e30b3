"""The feature repository of the benches: applied by the real Feast, its sources written as Parquet. Run it with the Python of
.terrarium/venv:

    repository.py DIRECTORY REDIS ROWS ROWS_FEAST

makes `DIRECTORY/serve` (views that are read) and `DIRECTORY/write` (views that are materialized), on two databases of Redis.
Row `i` of every view is the driver `i`; benches/floor/src/bin/hset.rs writes the same rows.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, Float64, Int64
from load import SERVED, SERVED_DATABASE, SERVED_ENTITIES, WRITTEN_DATABASE, project

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
ROW_GROUP = 100_000


def main(directory, address, n_rows, n_rows_feast):
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    served = {view: (features, SERVED_ENTITIES) for view, features in SERVED.items()}
    make(Path(directory) / "serve", address, SERVED_DATABASE, driver, served)
    written = {"rows": (["f", "d", "i"], int(n_rows)), "rows_feast": (["f", "d", "i"], int(n_rows_feast))}
    make(Path(directory) / "write", address, WRITTEN_DATABASE, driver, written)


def make(repo, address, database, driver, views):
    (repo / "data").mkdir(parents=True)
    (repo / "feature_store.yaml").write_text(
        f"project: {project(repo)}\nprovider: local\nregistry: registry.db\n"
        f"online_store: {{type: redis, connection_string: '{address},db={database}'}}\n"
        "offline_store: {type: file}\nentity_key_serialization_version: 3\n"
    )
    made = [driver]
    for name, (features, n_rows) in views.items():
        write(repo / "data" / f"{name}.parquet", features, n_rows)
        source = FileSource(name=f"{name}_source", path=f"data/{name}.parquet", timestamp_field="event_timestamp")
        fields = [Field(name="driver_id", dtype=Int64)] + [Field(name=feature, dtype=dtype(feature)) for feature in features]
        made.append(FeatureView(name=name, entities=[driver], schema=fields, source=source, ttl=timedelta(0)))
    FeatureStore(repo_path=str(repo)).apply(made)


def dtype(feature):
    """A feature's first letter is its type."""
    return {"f": Float32, "d": Float64, "i": Int64}[feature[0]]


def write(path, features, n_rows):
    writer = None
    for first in range(0, n_rows, ROW_GROUP):
        ids = np.arange(first, min(first + ROW_GROUP, n_rows), dtype=np.int64)
        values = {
            "f": (ids % 1000).astype(np.float32) / np.float32(1000),
            "d": ids / 7.0,
            "i": ids,
        }
        times = pa.array([NOON] * len(ids), pa.timestamp("us", tz="UTC"))
        table = pa.table({"driver_id": ids} | {feature: values[feature[0]] for feature in features} | {"event_timestamp": times})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
