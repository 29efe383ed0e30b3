use super::*;
use crate::audit::batch::Offset;
use uuid::Uuid;

const EVENT: &str = r#"{"schema_version":1,"writer":"01a2044f-eb1b-711e-a8a9-f6cdd42bbafb","sequence":7,"id":"01a2044f-eb1b-711e-a8a9-f6cdd42bbafc","time":"2026-11-22T17:31:16.12326Z","request_id":"r\"1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","principal":null,"surface":"http","model":{"name":"ranking","version":"3","alias":"champion","requested":"ranking"},"variants":null,"shadow_of":null,"n_rows":1,"entities":{"driver_id":[1001]},"inputs":{"trip_km":[3.2]},"rows":null,"params":null,"features":{"stats:rate":{"values":["NaN"],"statuses":["present"],"event_timestamps":["2026-11-22T14:00:00Z"]}},"outputs":{"score":[0.81]},"status":"ok","error":null,"difference":null,"timings_us":{"features":131,"assemble":3,"queue":0,"engine":5,"total":160},"cached":false,"added_later":{"x":1}}"#;

fn event() -> SpooledEvent {
    let writer = Uuid::nil();
    SpooledEvent {
        offset: Offset {
            writer,
            sequence: 7,
        },
        json: Bytes::from_static(EVENT.as_bytes()),
    }
}

fn encoded(format: Format) -> Bytes {
    let event = event();
    let parts = EventParts::parse(&event.json).unwrap();
    encode(format, 258, &event, &parts).unwrap()
}

#[test]
fn json_is_the_event_to_the_byte_and_json_schema_names_its_schema_before_it() {
    assert_eq!(encoded(Format::Json), EVENT);
    let framed = encoded(Format::JsonSchema);
    assert_eq!(framed[..5], [0, 0, 0, 1, 2]);
    assert_eq!(framed[5..], *EVENT.as_bytes());
}

#[test]
fn every_format_decodes_to_what_it_was_made_of() {
    let event: Value = serde_json::from_str(EVENT).unwrap();
    assert_eq!(decode(&encoded(Format::Json)).unwrap(), event);
    assert_eq!(decode(&encoded(Format::JsonSchema)).unwrap(), event);
    let read = decode(&encoded(Format::Avro)).unwrap();
    for (name, value) in read.as_object().unwrap() {
        match name.as_str() {
            // To the microsecond.
            "time" => assert_eq!(value, "2026-11-22T17:31:16.123260Z"),
            name => assert_eq!(*value, event[name], "{name}"),
        }
    }
    assert_eq!(read["timings_us"]["total"], 160);
    let row = decode(&encoded(Format::ConnectJson)).unwrap();
    assert_eq!(row["id"], event["id"]);
    assert_eq!(row["sequence"], 7);
    assert_eq!(row["model"], "ranking");
    assert_eq!(row["latency_us"], 160);
    assert_eq!(row["request_id"], "r\"1");
    assert_eq!(row["entity_key"], "driver_id=1001");
    assert_eq!(row["error_code"], Value::Null);
    let features: Value = serde_json::from_str(row["features"].as_str().unwrap()).unwrap();
    assert_eq!(features, event["features"]);
}

#[test]
fn the_connect_schema_has_every_column_of_the_payload_in_its_order() {
    let value: Value = serde_json::from_slice(&encoded(Format::ConnectJson)).unwrap();
    let payload = value["payload"].as_object().unwrap();
    let fields = value["schema"]["fields"].as_array().unwrap();
    let names: Vec<&str> = fields
        .iter()
        .map(|field| field["field"].as_str().unwrap())
        .collect();
    assert_eq!(names, payload.keys().collect::<Vec<_>>());
    for (field, value) in fields.iter().zip(payload.values()) {
        let kind = field["type"].as_str().unwrap();
        let fits = match value {
            Value::Null => field["optional"] == true,
            Value::String(_) => kind == "string",
            Value::Number(_) => kind == "int64",
            Value::Bool(_) => kind == "boolean",
            _ => false,
        };
        assert!(fits, "{field} {value}");
    }
}

#[test]
fn bytes_that_nobody_wrote_here_are_no_event() {
    for bytes in [
        &b""[..],
        b"{",
        &[0],
        &[0, 0, 0, 0, 1],
        &[0, 0, 0, 0, 1, 0x80],
        b"plain",
    ] {
        assert!(decode(bytes).is_none(), "{bytes:?}");
    }
}

#[test]
fn a_key_is_the_entity_of_a_call_about_one_and_else_the_id() {
    use crate::audit::sink::kafka::config::Key;
    let key = |entities: &str, key: Key| {
        let json = EVENT.replace(r#"{"driver_id":[1001]}"#, entities);
        let event = SpooledEvent {
            json: json.into(),
            ..event()
        };
        EventParts::parse(&event.json).unwrap().message_key(key)
    };
    let id = "01a2044f-eb1b-711e-a8a9-f6cdd42bbafc";
    assert_eq!(
        key(r#"{"driver_id":[1001]}"#, Key::Entity),
        "driver_id=1001"
    );
    assert_eq!(
        key(r#"{"driver_id":1001,"city":["Bonn"]}"#, Key::Entity),
        "city=Bonn,driver_id=1001"
    );
    assert_eq!(key(r#"{"driver_id":[1001,1002]}"#, Key::Entity), id);
    assert_eq!(key("null", Key::Entity), id);
    assert_eq!(key(r#"{"driver_id":[1001]}"#, Key::Event), id);
}
