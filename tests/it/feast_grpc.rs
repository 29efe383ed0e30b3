//! Feast's services over gRPC, over an SQLite store.

use std::collections::BTreeMap;

use prost::Message;
use terrarium::features::codec;
use terrarium::grpc::messages as pb;
use terrarium::types::value::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::feast_http::ride_ops;
use crate::support::Server;

const ONLINE: &str = "/feast.serving.ServingService/GetOnlineFeatures";

/// One call of any method.
async fn call<Q, A>(server: &Server, method: &'static str, request: Q) -> Result<A, Status>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let address = format!("http://{}", server.grpc_address());
    let channel = Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = ProstCodec::<Q, A>::default();
    let path = hyper::http::uri::PathAndQuery::from_static(method);
    Ok(client
        .unary(tonic::Request::new(request), path, codec)
        .await?
        .into_inner())
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(value, &mut bytes);
    bytes
}

fn column(values: &[Value]) -> pb::RepeatedValue {
    pb::RepeatedValue {
        val: values.iter().map(encoded).collect(),
    }
}

fn request(features: &[&str], drivers: &[i64]) -> pb::GetOnlineFeaturesRequest {
    let drivers: Vec<Value> = drivers.iter().map(|driver| Value::Int64(*driver)).collect();
    pb::GetOnlineFeaturesRequest {
        features: Some(pb::FeatureList {
            val: features.iter().map(|name| (*name).to_owned()).collect(),
        }),
        entities: BTreeMap::from([("driver_id".to_owned(), column(&drivers))]),
        ..Default::default()
    }
}

#[tokio::test]
async fn features_are_the_bytes_that_are_stored() {
    let (_repo, server) = ride_ops(&[]).await;
    for method in [ONLINE, "/GrpcFeatureServer/GetOnlineFeatures"] {
        let mut request = request(
            &["driver_scalars:label", "driver_lists:l_bool"],
            &[1001, 5, 1001],
        );
        request.include_feature_view_version_metadata = true;
        let answer: pb::GetOnlineFeaturesResponse = call(&server, method, request).await.unwrap();
        let metadata = answer.metadata.unwrap();
        assert_eq!(
            metadata.feature_names.unwrap().val,
            ["driver_id", "label", "l_bool"]
        );
        let views: Vec<&str> = metadata
            .feature_view_metadata
            .iter()
            .map(|view| view.name.as_str())
            .collect();
        assert_eq!(views, ["driver_scalars", "driver_lists"]);
        let [driver, label, list] = &answer.results[..] else {
            panic!("{:?}", answer.results)
        };
        assert_eq!(driver.values[1], encoded(&Value::Int64(5)));
        let café = encoded(&Value::String("café ☃".into()));
        assert_eq!(label.values, [café.clone(), Vec::new(), café]);
        // PRESENT, NOT_FOUND
        assert_eq!(label.statuses, [1, 3, 1]);
        let seconds: Vec<i64> = label
            .event_timestamps
            .iter()
            .map(|time| time.seconds)
            .collect();
        assert_eq!(seconds, [1_709_285_400, 0, 1_709_285_400]);
        let bools = Value::List(terrarium::types::value::List::Bool(vec![true, false]));
        assert_eq!(list.values[0], encoded(&bools));
    }
}

#[tokio::test]
async fn request_data_come_as_entities_or_as_context() {
    let (_repo, server) = ride_ops(&[]).await;
    let mut request = request(&["fare_py:fare"], &[1001]);
    request
        .entities
        .insert("distance_km".to_owned(), column(&[Value::Double(3.0)]));
    request
        .request_context
        .insert("pax".to_owned(), column(&[Value::Int64(1)]));
    let answer: pb::GetOnlineFeaturesResponse = call(&server, ONLINE, request).await.unwrap();
    assert_eq!(answer.results[1].values, [encoded(&Value::Double(8.5))]);
}

