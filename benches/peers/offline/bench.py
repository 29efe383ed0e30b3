"""Drives the point-in-time joins of Terrarium, DuckDB, Postgres and the real Feast in turns, over the same rows; and batch scores
beside their floor. Run by dev/bench-peers, in the repository root:

    bench.py TERRARIUM FLOOR VENV WORK      FLOOR is the directory of the floor's programs, WORK an empty one; the part `postgres`
                                            wants TERRARIUM_POSTGRES, `score` ORT_DYLIB_PATH
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, "dev")

import bench as common
from question import KEY, REFERENCES, ROW, TIME, VIEWS, Size, schema

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS", 1 if QUICK else 3))
PARTS = os.environ.get("PARTS", "parquet,postgres,score").split(",")
WHOLE = Size(int(os.environ["ENTITY_ROWS"]), int(os.environ["SOURCE_ROWS"]))
SCORE_ROWS = int(os.environ["SCORE_ROWS"])
BATCHES = (64, 256, 1024, 4096, 16384)  # of the floor; the best one is compared with
FEASTS = Size(int(os.environ["ENTITY_ROWS_FEAST"]), int(os.environ["SOURCE_ROWS_FEAST"]))
SCRIPTS = Path(__file__).parent
ENTITY_QUERY = f"SELECT {ROW}, {KEY}, {TIME} FROM entity_rows"
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Engine:
    """`command` makes a command of the directory of a size and the file to write."""

    name: str
    command: Callable[[Path, Path], list]
    # Programs of Python time themselves, without what they import.
    times_itself: bool = True


@dataclass(frozen=True)
class Run:
    seconds: float
    peak: int  # of resident memory, in bytes


@dataclass(frozen=True)
class Programs:
    terrarium: str
    python: str
    work: Path

    def own(self, entities, out):
        return [self.terrarium, "features", "historical", "--entities", entities, "--features", ",".join(REFERENCES), "--out", out]

    def script(self, name, *arguments):
        return [self.python, SCRIPTS / name, *map(str, arguments)]


def main(terrarium, floor, venv, work):
    programs = Programs(terrarium, f"{venv}/bin/python", Path(work))
    rows = f"{WHOLE.n_entity_rows} entity rows and {WHOLE.n_source_rows} source rows in each of {len(VIEWS)} views"
    common.print_machine(f"{ROUNDS} rounds, up to {rows}")
    if "parquet" in PARTS:
        parquet(programs)
    if "postgres" in PARTS:
        postgres(programs)
    if "score" in PARTS:
        score(programs, floor)
    common.print_machine("afterwards")


def parquet(programs):
    def entities(directory):
        return directory / "entity_rows.parquet"

    engines = [
        Engine("terrarium", lambda directory, out: programs.own(entities(directory), out), times_itself=False),
        Engine("duckdb", lambda directory, out: programs.script("duckdb_join.py", directory, out)),
        Engine("feast files", lambda directory, out: programs.script("feast_join.py", directory, entities(directory), out)),
    ]
    results = {size: measure(programs, "files", size, engines) for size in sizes()}
    print_tables("Parquet", results)
    common.print_bar("offline_parquet_vs_feast", ratio(results[FEASTS], "feast files", "terrarium"), ">=", 10)
    common.print_bar("offline_parquet_vs_duckdb", ratio(results[WHOLE], "terrarium", "duckdb"), "<=", 1.5)
    peak = max(round_["terrarium"].peak for rounds in results.values() for round_ in rounds)
    common.print_bar("offline_parquet_peak_mib", peak / MEBIBYTE, "<=", 1024)


def postgres(programs):
    """The entity rows are a table, too."""

    def by_hand(form):
        return lambda directory, out: programs.script("sql_join.py", form, schema(directory.name), out)

    engines = [
        Engine("terrarium", lambda _, out: programs.own(ENTITY_QUERY, out), times_itself=False),
        Engine("sql lateral", by_hand("lateral")),
        Engine("sql window", by_hand("window")),
        Engine("feast postgres", lambda directory, out: programs.script("feast_join.py", directory / "postgres", ENTITY_QUERY, out)),
    ]
    results = {size: measure(programs, "postgres", size, engines) for size in sizes()}
    print_tables("Postgres", results)
    best = min(("sql lateral", "sql window"), key=lambda name: median(round_[name].seconds for round_ in results[WHOLE]))
    common.print_bar("offline_postgres_vs_sql", ratio(results[WHOLE], "terrarium", best), "<=", 1.2)
    common.print_bar("offline_postgres_vs_feast", ratio(results[FEASTS], "feast postgres", "terrarium"), ">=", 5)


def score(programs, floor):
    """`terrarium score` of rows that have all inputs, beside reading them and bare runs."""
    directory = programs.work / "score"
    execute(programs.script("score_rows.py", directory, SCORE_ROWS), {})
    rows, out = directory / "rows.parquet", directory / "scores.parquet"
    settings = {"TERRARIUM__FEATURES__REPO": "", "TERRARIUM__REGISTRY__LOCAL__PATH": str(directory / "models")}
    settings["TERRARIUM__AUDIT__FILE__DIRECTORY"] = str(directory / "audit")
    table = []
    for model in ("gbt", "mlp"):

        def bare(batch, model=model):
            return [f"{floor}/score", f"benches/models/{model}.onnx", os.environ["ORT_DYLIB_PATH"], rows, str(batch)]

        own = [programs.terrarium, "score", "--model", model, "--entities", rows, "--out", out]
        _, _, printed = execute(bare(BATCHES[-1]), {})  # and the rows come into the page cache
        execute(own, settings)
        execute(programs.script("score_rows.py", "check", out, printed.split()[1]), {})
        results = []
        for _ in range(ROUNDS):
            floors = {batch: float(execute(bare(batch), {})[2].split()[0]) for batch in BATCHES}
            seconds, peak, _ = execute(own, settings)
            results.append((min(floors, key=floors.get), min(floors.values()), seconds, peak))
        ratio = median(best / seconds for _, best, seconds, _ in results)
        batch, best, seconds, _ = sorted(results, key=lambda result: result[1] / result[2])[len(results) // 2]
        peak = max(result[3] for result in results) / MEBIBYTE
        table.append(f"| {model} | {SCORE_ROWS} | {SCORE_ROWS / seconds:.0f} | {SCORE_ROWS / best:.0f} (batches of {batch}) | {ratio:.2f} | {peak:.0f} |")
        common.print_bar(f"score_{model}_vs_bare", ratio, ">=", 0.7)
    print("\n| model | rows | terrarium score, rows/s | reading and bare runs, rows/s | ratio | peak MiB |\n|---|---:|---:|---:|---:|---:|")
    print("\n".join(table), flush=True)


def sizes():
    """Those of Feast, to see how it grows, and the whole."""
    parts = (2, 1) if QUICK else (4, 2, 1)
    of_feast = [Size(FEASTS.n_entity_rows // part, FEASTS.n_source_rows // part) for part in parts]
    return list(dict.fromkeys([*of_feast, WHOLE]))


def measure(programs, store, size, engines):
    """One dict a round: engine -> run. The engines take turns, and the first one changes. Feast is not asked for the whole."""
    print(f"{store}, {size.n_entity_rows} x {size.n_source_rows}", flush=True)
    directory = programs.work / size.name
    settings = terrarium_settings(directory if store == "files" else directory / "postgres", programs.work)
    execute(programs.script("data.py", directory, size.n_entity_rows, size.n_source_rows), settings)
    execute(programs.script("repository.py", store, directory), settings)
    asks_feast = size == FEASTS or size != WHOLE
    asked = [engine for engine in engines if asks_feast or not engine.name.startswith("feast")]
    answers = {engine: directory / f"answer_{number}.parquet" for number, engine in enumerate(asked)}
    # In this first turn, which does not count, the sources come into the page cache.
    for engine, answer in answers.items():
        timed(engine, directory, answer, settings)
    compared = [f"{engine.name}={answer}" for engine, answer in answers.items()]
    print(execute(programs.script("compare.py", directory, *compared), settings)[2], end="", flush=True)
    rounds = []
    for number in range(ROUNDS):
        first = number % len(asked)
        order = asked[first:] + asked[:first]
        rounds.append({engine.name: timed(engine, directory, answers[engine], settings) for engine in order})
    if store == "postgres":
        execute(programs.script("repository.py", "drop", directory), settings)
    shutil.rmtree(directory)
    return rounds


def terrarium_settings(repo, work):
    """The repository, and a model registry without models."""
    models = work / "models"
    models.mkdir(exist_ok=True)
    return {"TERRARIUM__FEATURES__REPO": str(repo), "TERRARIUM__REGISTRY__LOCAL__PATH": str(models)}


def timed(engine, directory, answer, settings):
    answer.unlink(missing_ok=True)
    seconds, peak, output = execute(engine.command(directory, answer), settings)
    return Run(json.loads(output)["seconds"] if engine.times_itself else seconds, peak)


def execute(command, settings):
    """(seconds, peak of resident memory in bytes, what it printed). Fails if the command does."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen(command, env=os.environ | settings, stdin=subprocess.DEVNULL, stdout=output, stderr=log)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # a signal to us
            process.kill()
            raise
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read().decode(errors="replace")
        if process.returncode != 0:
            log.seek(0)
            told = log.read().decode(errors="replace")
            sys.exit(f"error: {' '.join(map(str, command))} ended with {process.returncode}\n{printed}{told}")
    return seconds, usage.ru_maxrss * 1024, printed


