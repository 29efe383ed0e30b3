"""The same question for DuckDB, as an ASOF join over the same files:

    duckdb_join.py DIRECTORY OUT        prints {"seconds": ...}

Of rows of one event timestamp the one created last wins: times are compared as pairs, since an ASOF join has one inequality.
"""

import json
import os
import sys
import time

import duckdb
from question import CREATED, KEY, ROW, TIME, VIEWS


def main(directory, out):
    started = time.monotonic()
    with duckdb.connect(config={"threads": os.cpu_count()}) as connection:
        connection.execute(f"COPY ({statement(directory)}) TO '{out}' (FORMAT parquet)")
    print(json.dumps({"seconds": time.monotonic() - started}))


def statement(directory):
    selected = [f"entity.{name}" for name in (ROW, KEY, TIME)]
    joins = []
    for view in VIEWS:
        source = f"(SELECT *, {{event: {TIME}, created: {CREATED}}} AS moment FROM '{directory}/{view.name}.parquet')"
        moment = f"{{event: entity.{TIME}, created: 'infinity'::TIMESTAMPTZ}}"
        joins.append(f"ASOF LEFT JOIN {source} AS {view.name} ON entity.{KEY} = {view.name}.{KEY} AND {moment} >= {view.name}.moment")
        selected += [young(view, feature) for feature in view.features]
    return f"SELECT {', '.join(selected)} FROM '{directory}/entity_rows.parquet' AS entity {' '.join(joins)}"


def young(view, feature):
    if view.ttl_seconds == 0:
        return f"{view.name}.{feature}"
    oldest = f"entity.{TIME} - INTERVAL {view.ttl_seconds} SECOND"
    return f"CASE WHEN {view.name}.{TIME} >= {oldest} THEN {view.name}.{feature} END AS {feature}"


if __name__ == "__main__":
    main(*sys.argv[1:])
