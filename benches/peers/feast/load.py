"""What is asked for, and of whom: views, scenarios, bodies. Used by the maker of the repository and by the driver."""

import random

SERVED_ENTITIES = 100_000
SERVED_DATABASE, WRITTEN_DATABASE = 8, 9  # of Redis; both are emptied
BODIES = 2000

SERVED = {"three": ["f0", "d0", "i0"]} | {
    f"ten_{view}": [f"{kind}{view}{number}" for kind, count in (("f", 4), ("d", 3), ("i", 3)) for number in range(count)]
    for view in range(1, 6)
}
THREE = [f"three:{feature}" for feature in SERVED["three"]]
FIFTY = [f"{view}:{feature}" for view in SERVED if view != "three" for feature in SERVED[view]]

# Name, features, entities of one request, bar for requests/s against Feast's at 8 connections (None: no bar).
SCENARIOS = [
    ("3 features x 1", THREE, 1, 20),
    ("50 features x 1", FIFTY, 1, 20),
    ("50 features x 50", FIFTY, 50, 15),
    ("50 features x 100", FIFTY, 100, None),
]


def project(repo):
    return f"bench_{repo.name}"


def bodies(features, n_entities):
    """Random entities, the same ones at each run."""
    chosen = random.Random(7)
    for _ in range(BODIES):
        yield {"features": features, "entities": {"driver_id": chosen.sample(range(SERVED_ENTITIES), n_entities)}}
