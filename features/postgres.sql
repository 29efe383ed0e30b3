-- The demo's feature sources as PostgreSQL tables: the same columns as features/*.parquet.
-- Feast reads them with `PostgreSQLSource(table="driver_hourly_stats", timestamp_field="event_timestamp",
-- created_timestamp_column="created")`.

CREATE TABLE IF NOT EXISTS driver_hourly_stats (
    driver_id       bigint      NOT NULL,
    event_timestamp timestamptz NOT NULL,
    created         timestamptz NOT NULL,
    conv_rate       real,
    acc_rate        real,
    avg_daily_trips bigint,
    online_minutes  integer
);
CREATE INDEX IF NOT EXISTS driver_hourly_stats_key ON driver_hourly_stats (driver_id, event_timestamp DESC, created DESC);

CREATE TABLE IF NOT EXISTS driver_profile (
    driver_id       bigint      NOT NULL,
    event_timestamp timestamptz NOT NULL,
    created         timestamptz NOT NULL,
    home_city       text,
    is_premium      boolean,
    years_active    integer,
    last_login      timestamptz,
    recent_ratings  real[],
    badges          text[]
);
CREATE INDEX IF NOT EXISTS driver_profile_key ON driver_profile (driver_id, event_timestamp DESC, created DESC);

CREATE TABLE IF NOT EXISTS customer_stats (
    customer_id     text        NOT NULL,
    event_timestamp timestamptz NOT NULL,
    created         timestamptz NOT NULL,
    lifetime_trips  bigint,
    avg_tip         double precision,
    churn_risk      real,
    rating          real
);
CREATE INDEX IF NOT EXISTS customer_stats_key ON customer_stats (customer_id, event_timestamp DESC, created DESC);

CREATE TABLE IF NOT EXISTS driver_customer_affinity (
    driver_id       bigint      NOT NULL,
    customer_id     text        NOT NULL,
    event_timestamp timestamptz NOT NULL,
    created         timestamptz NOT NULL,
    trips_together  bigint,
    rating          double precision
);
CREATE INDEX IF NOT EXISTS driver_customer_affinity_key
    ON driver_customer_affinity (driver_id, customer_id, event_timestamp DESC, created DESC);

-- Labelled trips: entity rows for point-in-time joins.
CREATE TABLE IF NOT EXISTS trips (
    trip_id         bigint           NOT NULL PRIMARY KEY,
    driver_id       bigint           NOT NULL,
    customer_id     text             NOT NULL,
    event_timestamp timestamptz      NOT NULL,
    trip_km         double precision NOT NULL,
    score           double precision NOT NULL,
    accepted        bigint           NOT NULL,
    eta_min         double precision NOT NULL
);
