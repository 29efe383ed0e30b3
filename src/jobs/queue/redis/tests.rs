//! Tests of the queue in Redis.
