"""The same question as a statement written by hand, on the tables of repository.py:

    sql_join.py lateral|window SCHEMA OUT       prints {"seconds": ...}

Rows come by binary COPY. So that all are of one length and can be decoded as one array, no value is null on the way.
"""

import json
import sys
import time

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from question import CREATED, KEY, ROW, TIME, VIEWS, postgres_url

HEADER_BYTES, TRAILER_BYTES = 19, 2
YEAR_2000 = 946_684_800_000_000  # where times of Postgres begin, in microseconds
NO_INT = -(1 << 63)
KINDS = {ROW: "int", KEY: "int", TIME: "time"} | {name: kind for view in VIEWS for name, kind in view.features.items()}


def main(form, schema, out):
    started = time.monotonic()
    selected = [f"entity.{name}" for name in (ROW, KEY, TIME)]
    nulls = {"float": "'NaN'", "int": str(NO_INT)}
    selected += [f"coalesce({view.name}.{name}, {nulls[kind]})" for view in VIEWS for name, kind in view.features.items()]
    joins = " ".join({"lateral": lateral, "window": window}[form](view) for view in VIEWS)
    statement = f"SELECT {', '.join(selected)} FROM entity_rows AS entity {joins}"
    with psycopg.connect(postgres_url(), options=f"-c search_path={schema}") as connection:
        with connection.cursor().copy(f"COPY ({statement}) TO STDOUT (FORMAT binary)") as copy:
            sent = b"".join(copy)
    pq.write_table(decoded(sent), out)
    print(json.dumps({"seconds": time.monotonic() - started}))


def lateral(view):
    """For each entity row a look into the index."""
    return (
        f"LEFT JOIN LATERAL (SELECT * FROM {view.name} AS source WHERE source.{KEY} = entity.{KEY} AND source.{TIME} <= entity.{TIME}"
        f"{young(view, 'source')} ORDER BY source.{TIME} DESC, source.{CREATED} DESC LIMIT 1) AS {view.name} ON true"
    )


def window(view):
    """Each source row counts until the next one of its driver; of rows of one time all but the last count for no time."""
    until = f"coalesce(lead({TIME}) OVER (PARTITION BY {KEY} ORDER BY {TIME}, {CREATED}), 'infinity')"
    return (
        f"LEFT JOIN (SELECT *, {until} AS until FROM {view.name}) AS {view.name} ON {view.name}.{KEY} = entity.{KEY} "
        f"AND {view.name}.{TIME} <= entity.{TIME} AND {view.name}.until > entity.{TIME}{young(view, view.name)}"
    )


def young(view, source):
    return f" AND {source}.{TIME} >= entity.{TIME} - interval '{view.ttl_seconds} seconds'" if view.ttl_seconds else ""


def decoded(sent):
    fields = [("n_fields", ">i2")]
    for name, kind in KINDS.items():
        fields += [(f"{name}_length", ">i4"), (name, ">f8" if kind == "float" else ">i8")]
    rows = np.frombuffer(sent[HEADER_BYTES:-TRAILER_BYTES], np.dtype(fields))
    return pa.table({name: column(rows[name].astype(rows[name].dtype.newbyteorder("=")), kind) for name, kind in KINDS.items()})


def column(values, kind):
    if kind == "time":
        return pa.array(values + YEAR_2000, pa.timestamp("us", tz="UTC"))
    return pa.array(values, mask=np.isnan(values) if kind == "float" else values == NO_INT)


if __name__ == "__main__":
    main(*sys.argv[1:])
