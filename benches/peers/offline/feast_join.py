"""The same question for Feast:

    feast_join.py REPO ENTITIES OUT     a Parquet file or a query; prints {"seconds": ...}, without importing what Feast needs
"""

import json
import sys
import time

import pandas as pd
from feast import FeatureStore
from question import REFERENCES


def main(repo, entities, out):
    store = FeatureStore(repo_path=repo)
    assert store.config.offline_store, "the store's packages are imported when it is asked for"
    started = time.monotonic()
    rows = pd.read_parquet(entities) if entities.endswith(".parquet") else entities
    store.get_historical_features(rows, REFERENCES).to_df().to_parquet(out)
    print(json.dumps({"seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
