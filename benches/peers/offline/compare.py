"""Compares answers to the question as sets of rows; fails unless all are alike:

    compare.py DIRECTORY ENGINE=ANSWER...       Parquet files; the others are compared with the first one

The answer of `feast files` may differ where Feast's file store is known to, and only there:
  no match    a row is missing, for which some view has nothing
  equal rows  a row is missing, and a row of the same driver and time is there
  one time    of source rows of one event timestamp another one was taken than that created last
"""

import sys

import duckdb
from question import FEATURES, KEY, ROW, TIME, VIEWS

KINDS = {name: kind for view in VIEWS for name, kind in view.features.items()}


def main(directory, *answers):
    connection = duckdb.connect()
    names = [answer.partition("=")[0] for answer in answers]
    for number, answer in enumerate(answers):
        connection.execute(f"CREATE TABLE answer_{number} AS {as_read(answer.partition('=')[2])}")
    n_rows = count(connection, f"FROM '{directory}/entity_rows.parquet'")
    if count(connection, "FROM answer_0") != n_rows:
        sys.exit(f"error: {names[0]} does not answer each of {n_rows} entity rows once")
    for number, name in enumerate(names[1:], start=1):
        if name == "feast files":
            told = check_feast_files(connection, directory, number)
        else:
            told = check_alike(connection, name, number)
        print(f"{names[0]} and {name} agree on {n_rows} entity rows{told}")


def as_read(path):
    """In the same types, whatever an engine writes."""
    casts = [f"{ROW}::BIGINT AS {ROW}", f"{KEY}::BIGINT AS {KEY}", f"epoch_us({TIME}::TIMESTAMPTZ) AS {TIME}"]
    casts += [f"{name}::{'DOUBLE' if KINDS[name] == 'float' else 'BIGINT'} AS {name}" for name in FEATURES]
    return f"SELECT {', '.join(casts)} FROM '{path}'"


def count(connection, what):
    return connection.execute(f"SELECT count(*) {what}").fetchone()[0]


def check_alike(connection, name, number):
    lacking = count(connection, f"FROM (FROM answer_0 EXCEPT ALL FROM answer_{number})")
    others = count(connection, f"FROM (FROM answer_{number} EXCEPT ALL FROM answer_0)")
    if lacking or others:
        sys.exit(f"error: the answer of {name} lacks {lacking} rows and has {others} others")
    return ""


def check_feast_files(connection, directory, number):
    given = f"SELECT {ROW}, {KEY}, {TIME} FROM answer_"
    if count(connection, f"FROM ({given}{number} EXCEPT ALL {given}0)"):
        sys.exit("error: Feast's answer has rows that are no entity rows, or has one twice")
    connection.execute(f"CREATE TABLE missing AS FROM answer_0 WHERE {ROW} NOT IN (SELECT {ROW} FROM answer_{number})")
    n_missing = count(connection, "FROM missing")
    # A whole number is null only where nothing was found.
    nothing = " OR ".join(f"{name} IS NULL" for name in FEATURES if KINDS[name] == "int")
    n_unmatched = count(connection, f"FROM missing WHERE {nothing}")
    n_equal = count(connection, f"FROM missing SEMI JOIN answer_{number} USING ({KEY}, {TIME}) WHERE NOT ({nothing})")
    if n_missing != n_unmatched + n_equal:
        sys.exit(f"error: Feast's answer lacks {n_missing - n_unmatched - n_equal} rows for no known reason")
    n_tied = sum(tied(connection, directory, number, view) for view in VIEWS)
    return f", but for no match {n_unmatched}, equal rows {n_equal}, one time {n_tied}"


def tied(connection, directory, number, view):
    """How many rows have another source row's features; it must be of the right driver and event timestamp."""

    def features(of):
        return f"row({', '.join(f'{of}.{name}' for name in view.features)})"

    both = f"answer_{number} AS other JOIN answer_0 AS ours USING ({ROW})"
    wrong = f"SELECT other.* FROM {both} WHERE {features('other')} <> {features('ours')}"
    n_wrong = count(connection, f"FROM ({wrong})")
    age = f"wrong.{TIME} - epoch_us(source.{TIME})"
    in_time = f"{age} BETWEEN 0 AND {view.ttl_seconds * 1_000_000}" if view.ttl_seconds else f"{age} >= 0"
    near = (
        f"SELECT wrong.{ROW}, {features('wrong')} = {features('source')} AS is_it FROM ({wrong}) AS wrong "
        f"JOIN '{directory}/{view.name}.parquet' AS source ON wrong.{KEY} = source.{KEY} AND {in_time} "
        f"QUALIFY rank() OVER (PARTITION BY wrong.{ROW} ORDER BY source.{TIME} DESC) = 1"
    )
    n_explained = connection.execute(f"SELECT count(DISTINCT {ROW}) FROM ({near}) WHERE is_it").fetchone()[0]
    if n_explained != n_wrong:
        sys.exit(f"error: Feast has {n_wrong - n_explained} rows with features of `{view.name}` for no known reason")
    return n_wrong


if __name__ == "__main__":
    main(*sys.argv[1:])
