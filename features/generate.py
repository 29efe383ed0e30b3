"""Writes the demo's feature sources, features/*.parquet. Same seed, same bytes.

Drivers 1001-1010 and customers c-2001 - c-2006 between 2026-11-01 and 2026-11-20, with the holes that real data has:
nulls in the newest row, entities that some view does not know, a driver who stopped driving, a row corrected later.
"""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
START = datetime(2026, 11, 1, tzinfo=timezone.utc)
N_DAYS = 20

DRIVERS = list(range(1001, 1011))
DRIVERS_WITH_STATS = [d for d in DRIVERS if d != 1010]
DRIVERS_WITH_PROFILE = [d for d in DRIVERS if d != 1009]
CUSTOMERS = [f"c-{n}" for n in range(2001, 2007)]
CUSTOMERS_WITH_STATS = [c for c in CUSTOMERS if c != "c-2005"]
CUSTOMERS_WITH_AFFINITY = [c for c in CUSTOMERS if c != "c-2006"]
STOPPED_DRIVER, LAST_DAY_OF_STOPPED = 1007, 12

TIMESTAMP = pa.timestamp("us", tz="UTC")


def write(name, schema, rows):
    rows.sort(key=lambda row: (row["event_timestamp"], row.get("created", START)))
    table = pa.Table.from_pylist(rows, schema=pa.schema(schema))
    path = HERE / f"{name}.parquet"
    pq.write_table(table, path)
    print(f"{path.name}: {table.num_rows} rows, {path.stat().st_size} bytes")


def f32(value):
    return float(np.float32(value))


def newest(rows, **key):
    matching = [row for row in rows if all(row[k] == v for k, v in key.items())]
    return max(matching, key=lambda row: (row["event_timestamp"], row["created"]))


def driver_hourly_stats(rng):
    rows = []
    for driver in DRIVERS_WITH_STATS:
        skill = 0.35 + 0.06 * (driver % 10)
        last_day = LAST_DAY_OF_STOPPED if driver == STOPPED_DRIVER else N_DAYS
        for day in range(last_day):
            for hour in sorted(rng.choice(np.arange(6, 23), size=2, replace=False)):
                at = START + timedelta(days=day, hours=int(hour))
                rows.append({
                    "driver_id": driver,
                    "event_timestamp": at,
                    "created": at + timedelta(minutes=5),
                    "conv_rate": f32(round(np.clip(rng.normal(skill, 0.12), 0.01, 0.99), 4)),
                    "acc_rate": f32(round(np.clip(rng.normal(0.92 - skill / 3, 0.1), 0.01, 0.99), 4)),
                    "avg_daily_trips": int(rng.integers(3, 40)),
                    "online_minutes": int(rng.integers(20, 61)),
                })
    corrected = dict(newest(rows, driver_id=1003))
    corrected.update(created=corrected["created"] + timedelta(hours=2), conv_rate=f32(0.7311), avg_daily_trips=21)
    rows.append(corrected)
    newest(rows, driver_id=1004).update(conv_rate=None)
    newest(rows, driver_id=1005).update(avg_daily_trips=None)
    newest(rows, driver_id=1006).update(conv_rate=None, acc_rate=None, online_minutes=None)
    write("driver_hourly_stats", [
        ("driver_id", pa.int64()), ("event_timestamp", TIMESTAMP), ("created", TIMESTAMP),
        ("conv_rate", pa.float32()), ("acc_rate", pa.float32()), ("avg_daily_trips", pa.int64()),
        ("online_minutes", pa.int32()),
    ], rows)
    return rows


def driver_profile(rng):
    cities = ["Zürich", "São Paulo", "Nairobi", "Osaka", "Tallinn"]
    badges = ["night_owl", "five_star", "airport", "quiet_ride", "first_aid"]
    rows = []
    for driver in DRIVERS_WITH_PROFILE:
        years = int(rng.integers(1, 15))
        for at in (START, START + timedelta(days=int(rng.integers(8, 18)), hours=int(rng.integers(0, 24)))):
            rows.append({
                "driver_id": driver,
                "event_timestamp": at,
                "created": at + timedelta(minutes=30),
                "home_city": cities[driver % 5],
                "is_premium": bool(driver % 3 == 0),
                "years_active": years,
                "last_login": at - timedelta(seconds=int(rng.integers(60, 86_400))),
                "recent_ratings": [f32(round(r, 2)) for r in np.clip(rng.normal(4.4, 0.5, size=4), 1, 5)],
                "badges": [str(b) for b in rng.choice(badges, size=int(rng.integers(1, 4)), replace=False)],
            })
    newest(rows, driver_id=1002).update(is_premium=True)
    newest(rows, driver_id=1003).update(home_city=None)
    newest(rows, driver_id=1005).update(recent_ratings=None)
    newest(rows, driver_id=1006).update(years_active=None)
    newest(rows, driver_id=1008).update(badges=None)
    write("driver_profile", [
        ("driver_id", pa.int64()), ("event_timestamp", TIMESTAMP), ("created", TIMESTAMP),
        ("home_city", pa.string()), ("is_premium", pa.bool_()), ("years_active", pa.int32()),
        ("last_login", TIMESTAMP), ("recent_ratings", pa.list_(pa.float32())), ("badges", pa.list_(pa.string())),
    ], rows)
    return rows


