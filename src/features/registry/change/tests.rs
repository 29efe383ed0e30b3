//! Changed registries against those that Feast wrote, and against what was there before.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::Registry;
use super::*;
use crate::features::definitions::FeatureView;
use crate::features::testing::{fixture, recorded};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_123_456);

fn moment(text: &str) -> Timestamp {
    let parsed: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_micros(parsed.as_microsecond())
}

fn materialized(start: &str, end: &str) -> ViewChange {
    let (start, end) = (moment(start), moment(end));
    ViewChange::Materialized { start, end }
}

fn changed(bytes: &[u8], project: &str, view: &str, change: ViewChange) -> Vec<u8> {
    in_registry(bytes, project, view, change, NOW, "here").unwrap()
}

/// The objects of one kind.
fn objects(bytes: &[u8], number: u32) -> Vec<Vec<u8>> {
    let fields = Fields::split(bytes).unwrap();
    let fields = fields.0.iter().filter(|field| field.number == number);
    fields.map(|field| field.bytes().to_vec()).collect()
}

fn name(object: &[u8]) -> &str {
    text_at(object, &[1, 1]).unwrap()
}

/// The registry with views that were never materialized.
fn without_watermarks(bytes: &[u8]) -> Vec<u8> {
    let mut fields = Fields::split(bytes).unwrap();
    let mut views = Vec::new();
    let is_view = |field: &&Field<'_>| field.number == registry::FEATURE_VIEWS;
    for field in fields.0.iter().filter(is_view) {
        let mut view = Fields::split(field.bytes()).unwrap();
        let meta = view.0.iter().find(|field| field.number == view::META);
        let mut kept = Fields::split(meta.unwrap().bytes()).unwrap();
        kept.0.retain(|field| {
            ![meta::MATERIALIZATION_INTERVALS, meta::STATE].contains(&field.number)
        });
        let mut meta = Vec::new();
        put_bytes(&mut meta, view::META, &kept.join());
        view.set(view::META, &meta);
        let mut whole = Vec::new();
        put_bytes(&mut whole, field.number, &view.join());
        views.push(whole);
    }
    let at_views = fields
        .0
        .iter_mut()
        .filter(|field| field.number == registry::FEATURE_VIEWS);
    for (field, whole) in at_views.zip(&views) {
        field.whole = whole;
    }
    fields.join()
}

fn watermarks(view: &FeatureView) -> (i32, Vec<(Timestamp, Timestamp)>) {
    (view.state.number(), view.materialized.clone())
}

fn assert_recorded(bytes: &[u8], recorded: &Json) {
    let registry = Registry::decode(bytes, "ride_ops_pit", "test").unwrap();
    let recorded = recorded.as_object().unwrap();
    let names: Vec<&str> = registry
        .feature_views
        .iter()
        .map(|view| &*view.name)
        .collect();
    let expected: Vec<&str> = recorded.keys().map(String::as_str).collect();
    assert_eq!(names, expected, "the order of the list");
    for (view, json) in registry.feature_views.iter().zip(recorded.values()) {
        let intervals = json["intervals"].as_array().unwrap().iter();
        let intervals = intervals.map(|pair| {
            (
                moment(pair[0].as_str().unwrap()),
                moment(pair[1].as_str().unwrap()),
            )
        });
        let state = json["state"].as_i64().unwrap() as i32;
        assert_eq!(
            watermarks(view),
            (state, intervals.collect()),
            "{}",
            view.name
        );
    }
}

#[test]
fn watermarks_are_written_as_feast_wrote_them() {
    let json = recorded("materialize_watermarks.json");
    let by_feast = fs_err::read(fixture("pit_repo/file/registry.db")).unwrap();
    let mut bytes = without_watermarks(&by_feast);
    for view in json["after_materialize"].as_object().unwrap().keys() {
        let change = materialized("2024-05-01T09:00:00Z", "2024-05-01T11:00:00Z");
        bytes = changed(&bytes, "ride_ops_pit", view, change);
    }
    assert_recorded(&bytes, &json["after_materialize"]);
    let change = materialized("2024-05-01T11:00:00Z", "2024-05-01T12:00:00Z");
    bytes = changed(&bytes, "ride_ops_pit", "pit_a", change);
    assert_recorded(&bytes, &json["after_incremental"]);
}

#[test]
fn a_views_bytes_are_those_that_feast_writes() {
    let by_feast = fs_err::read(fixture("pit_repo/file/registry.db")).unwrap();
    let before = without_watermarks(&by_feast);
    let views = objects(&by_feast, registry::FEATURE_VIEWS);
    for view in &views {
        let meta = Fields::split(view).unwrap();
        let meta = Fields::split(meta.0[1].bytes()).unwrap();
        let updated = meta
            .0
            .iter()
            .find(|f| f.number == meta::LAST_UPDATED_TIMESTAMP);
        let updated = crate::features::codec::decode_timestamp(updated.unwrap().bytes()).unwrap();
        let originals = objects(&before, registry::FEATURE_VIEWS);
        let mut ours = originals
            .iter()
            .find(|other| name(other) == name(view))
            .unwrap()
            .clone();
        let decoded = Registry::decode(&by_feast, "ride_ops_pit", "test").unwrap();
        for (start, end) in &decoded.feature_view(name(view)).unwrap().materialized {
            let change = ViewChange::Materialized {
                start: *start,
                end: *end,
            };
            ours = in_object(&ours, name(view), change, updated).unwrap();
        }
        assert_eq!(ours, *view, "{}", name(view));
    }
}

