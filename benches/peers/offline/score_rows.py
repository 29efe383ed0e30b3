"""Rows of ten numbers to score, and a registry with the models that score them:

    score_rows.py DIRECTORY ROWS        `DIRECTORY/rows.parquet`, `DIRECTORY/models`
    score_rows.py check SCORES SUM      fails unless the last numbers of the last output add up to SUM
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

COLUMNS = [f"f{number}" for number in range(10)]
CHUNK = 500_000
ROW_GROUP = 128 * 1024
MODELS = Path("benches/models")
ML_MODEL = """\
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.23.2
signature:
  inputs: '%s'
"""


def main(directory, n_rows):
    directory, n_rows = Path(directory), int(n_rows)
    directory.mkdir(parents=True)
    for model in ("gbt", "mlp"):
        version = directory / "models" / model / "1"
        version.mkdir(parents=True)
        shutil.copy(MODELS / f"{model}.onnx", version / "model.onnx")
        inputs = [{"type": "float", "name": name, "required": True} for name in COLUMNS]
        (version / "MLmodel").write_text(ML_MODEL % json.dumps(inputs))
    chosen = np.random.default_rng(7)
    schema = pa.schema([(name, pa.float32()) for name in COLUMNS])
    with pq.ParquetWriter(directory / "rows.parquet", schema) as writer:
        for first in range(0, n_rows, CHUNK):
            rows = chosen.standard_normal((min(CHUNK, n_rows - first), len(COLUMNS)), dtype=np.float32)
            writer.write_table(pa.table(list(rows.T), schema=schema), row_group_size=ROW_GROUP)


def check(scores, wanted):
    file = pq.ParquetFile(scores)
    names = file.schema_arrow.names
    output = names[names.index("score_error") - 1]
    total = 0.0
    for batch in file.iter_batches(columns=[output]):
        column = batch.column(0)
        if pa.types.is_list(column.type):
            column = pc.list_element(column, len(column[0]) - 1)
        total += np.asarray(column, dtype=np.float64).sum()
    if not np.isclose(total, float(wanted), rtol=1e-6):
        sys.exit(f"the scores of {scores} add up to {total} and not to {wanted}")


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
