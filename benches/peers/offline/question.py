"""What is asked: three views over one entity. Used by all of the bench's programs, so it needs no package."""

import os
from dataclasses import dataclass

KEY, TIME, CREATED = "driver_id", "event_timestamp", "created"
# A number of each entity row. No program knows its meaning; by it their answers are compared.
ROW = "row_id"
ROWS_PER_DRIVER = 100
DAYS = 60  # that the source rows are spread over
PROJECT = "bench_offline"


@dataclass(frozen=True)
class View:
    name: str
    features: dict[str, str]  # name -> `float` or `int`
    ttl_seconds: int  # 0: for ever


VIEWS = [
    View("trips", {"conv_rate": "float", "acc_rate": "float", "n_trips": "int"}, 86400),
    View("account", {"rating": "float", "n_complaints": "int"}, 0),
    View("vehicle", {"range_km": "float", "odometer_km": "int", "battery": "float"}, 7 * 86400),
]
FEATURES = [feature for view in VIEWS for feature in view.features]
REFERENCES = [f"{view.name}:{feature}" for view in VIEWS for feature in view.features]


@dataclass(frozen=True)
class Size:
    """The same number of source rows in each view."""

    n_entity_rows: int
    n_source_rows: int

    @property
    def name(self):
        return f"{self.n_entity_rows}_{self.n_source_rows}"

    @property
    def n_drivers(self):
        return max(1, self.n_source_rows // ROWS_PER_DRIVER)


def schema(size):
    """Of the Postgres database: the tables of a size."""
    return f"offline_{size}"


def postgres_url():
    return os.environ["TERRARIUM_POSTGRES"]
