//! Train/serve skew with Redis: values that somebody changed, bytes that are none, keys that are gone.

use serde_json::{Value as Json, json};
use terrarium::features::codec;
use terrarium::types::value::Value;

use crate::database::Database;
use crate::demo::Demo;

/// Exit code and report of `features verify` for the demo's hourly statistics.
fn verify(demo: &Demo) -> (i32, Json) {
    let arguments = [
        "features",
        "verify",
        "--json",
        "--view",
        "driver_hourly_stats",
    ];
    let output = demo.run(&arguments);
    let report: Json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report["views"][0].clone())
}

/// Feature to the status and value that were found online.
fn differ(view: &Json) -> Vec<(&str, &Json)> {
    let features = view["features"].as_array().unwrap().iter();
    let differ = features.filter(|feature| feature["mismatched"] != 0);
    differ
        .map(|feature| {
            assert_eq!(
                (&feature["compared"], &feature["mismatched"]),
                (&json!(9), &json!(1))
            );
            let example = &feature["examples"][0];
            assert_eq!(example["entity_key"], json!({ "driver_id": 1008 }));
            (feature["feature"].as_str().unwrap(), &example["online"])
        })
        .collect()
}

fn encoded(value: f32) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(&Value::Float(value), &mut bytes);
    bytes
}

/// The hash of driver 1008, whose conversion rate nobody else has, and the field of that.
fn driver_1008(database: &mut Database) -> (Vec<u8>, Vec<u8>) {
    let wanted = encoded(0.6682);
    let mut hashes = database.hashes().into_iter();
    let found = hashes.find_map(|(key, fields)| {
        let (field, _) = fields.into_iter().find(|(_, value)| *value == wanted)?;
        Some((key, field))
    });
    found.unwrap()
}

#[test]
fn what_somebody_changed_in_redis_is_told_by_feature_and_key() {
    let mut database = Database::open(13);
    let demo = Demo::load(&database.connection_string());
    let (code, view) = verify(&demo);
    assert_eq!((code, differ(&view)), (0, Vec::new()), "{view:#}");
    assert_eq!(
        (&view["sampled"], &view["not_online"]),
        (&json!(9), &json!(0))
    );

    let (key, conv_rate) = driver_1008(&mut database);
    database.set(&key, &conv_rate, &encoded(0.25));
    let (code, view) = verify(&demo);
    let online = json!({ "status": "present", "value": 0.25 });
    assert_eq!((code, differ(&view)), (1, vec![("conv_rate", &online)]));

    database.set(&key, &conv_rate, b"\xff\xff");
    let (code, view) = verify(&demo);
    let online = json!({ "status": "invalid" });
    assert_eq!((code, differ(&view)), (1, vec![("conv_rate", &online)]));

    database.set(&key, &conv_rate, b"");
    let (code, view) = verify(&demo);
    let online = json!({ "status": "null", "value": null });
    assert_eq!((code, differ(&view)), (1, vec![("conv_rate", &online)]));
}

#[test]
fn a_key_that_is_gone_should_be_there_unless_keys_expire() {
    let mut database = Database::open(14);
    let demo = Demo::load(&database.connection_string());
    let (key, _) = driver_1008(&mut database);
    database.delete(&key);
    let (code, view) = verify(&demo);
    assert_eq!((code, differ(&view).len()), (1, 4), "{view:#}");
    assert_eq!(
        (&view["not_online"], &view["missed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(differ(&view)[0].1, &json!({ "status": "missing" }));

    demo.set_online("key_ttl_seconds: 3600");
    let (code, view) = verify(&demo);
    assert_eq!((code, differ(&view)), (0, Vec::new()), "{view:#}");
    assert_eq!(
        (&view["not_online"], &view["missed"]),
        (&json!(1), &json!(0))
    );
}