def ratio(rounds, name, to):
    return median(round_[name].seconds / round_[to].seconds for round_ in rounds)


def print_tables(where, results):
    print(f"\n| {where}: engine | entity rows | source rows | seconds | rows/s | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|")
    for size, rounds in results.items():
        for name in sorted(rounds[0]):
            seconds = median(round_[name].seconds for round_ in rounds)
            peak = max(round_[name].peak for round_ in rounds) / MEBIBYTE
            rate = size.n_entity_rows / seconds
            print(f"| {name} | {size.n_entity_rows} | {size.n_source_rows} | {seconds:.2f} | {rate:.0f} | {peak:.0f} |")
    others = sorted({name for rounds in results.values() for name in rounds[0]} - {"terrarium"})
    print(f"\n| {where}: entity rows | source rows | {' | '.join(f'{name} / terrarium' for name in others)} |")
    print(f"|---:|---:|{'---:|' * len(others)}")
    for size, rounds in results.items():
        ratios = [f"{ratio(rounds, name, 'terrarium'):.2f}" if name in rounds[0] else "" for name in others]
        print(f"| {size.n_entity_rows} | {size.n_source_rows} | {' | '.join(ratios)} |")
    print("\nmedians over the rounds, peaks: the greatest; ratios: medians of the ratios of seconds within a round\n", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: bench.py TERRARIUM FLOOR VENV WORK")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main(*sys.argv[1:])