#[tokio::test]
async fn mistakes_have_the_status_of_their_class() {
    let (_repo, server) = ride_ops(&[]).await;
    let failed = async |request| {
        let answer: Result<pb::GetOnlineFeaturesResponse, _> = call(&server, ONLINE, request).await;
        answer.unwrap_err()
    };
    assert_eq!(
        failed(request(&["nope:f"], &[1001])).await.code(),
        Code::NotFound
    );
    assert_eq!(
        failed(request(&[], &[1001])).await.code(),
        Code::InvalidArgument
    );
    let mut broken = request(&["driver_scalars:i64"], &[]);
    let value = pb::RepeatedValue {
        val: vec![vec![0x12, 0xff]],
    };
    broken.entities.insert("driver_id".to_owned(), value);
    assert_eq!(failed(broken).await.code(), Code::InvalidArgument);
    let unknown: Result<pb::PushResponse, _> = call(
        &server,
        "/GrpcFeatureServer/Nope",
        pb::PushRequest::default(),
    )
    .await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_pushed_row_is_read_back() {
    let (_repo, server) = ride_ops(&[]).await;
    let text = |text: &str| Value::String(text.to_owned());
    let row = [
        ("driver_id", Value::Int64(1001)),
        ("event_ts", text("2024-03-05T10:00:00")),
        ("created_ts", text("2024-03-05T10:00:01")),
        ("speed", Value::Double(71.5)),
        ("zone", text("w")),
        ("hits", Value::Int64(9)),
    ];
    let typed = row
        .iter()
        .map(|(name, value)| ((*name).to_owned(), encoded(value)));
    let mut push = pb::PushRequest {
        stream_feature_view: "driver_live_push".to_owned(),
        to: "online".to_owned(),
        typed_features: typed.collect(),
        ..Default::default()
    };
    let answer: pb::PushResponse = call(&server, "/GrpcFeatureServer/Push", push.clone())
        .await
        .unwrap();
    assert!(answer.status);
    let read = request(&["driver_live:speed"], &[1001]);
    let answer: pb::GetOnlineFeaturesResponse = call(&server, ONLINE, read).await.unwrap();
    assert_eq!(answer.results[1].values, [encoded(&Value::Double(71.5))]);

    push.stream_feature_view = "nope".to_owned();
    let refused: Result<pb::PushResponse, _> =
        call(&server, "/GrpcFeatureServer/Push", push.clone()).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    push.features.insert("zone".to_owned(), "w".to_owned());
    let refused: Result<pb::PushResponse, _> = call(&server, "/GrpcFeatureServer/Push", push).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_server_tells_its_version_and_its_health() {
    let (_repo, server) = ride_ops(&[]).await;
    let info: pb::GetFeastServingInfoResponse = call(
        &server,
        "/feast.serving.ServingService/GetFeastServingInfo",
        pb::GetFeastServingInfoRequest {},
    )
    .await
    .unwrap();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    let health: pb::HealthCheckResponse = call(
        &server,
        "/grpc.health.v1.Health/Check",
        pb::HealthCheckRequest::default(),
    )
    .await
    .unwrap();
    assert_eq!(health.status, 1);
}

/// Every field that a message has is in the recorded descriptor under the same number.
#[test]
fn messages_have_feasts_field_numbers() {
    let recorded = crate::feast_replay::recorded("proto_fields.json");
    let text =
        std::fs::read_to_string(crate::support::root().join("src/grpc/messages.rs")).unwrap();
    let mut n_fields = 0;
    for message in text.split("\n/// `").skip(1) {
        let (name, rest) = message.split_once('`').unwrap();
        let Some(fields) = recorded["messages"][name]["fields"].as_array() else {
            assert!(
                name.starts_with("grpc.health.") || name.starts_with("google."),
                "{name}"
            );
            continue;
        };
        for field in rest.split("#[prost(").skip(1) {
            let number: u64 = field
                .split("tag = \"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            let field = field
                .split("pub ")
                .nth(1)
                .unwrap()
                .split(':')
                .next()
                .unwrap();
            let found = fields.iter().find(|recorded| recorded["name"] == field);
            assert_eq!(found.unwrap()["number"], number, "{name}.{field}");
            n_fields += 1;
        }
    }
    assert_eq!(n_fields, 30);
}