def customer_stats(rng):
    rows = []
    for customer in CUSTOMERS_WITH_STATS:
        trips = int(rng.integers(4, 300))
        for day in range(N_DAYS):
            at = START + timedelta(days=day)
            trips += int(rng.integers(0, 4))
            rows.append({
                "customer_id": customer,
                "event_timestamp": at,
                "created": at + timedelta(hours=1),
                "lifetime_trips": trips,
                "avg_tip": round(float(rng.gamma(2.0, 1.3)), 3),
                "churn_risk": f32(round(rng.beta(2, 5), 4)),
                "rating": f32(round(np.clip(rng.normal(4.5, 0.3), 1, 5), 2)),
            })
    newest(rows, customer_id="c-2003").update(avg_tip=None)
    newest(rows, customer_id="c-2004").update(churn_risk=None, rating=None)
    write("customer_stats", [
        ("customer_id", pa.string()), ("event_timestamp", TIMESTAMP), ("created", TIMESTAMP),
        ("lifetime_trips", pa.int64()), ("avg_tip", pa.float64()), ("churn_risk", pa.float32()),
        ("rating", pa.float32()),
    ], rows)
    return rows


def driver_customer_affinity(rng):
    rows = []
    for driver in DRIVERS:
        for customer in CUSTOMERS_WITH_AFFINITY:
            if (driver + int(customer[2:])) % 3 == 0:
                continue  # these two never met
            together = 0
            for day in (0, 7, int(rng.integers(10, 20))):
                at = START + timedelta(days=day, hours=3)
                together += int(rng.integers(1, 5))
                rows.append({
                    "driver_id": driver,
                    "customer_id": customer,
                    "event_timestamp": at,
                    "created": at + timedelta(minutes=1),
                    "trips_together": together,
                    "rating": round(float(np.clip(rng.normal(4.2, 0.7), 1, 5)), 3),
                })
    newest(rows, driver_id=1001, customer_id="c-2001").update(rating=None)
    newest(rows, driver_id=1008, customer_id="c-2003").update(rating=None, trips_together=None)
    write("driver_customer_affinity", [
        ("driver_id", pa.int64()), ("customer_id", pa.string()),
        ("event_timestamp", TIMESTAMP), ("created", TIMESTAMP),
        ("trips_together", pa.int64()), ("rating", pa.float64()),
    ], rows)
    return rows


def trips(rng, stats, profiles, customers, affinities):
    """Labelled trips: what the models are trained on, and entity rows for point-in-time joins."""
    years = {row["driver_id"]: row["years_active"] or 5 for row in profiles}
    rating = {row["driver_id"]: np.mean(row["recent_ratings"] or [4.2]) for row in profiles}
    risk = {row["customer_id"]: row["churn_risk"] or 0.3 for row in customers}
    met = {(row["driver_id"], row["customer_id"]): row["trips_together"] or 0 for row in affinities}
    rows, seen = [], set()
    while len(rows) < 600:
        base = stats[int(rng.integers(len(stats)))]
        driver, customer = base["driver_id"], CUSTOMERS[int(rng.integers(len(CUSTOMERS)))]
        at = base["event_timestamp"] + timedelta(minutes=int(rng.integers(10, 59)))
        if (driver, customer, at) in seen:
            continue
        seen.add((driver, customer, at))
        conv, acc, n_trips = base["conv_rate"] or 0.5, base["acc_rate"] or 0.7, base["avg_daily_trips"] or 15
        km = round(float(rng.gamma(2.0, 4.0)) + 0.3, 2)
        wish = 4 * conv + 2 * acc - 4 * risk.get(customer, 0.5) + 0.25 * met.get((driver, customer), 0) - 2.6
        eta = 3 + 0.15 * n_trips - 0.2 * years.get(driver, 3) + 1.5 * (5 - rating.get(driver, 4.2))
        rows.append({
            "trip_id": len(rows) + 1,
            "driver_id": driver,
            "customer_id": customer,
            "event_timestamp": at,
            "trip_km": km,
            "score": round(float(np.clip(0.6 * conv + 0.3 * acc + 0.1 / (1 + km / 10) + rng.normal(0, 0.02), 0, 1)), 4),
            "accepted": int(rng.random() < 1 / (1 + np.exp(-wish))),
            "eta_min": round(float(max(1.0, eta + rng.normal(0, 0.4))), 2),
        })
    write("trips", [
        ("trip_id", pa.int64()), ("driver_id", pa.int64()), ("customer_id", pa.string()),
        ("event_timestamp", TIMESTAMP), ("trip_km", pa.float64()),
        ("score", pa.float64()), ("accepted", pa.int64()), ("eta_min", pa.float64()),
    ], rows)


def main():
    rng = np.random.default_rng(20261101)
    stats = driver_hourly_stats(rng)
    profiles = driver_profile(rng)
    customers = customer_stats(rng)
    affinities = driver_customer_affinity(rng)
    trips(rng, stats, profiles, customers, affinities)


if __name__ == "__main__":
    main()
