//! Values that CPython pickled, in every protocol.

use serde_json::json;

use super::super::codec::Objects;
use super::super::{Accept, Codec, DecodeError, pickle};
use super::{golden, hex, tagged, unhex};
use crate::jobs::value::Value;

fn read(bytes: &[u8]) -> Result<Value, DecodeError> {
    pickle::decode(bytes, Objects::Record, &Accept::default())
}

/// What protocols 0 to 2 cannot say: they name `TimeoutError` and `FileNotFoundError` by Python 2's `OSError`.
fn in_python_2(item: &serde_json::Value) -> serde_json::Value {
    let mut value = item["value"].clone();
    let is_old = item["protocol"].as_u64().unwrap() < 3;
    if is_old
        && matches!(
            item["name"].as_str().unwrap(),
            "exc_timeout" | "exc_oserror"
        )
    {
        value["$exc"]["name"] = json!("OSError");
    }
    value
}

#[test]
fn every_value_of_every_protocol_is_read() {
    let golden = golden("pickle_values.json");
    let items = golden["items"].as_array().unwrap();
    assert!(items.len() > 400);
    for item in items {
        let place = format!("{} in protocol {}", item["name"], item["protocol"]);
        let read = read(&unhex(&item["hex"]));
        if item["name"] == "s_lone_surrogate" {
            let error = read.unwrap_err().to_string();
            assert!(error.contains("lone surrogate"), "{place}: {error}");
            continue;
        }
        assert_eq!(tagged(&read.unwrap()), in_python_2(item), "{place}");
    }
}

#[test]
fn numpy_arrays_become_nested_lists() {
    let golden = golden("pickle_values.json");
    let items = golden["numpy_items"].as_array().unwrap();
    assert!(items.len() > 20);
    for item in items {
        let place = format!("{} in protocol {}", item["name"], item["protocol"]);
        let read = pickle::decode(&unhex(&item["hex"]), Objects::Refuse, &Accept::default());
        assert_eq!(
            tagged(&read.unwrap()),
            item["value"]["$numpy"]["values"],
            "{place}"
        );
    }
}

#[test]
fn what_is_written_is_read_as_the_same() {
    for item in golden("pickle_values.json")["items"].as_array().unwrap() {
        let Ok(value) = read(&unhex(&item["hex"])) else {
            continue;
        };
        let mut out = Vec::new();
        pickle::put_header(&mut out);
        let written = Codec::Pickle.put(&mut out, &value);
        pickle::put_stop(&mut out);
        if matches!(value, Value::Object(_)) {
            assert!(written.is_err(), "{} is written", item["name"]);
            continue;
        }
        written.unwrap();
        let again = pickle::decode(&out, Objects::Refuse, &Accept::default()).unwrap();
        assert_eq!(
            tagged(&again),
            tagged(&value),
            "{}: {}",
            item["name"],
            hex(&out)
        );
    }
}

#[test]
fn exceptions_are_refused_where_plain_values_are_wanted() {
    let mut n_refused = 0;
    for item in golden("pickle_values.json")["items"].as_array().unwrap() {
        let is_plain = item["value"].get("$exc").is_none() && item["value"].get("$repr").is_none();
        if is_plain || item["name"] == "s_lone_surrogate" {
            continue;
        }
        let refused = pickle::decode(&unhex(&item["hex"]), Objects::Refuse, &Accept::default());
        assert!(
            matches!(refused, Err(DecodeError::NotPlain { .. })),
            "{}: {refused:?}",
            item["name"]
        );
        n_refused += 1;
    }
    assert!(n_refused > 40);
}

#[test]
fn objects_keep_what_their_pickle_says_of_them() {
    // class C(list): pass; c = C([1]); c.x = 2; and one made with keyword arguments
    let list = b"\x80\x04\x8c\x01m\x8c\x01C\x93)\x81K\x01a}\x8c\x01xK\x02sb.";
    let keyed = b"\x80\x04\x8c\x01m\x8c\x01D\x93K\x01\x85}\x8c\x01kK\x02s\x92.";
    let mapping = b"\x80\x04\x8c\x01m\x8c\x01E\x93)R\x8c\x01kK\x02s.";
    let shown = |bytes: &[u8]| match read(bytes).unwrap() {
        Value::Object(object) => (
            format!("{}.{}", object.module, object.name),
            tagged(&Value::List(object.args.clone())),
            tagged(&Value::Dict(object.kwargs.clone())),
            tagged(&object.state),
            tagged(&Value::List(object.items.clone())),
        ),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        shown(list),
        (
            "m.C".to_owned(),
            json!([]),
            json!({}),
            json!({"x": 2}),
            json!([1])
        )
    );
    assert_eq!(
        shown(keyed),
        (
            "m.D".to_owned(),
            json!([1]),
            json!({"k": 2}),
            json!(null),
            json!([])
        )
    );
    assert_eq!(
        shown(mapping),
        (
            "m.E".to_owned(),
            json!([]),
            json!({}),
            json!(null),
            json!([{"$tuple": ["k", 2]}])
        )
    );
}
