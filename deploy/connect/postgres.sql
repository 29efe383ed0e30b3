-- The table that the JDBC sink writes, one row for each audit event, and flat views of it for BI tools.
-- Run once, before the connector is made: psql --file deploy/connect/postgres.sql
-- The columns are those of `audit.kafka.format = "connect_json"`; columns that a later version adds, the connector adds.

CREATE TABLE IF NOT EXISTS audit_events (
    id               uuid PRIMARY KEY,
    time             timestamptz NOT NULL,
    writer           uuid NOT NULL,
    sequence         bigint NOT NULL,
    schema_version   bigint NOT NULL,
    status           text NOT NULL,
    request_id       text,
    trace_id         text,
    principal        text,
    surface          text,
    model            text,
    model_version    text,
    model_alias      text,
    model_requested  text,
    variants         jsonb,
    shadow_of        uuid,
    n_rows           bigint,
    entities         jsonb,
    inputs           jsonb,
    rows             jsonb,
    params           jsonb,
    features         jsonb,
    outputs          jsonb,
    error_class      text,
    error_code       text,
    error_message    text,
    difference       jsonb,
    features_us      bigint,
    assemble_us      bigint,
    queue_us         bigint,
    engine_us        bigint,
    latency_us       bigint,
    entity_key       text,
    cached           boolean,
    batch            jsonb
);
-- What a table of before they were added does not have.
ALTER TABLE audit_events ADD COLUMN IF NOT EXISTS cached boolean;
ALTER TABLE audit_events ADD COLUMN IF NOT EXISTS batch jsonb;

CREATE INDEX IF NOT EXISTS audit_events_time ON audit_events (time);
CREATE INDEX IF NOT EXISTS audit_events_entity_key ON audit_events (entity_key, time);
-- Where `terrarium audit verify` and people look for gaps.
CREATE UNIQUE INDEX IF NOT EXISTS audit_events_sequence ON audit_events (writer, sequence);

-- `{"driver_id": [1001, 1002], "city": "Bonn"}` and row 1: `{"driver_id": 1002, "city": "Bonn"}`.
CREATE OR REPLACE FUNCTION audit_row(columns jsonb, place integer) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_object_agg(key, CASE jsonb_typeof(value) WHEN 'array' THEN value -> place ELSE value END)
    FROM jsonb_each(CASE jsonb_typeof(columns) WHEN 'object' THEN columns END)
$$;

-- One row for each row of each prediction. Runs of shadow versions are left out: nobody was answered; and files that were
-- scored: they hold their rows themselves.
CREATE OR REPLACE VIEW audit_predictions AS
SELECT
    e.id,
    place AS row,
    e.time,
    e.model,
    e.model_version,
    e.model_alias,
    e.status,
    e.error_code,
    e.request_id,
    e.principal,
    e.surface,
    e.latency_us,
    audit_row(e.entities, place) AS entities,
    COALESCE(audit_row(e.inputs, place), '{}') || COALESCE(audit_row(e.rows, place), '{}') AS inputs,
    audit_row(e.outputs, place) AS outputs
FROM audit_events e
CROSS JOIN LATERAL generate_series(0, GREATEST(e.n_rows, 1)::integer - 1) AS place
WHERE e.shadow_of IS NULL AND e.batch IS NULL;

-- One row for each feature value that a prediction was made of.
CREATE OR REPLACE VIEW audit_features AS
SELECT
    e.id,
    place AS row,
    e.time,
    e.model,
    e.model_version,
    feature.key AS feature,
    feature.value -> 'values' -> place AS value,
    CASE jsonb_typeof(feature.value -> 'values' -> place)
        WHEN 'number' THEN (feature.value -> 'values' ->> place)::double precision
    END AS number,
    feature.value -> 'statuses' ->> place AS status,
    (feature.value -> 'event_timestamps' ->> place)::timestamptz AS event_timestamp
FROM audit_events e
CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(e.features) WHEN 'object' THEN e.features END) AS feature
CROSS JOIN LATERAL generate_series(0, jsonb_array_length(feature.value -> 'values') - 1) AS place;
