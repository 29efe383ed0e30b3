//! What every sink must do, run against each of them.

use std::time::Duration;

use uuid::Uuid;

use super::AuditSink;
use crate::audit::batch::{Batch, Offset, SpooledEvent};

/// An event as short as one can be.
pub(crate) fn event(writer: Uuid, sequence: u64) -> SpooledEvent {
    let id = Uuid::now_v7();
    let json = format!(
        r#"{{"schema_version":1,"writer":"{writer}","sequence":{sequence},"id":"{id}","time":"2026-11-22T17:31:18.020869Z","request_id":"r","trace_id":null,"principal":null,"surface":"http","model":{{"name":"m","version":"1","alias":null,"requested":"m"}},"variants":null,"shadow_of":null,"n_rows":1,"entities":{{"driver_id":[{sequence}]}},"inputs":null,"rows":null,"params":null,"features":null,"outputs":{{"y":[0.5]}},"status":"ok","error":null,"difference":null,"timings_us":{{"features":1,"assemble":2,"queue":3,"engine":4,"total":10}}}}"#
    );
    SpooledEvent {
        offset: Offset { writer, sequence },
        json: json.into(),
    }
}

pub(crate) fn batch(writer: Uuid, sequences: std::ops::RangeInclusive<u64>) -> Batch {
    let events = sequences.map(|sequence| event(writer, sequence)).collect();
    Batch::new(events).unwrap()
}

/// `sink` is fresh; `read_back` gives the offsets of everything that is in it, in order.
pub(crate) async fn run(mut sink: impl AuditSink, read_back: impl AsyncFn() -> Vec<Offset>) {
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    sink.connect().await.unwrap();

    // What is delivered is there, in order.
    send_and_wait(&mut sink, batch(first, 1..=20)).await;
    assert_eq!(
        of(first, &read_back().await),
        (1..=20).collect::<Vec<u64>>()
    );

    // Several batches may be sent before anything is delivered, of several writers.
    sink.send(batch(first, 21..=30)).await.unwrap();
    sink.send(batch(first, 31..=31)).await.unwrap();
    sink.send(batch(second, 1..=5)).await.unwrap();
    wait_for(
        &mut sink,
        Offset {
            writer: second,
            sequence: 5,
        },
    )
    .await;
    assert_eq!(
        of(first, &read_back().await),
        (1..=31).collect::<Vec<u64>>()
    );
    assert_eq!(of(second, &read_back().await), [1, 2, 3, 4, 5]);

    // Waiting may be given up at any time, and nothing that was delivered is lost by it.
    sink.send(batch(second, 6..=7)).await.unwrap();
    for _ in 0..3 {
        sink.hurry();
        let given_up = tokio::time::timeout(Duration::ZERO, sink.delivered()).await;
        if let Ok(offset) = given_up
            && offset.unwrap().sequence == 7
        {
            break;
        }
    }
    let rest = tokio::time::timeout(Duration::from_millis(200), async {
        wait_for(
            &mut sink,
            Offset {
                writer: second,
                sequence: 7,
            },
        )
        .await;
    });
    // It had been told of all already, or it tells now.
    let _ = rest.await;
    assert_eq!(
        of(second, &read_back().await),
        (1..=7).collect::<Vec<u64>>()
    );

    // After a new start what was not delivered comes again, and is there at least once, in order.
    sink.send(batch(second, 8..=9)).await.unwrap();
    sink.connect().await.unwrap();
    send_and_wait(&mut sink, batch(second, 8..=12)).await;
    let mut sequences = of(second, &read_back().await);
    sequences.dedup();
    let mut unique = sequences.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique, (1..=12).collect::<Vec<u64>>());
}

async fn send_and_wait(sink: &mut impl AuditSink, batch: Batch) {
    let last = batch.last();
    sink.send(batch).await.unwrap();
    wait_for(sink, last).await;
}

async fn wait_for(sink: &mut impl AuditSink, last: Offset) {
    sink.hurry();
    while sink.delivered().await.unwrap() != last {}
}

fn of(writer: Uuid, offsets: &[Offset]) -> Vec<u64> {
    let its = offsets.iter().filter(|offset| offset.writer == writer);
    its.map(|offset| offset.sequence).collect()
}
