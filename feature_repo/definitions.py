"""Feast definitions of the demo. `feast apply` turns them into registry.db (see README.md)."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project, PushSource, ValueType
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

project = Project(name="terrarium_demo", description="Drivers, customers and trips")

# --- entities ---

driver = Entity(
    name="driver",
    join_keys=["driver_id"],
    value_type=ValueType.INT64,
    description="A driver of the ride service",
    tags={"team": "marketplace"},
    owner="marketplace@example.com",
)
customer = Entity(
    name="customer",
    join_keys=["customer_id"],
    value_type=ValueType.STRING,
    description="A customer of the ride service",
    tags={"team": "growth"},
    owner="growth@example.com",
)

# --- sources: paths are relative to this directory ---


def parquet(name, description):
    return FileSource(
        name=f"{name}_source",
        path=f"../features/{name}.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        description=description,
    )


driver_hourly_stats_source = parquet("driver_hourly_stats", "Hourly aggregates of the dispatch log")
driver_profile_source = parquet("driver_profile", "Snapshots of the driver table")
customer_stats_source = parquet("customer_stats", "Nightly aggregates of the billing tables")
driver_customer_affinity_source = parquet("driver_customer_affinity", "What a driver and a customer did together")

driver_stats_push = PushSource(
    name="driver_stats_push",
    batch_source=driver_hourly_stats_source,
    description="Fresh hourly statistics, pushed by the dispatcher",
)

# --- feature views ---

driver_hourly_stats = FeatureView(
    name="driver_hourly_stats",
    entities=[driver],
    ttl=timedelta(hours=1),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="conv_rate", dtype=Float32, description="Offers that became trips"),
        Field(name="acc_rate", dtype=Float32, description="Offers that the driver accepted"),
        Field(name="avg_daily_trips", dtype=Int64, description="Trips a day, over the last week"),
        Field(name="online_minutes", dtype=Int32, description="Minutes online within the hour"),
    ],
    source=driver_stats_push,
    online=True,
    description="How a driver did in the last hour",
    tags={"team": "marketplace", "tier": "gold"},
    owner="marketplace@example.com",
)

driver_profile = FeatureView(
    name="driver_profile",
    entities=[driver],
    ttl=timedelta(0),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="home_city", dtype=String),
        Field(name="is_premium", dtype=Bool),
        Field(name="years_active", dtype=Int32),
        Field(name="last_login", dtype=UnixTimestamp),
        Field(name="recent_ratings", dtype=Array(Float32), description="The last four ratings, oldest first"),
        Field(name="badges", dtype=Array(String)),
    ],
    source=driver_profile_source,
    online=True,
    description="What is known of a driver",
    tags={"team": "marketplace"},
    owner="marketplace@example.com",
)

customer_stats = FeatureView(
    name="customer_stats",
    entities=[customer],
    ttl=timedelta(days=1),
    schema=[
        Field(name="customer_id", dtype=String),
        Field(name="lifetime_trips", dtype=Int64),
        Field(name="avg_tip", dtype=Float64),
        Field(name="churn_risk", dtype=Float32),
        Field(name="rating", dtype=Float32, description="Mean rating that drivers gave"),
    ],
    source=customer_stats_source,
    online=True,
    description="What a customer did so far",
    tags={"team": "growth"},
    owner="growth@example.com",
)

driver_customer_affinity = FeatureView(
    name="driver_customer_affinity",
    entities=[driver, customer],
    ttl=timedelta(days=30),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="customer_id", dtype=String),
        Field(name="trips_together", dtype=Int64),
        Field(name="rating", dtype=Float64, description="Mean rating that this customer gave this driver"),
    ],
    source=driver_customer_affinity_source,
    online=True,
    description="What a driver and a customer did together",
    tags={"team": "marketplace"},
    owner="marketplace@example.com",
)

# --- feature services: what a model asks for ---

driver_ranking_v1 = FeatureService(
    name="driver_ranking_v1",
    features=[driver_hourly_stats[["conv_rate", "acc_rate", "avg_daily_trips"]]],
    description="Features of the model driver_ranking",
    tags={"model": "driver_ranking"},
    owner="marketplace@example.com",
)

# `rating` is in two views: the model names them `rider__rating` and `driver_customer_affinity__rating`.
trip_acceptance_v1 = FeatureService(
    name="trip_acceptance_v1",
    features=[
        driver_hourly_stats[["conv_rate", "acc_rate"]],
        customer_stats[["lifetime_trips", "avg_tip", "churn_risk", "rating"]].with_name("rider"),
        driver_customer_affinity,
    ],
    description="Features of the model trip_acceptance",
    tags={"model": "trip_acceptance"},
    owner="growth@example.com",
)

# The order matters here: trip_eta takes one tensor, filled in this order. Its customer comes as `rider_id`.
trip_eta_v1 = FeatureService(
    name="trip_eta_v1",
    features=[
        driver_hourly_stats[["avg_daily_trips"]],
        driver_profile[["recent_ratings", "years_active"]],
        customer_stats[["rating"]].with_name("rider").with_join_key_map({"customer_id": "rider_id"}),
    ],
    description="Features of the model trip_eta",
    tags={"model": "trip_eta"},
    owner="marketplace@example.com",
)