#[test]
fn a_materialized_stream_view_goes_to_the_end_of_its_own_list() {
    let bytes = fs_err::read(fixture("repo/registry.db")).unwrap();
    let change = materialized("2024-03-01T00:00:00.5Z", "2024-03-02T00:00:00Z");
    let after = changed(&bytes, "ride_ops", "driver_stream", change);
    let views = |bytes: &[u8]| objects(bytes, registry::FEATURE_VIEWS);
    assert_eq!(views(&after), views(&bytes));
    let registry = Registry::decode(&after, "ride_ops", "test").unwrap();
    let view = registry.feature_view("driver_stream").unwrap();
    let last = view.materialized.last().unwrap();
    assert_eq!(last.0, moment("2024-03-01T00:00:00.5Z"));
    let before = Registry::decode(&bytes, "ride_ops", "test").unwrap();
    assert_ne!(
        registry.revision, before.revision,
        "a new version of the registry"
    );
}

#[test]
fn a_state_is_set_in_place_and_nothing_else() {
    let bytes = fs_err::read(fixture("repo/registry.db")).unwrap();
    let after = changed(
        &bytes,
        "ride_ops",
        "driver_lists",
        ViewChange::State(ViewState::Materializing),
    );
    let (before, after_views) = (
        Registry::decode(&bytes, "ride_ops", "test").unwrap(),
        Registry::decode(&after, "ride_ops", "test").unwrap(),
    );
    for (before, after) in before.feature_views.iter().zip(&after_views.feature_views) {
        let mut expected = before.clone();
        if before.name == "driver_lists" {
            expected.state = ViewState::Materializing;
        }
        assert_eq!(*after, expected);
    }
    let back = changed(
        &after,
        "ride_ops",
        "driver_lists",
        ViewChange::State(ViewState::AvailableOnline),
    );
    let views = |bytes: &[u8]| objects(bytes, registry::FEATURE_VIEWS);
    assert_eq!(views(&back), views(&bytes));
    let never = changed(
        &bytes,
        "ride_ops",
        "driver_lists",
        ViewChange::State(ViewState::Unspecified),
    );
    let registry = Registry::decode(&never, "ride_ops", "test").unwrap();
    assert_eq!(
        registry.feature_view("driver_lists").unwrap().state,
        ViewState::Unspecified
    );
}

#[test]
fn what_has_no_watermark_is_refused_by_name() {
    let bytes = fs_err::read(fixture("repo/registry.db")).unwrap();
    let refusal = |bytes: &[u8], project, view| {
        let change = ViewChange::State(ViewState::AvailableOnline);
        in_registry(bytes, project, view, change, NOW, "here")
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refusal(&bytes, "ride_ops", "fare_py"),
        "`fare_py` is an on-demand feature view, which has no state or watermark to record"
    );
    for (project, view) in [("ride_ops", "nope"), ("other", "driver_lists")] {
        assert_eq!(
            refusal(&bytes, project, view),
            format!("feature view `{view}` of project `{project}` is not in feature registry here")
        );
    }
    assert_eq!(
        refusal(b"\xff\xff", "p", "v"),
        "feature registry here is not a Feast registry"
    );
}

#[test]
fn metas_that_occur_twice_count_as_one() {
    let mut view = Vec::new();
    put_bytes(&mut view, 1, b"");
    for (nanos, state) in [(7, 1), (8, 2)] {
        put_message(&mut view, view::META, |out| {
            put_message(out, meta::LAST_UPDATED_TIMESTAMP, |out| {
                put_tag(out, 2, 0);
                put_varint(out, nanos);
            });
            put_tag(out, meta::STATE, 0);
            put_varint(out, state);
        });
    }
    let after = in_view(
        &view,
        ViewChange::Materialized {
            start: NOW,
            end: NOW,
        },
        NOW,
    )
    .unwrap();
    let fields = Fields::split(&after).unwrap();
    let numbers: Vec<u32> = fields.0.iter().map(|field| field.number).collect();
    assert_eq!(numbers, [1, 2]);
    let meta = Fields::split(fields.0[1].bytes()).unwrap();
    let numbers: Vec<u32> = meta.0.iter().map(|field| field.number).collect();
    assert_eq!(numbers, [2, 3, 6]);
    let updated = crate::features::codec::decode_timestamp(meta.0[0].bytes()).unwrap();
    assert_eq!(updated, NOW, "no nanosecond of the old one is left");
}

