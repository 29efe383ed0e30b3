"""Feature repositories over the files of data.py, applied by the real Feast.

    repository.py files DIRECTORY       `DIRECTORY/feature_store.yaml`, on the Parquet files there
    repository.py postgres DIRECTORY    `DIRECTORY/postgres/feature_store.yaml`, on tables with the same rows, which it makes in
                                        a schema of their own, each source with an index on keys and times
    repository.py drop DIRECTORY        drops that schema
"""

import io
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.types import Float64, Int64
from question import CREATED, KEY, PROJECT, TIME, VIEWS, postgres_url, schema

TYPES = {pa.int64(): "int8", pa.float64(): "float8", pa.timestamp("us", tz="UTC"): "timestamptz"}
TIMES = {"timestamp_field": TIME, "created_timestamp_column": CREATED}


def main(what, directory):
    {"files": files, "postgres": postgres, "drop": drop}[what](Path(directory))


def files(directory):
    apply(directory, "{type: file}", lambda name: FileSource(name=f"{name}_source", path=f"{name}.parquet", **TIMES))


def postgres(directory):
    drop(directory)
    name = schema(directory.name)
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        connection.execute(f"SET search_path TO {name}")
        load(connection, directory / "entity_rows.parquet")
        for view in VIEWS:
            load(connection, directory / f"{view.name}.parquet")
            connection.execute(f"CREATE INDEX ON {view.name} ({KEY}, {TIME} DESC, {CREATED} DESC)")
        connection.execute("VACUUM ANALYZE")
    at = urlsplit(postgres_url())
    store = (
        f"{{type: postgres, host: {at.hostname}, port: {at.port}, database: {at.path[1:]}, db_schema: {name}, "
        f"user: {at.username}, password: {at.password}, sslmode: disable}}"
    )
    (directory / "postgres").mkdir()
    apply(directory / "postgres", store, lambda name: PostgreSQLSource(name=f"{name}_source", table=name, **TIMES))


def drop(directory):
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema(directory.name)} CASCADE")


def apply(directory, offline_store, source):
    (directory / "feature_store.yaml").write_text(
        f"project: {PROJECT}\nprovider: local\nregistry: registry.db\n"
        "online_store: {type: sqlite, path: online_store.db}\n"
        f"offline_store: {offline_store}\nentity_key_serialization_version: 3\n"
    )
    driver = Entity(name="driver", join_keys=[KEY], value_type=ValueType.INT64)
    made = [driver]
    for view in VIEWS:
        fields = [Field(name=KEY, dtype=Int64)]
        fields += [Field(name=name, dtype={"float": Float64, "int": Int64}[kind]) for name, kind in view.features.items()]
        ttl = timedelta(seconds=view.ttl_seconds)
        made.append(FeatureView(name=view.name, entities=[driver], schema=fields, source=source(view.name), ttl=ttl))
    FeatureStore(repo_path=str(directory)).apply(made)


def load(connection, path):
    """The table of a file, named as the file."""
    file = pq.ParquetFile(path)
    columns = ", ".join(f"{field.name} {TYPES[field.type]}" for field in file.schema_arrow)
    connection.execute(f"CREATE TABLE {path.stem} ({columns})")
    without_header = pa.csv.WriteOptions(include_header=False)
    with connection.cursor().copy(f"COPY {path.stem} FROM STDIN (FORMAT csv)") as copy:
        for batch in file.iter_batches():
            text = io.BytesIO()
            pa.csv.write_csv(pa.table(batch), text, without_header)
            copy.write(text.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