/// Any field: a number, text, or bytes that may be a message.
fn field() -> impl Strategy<Value = Vec<u8>> {
    // 6 and 14 are views and 8 is what is not one: they are put in by the test. 4 and 5 are replaced.
    let number = prop_oneof![1_u32..4, Just(7), 9_u32..14, 15_u32..40, Just(536_870_911)];
    (
        number,
        any::<u64>(),
        prop::collection::vec(any::<u8>(), 0..40),
        0..4_u8,
    )
        .prop_map(|(number, value, bytes, kind)| {
            let mut out = Vec::new();
            match kind {
                0 => {
                    put_tag(&mut out, number, 0);
                    put_varint(&mut out, value);
                }
                1 => {
                    put_tag(&mut out, number, 1);
                    out.extend(value.to_le_bytes());
                }
                2 => {
                    put_tag(&mut out, number, 5);
                    out.extend((value as u32).to_le_bytes());
                }
                _ => put_bytes(&mut out, number, &bytes),
            }
            out
        })
}

/// A view of project `p` with fields that nobody knows, in its spec, its meta and beside them.
fn view_object(name: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let more = || prop::collection::vec(field(), 0..4).prop_map(|fields| fields.concat());
    let high = || {
        more().prop_map(|bytes| {
            // Beside those that the messages have.
            let mut out = Vec::new();
            put_bytes(&mut out, 99, &bytes);
            out
        })
    };
    (high(), high(), high()).prop_map(move |(spec, meta, beside)| {
        let mut view = Vec::new();
        put_message(&mut view, 1, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_bytes(out, 2, b"p");
            out.extend(&spec);
        });
        put_bytes(&mut view, 2, &meta);
        view.extend(&beside);
        view
    })
}

proptest! {
    #[test]
    fn whatever_is_not_changed_stays_as_it_is(
        before in prop::collection::vec(field(), 0..6),
        views in (view_object("a"), view_object("b"), view_object("c")),
        stream in view_object("s"),
        behind in prop::collection::vec(field(), 0..6),
        chosen in prop::sample::select(vec!["a", "b", "c", "s"]),
        micros in -1_000_000_000_000_i64..4_000_000_000_000_000,
    ) {
        let mut bytes = before.concat();
        for view in [&views.0, &views.1, &views.2] {
            put_bytes(&mut bytes, registry::FEATURE_VIEWS, view);
        }
        put_bytes(&mut bytes, registry::STREAM_FEATURE_VIEWS, &stream);
        bytes.extend(behind.concat());
        let end = Timestamp::from_micros(micros);
        let after = changed(&bytes, "p", chosen, ViewChange::Materialized { start: NOW, end });

        // Every field but the view, the version and the date is there, in its order.
        let kept = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let fields = Fields::split(bytes).unwrap();
            let is_kept = |field: &&Field<'_>| {
                let is_chosen = [6, 14].contains(&field.number) && name(field.bytes()) == chosen;
                !is_chosen && ![4, 5].contains(&field.number)
            };
            fields.0.iter().filter(is_kept).map(|field| field.whole.to_vec()).collect()
        };
        prop_assert_eq!(kept(&bytes), kept(&after));

        // Of the view, everything but what was to change.
        let number = if chosen == "s" { 14 } else { 6 };
        let find = |bytes: &[u8]| {
            let views = objects(bytes, number);
            let at = views.iter().position(|view| name(view) == chosen).unwrap();
            (at, views.len(), views[at].clone())
        };
        let ((_, n_views, old), (at, _, new)) = (find(&bytes), find(&after));
        prop_assert_eq!(at, n_views - 1, "at the end of its list");
        let parts = |view: &[u8]| -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
            let fields = Fields::split(view).unwrap();
            let meta = fields.0.iter().find(|field| field.number == 2).unwrap();
            let meta = Fields::split(meta.bytes()).unwrap();
            let is_ours = |number: u32| [2, 3, 6].contains(&number);
            (
                fields.0.iter().filter(|f| f.number != 2).map(|f| f.whole.to_vec()).collect(),
                meta.0.iter().filter(|f| !is_ours(f.number)).map(|f| f.whole.to_vec()).collect(),
            )
        };
        prop_assert_eq!(parts(&old), parts(&new));
        let message = <super::super::proto::FeatureView as prost::Message>::decode(&*new).unwrap();
        let meta = message.meta.unwrap();
        prop_assert_eq!(meta.state, 4);
        let interval = &meta.materialization_intervals[0];
        let written = interval.end_time.unwrap_or_default();
        prop_assert_eq!(written.seconds * 1_000_000 + i64::from(written.nanos) / 1_000, micros);
    }

    #[test]
    fn any_bytes_are_changed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let change = ViewChange::State(ViewState::Created);
        let _ = in_registry(&bytes, "p", "v", change, NOW, "here");
        let _ = in_object(&bytes, "v", change, NOW);
    }
}
