//! Pickles that were made to do harm.

use super::super::codec::Objects;
use super::super::{Accept, DecodeError, decode_job, pickle};
use super::{golden, tagged, unhex};

fn read(bytes: &[u8], objects: Objects) -> Result<serde_json::Value, String> {
    let accept = Accept {
        max_memory: 1 << 20,
        ..Accept::default()
    };
    let read = pickle::decode(bytes, objects, &accept);
    read.map(|value| tagged(&value))
        .map_err(|error| error.to_string())
}

#[test]
fn every_hostile_pickle_is_refused() {
    let golden = golden("pickle_hostile.json");
    let items = golden["items"].as_array().unwrap();
    assert!(items.len() >= 35);
    for item in items {
        let outcome = read(&unhex(&item["hex"]), Objects::Refuse);
        match item["expect"].as_str().unwrap() {
            "accept_last_wins" => assert_eq!(outcome.unwrap(), serde_json::json!({"a": 2})),
            "accept_or_reject" => assert_eq!(outcome.unwrap(), serde_json::json!(null)),
            _ => assert!(outcome.is_err(), "{} is read as {outcome:?}", item["name"]),
        }
    }
}

#[test]
fn a_class_in_a_result_is_a_record_and_nothing_else() {
    for item in golden("pickle_hostile.json")["items"].as_array().unwrap() {
        let outcome = read(&unhex(&item["hex"]), Objects::Record);
        let is_record = matches!(
            item["name"].as_str().unwrap(),
            "os_system" | "builtins_eval" | "builtins_getattr" | "newobj_popen"
        );
        let is_value = item["expect"].as_str().unwrap().starts_with("accept");
        assert_eq!(
            outcome.is_ok(),
            is_record || is_value,
            "{}: {outcome:?}",
            item["name"]
        );
    }
    let call = read(
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        Objects::Record,
    );
    let record = serde_json::json!({"$exc": {"module": "os", "name": "system", "args": ["id"]}});
    assert_eq!(call.unwrap(), record);
}

#[test]
fn a_refusal_says_what_and_where() {
    let golden = golden("pickle_hostile.json");
    let message = |name: &str| {
        let items = golden["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["name"] == name).unwrap();
        read(&unhex(&item["hex"]), Objects::Refuse).unwrap_err()
    };
    for (name, wanted) in [
        (
            "os_system",
            "pickle: `os.system` at byte 14 is no plain value",
        ),
        (
            "os_system_proto0",
            "pickle: `os.system` at byte 0 is no plain value",
        ),
        (
            "persid",
            "pickle: a persistent id at byte 5 is no plain value",
        ),
        (
            "ext1",
            "pickle: an object of the extension registry at byte 2 is no plain value",
        ),
        (
            "next_buffer",
            "pickle: an out-of-band buffer at byte 2 is no plain value",
        ),
        (
            "huge_binunicode8",
            "pickle: 4611686018427387904 bytes are claimed and not there at byte 2",
        ),
        (
            "huge_long4",
            "pickle: 2147483647 bytes are claimed and not there at byte 2",
        ),
        (
            "huge_long_binput",
            "pickle: memo index 2147483647 is larger than the pickle at byte 3",
        ),
        (
            "frame_too_long",
            "pickle: a frame of 1000000 bytes is claimed and not there at byte 2",
        ),
        ("deep_list", "nested more than 160 levels deep"),
        (
            "memo_bomb",
            "the value needs more than 1048576 bytes of memory",
        ),
        ("self_list", "pickle: a value inside of itself"),
        (
            "unhashable_key",
            "pickle: a list cannot be a key of a dict or an item of a set",
        ),
        ("odd_setitems", "pickle: a key without a value at byte 7"),
        (
            "append_to_tuple",
            "pickle: a tuple is appended to at byte 5",
        ),
        ("build_dict", "pickle: a dict is given a state at byte 4"),
        ("no_mark", "pickle: there is no mark on the stack at byte 5"),
        ("stack_underflow", "pickle: the stack is empty at byte 2"),
        ("unknown_opcode", "pickle: unknown opcode ff at byte 2"),
        ("proto6", "pickle: protocol 6 is newer than 5 at byte 0"),
    ] {
        assert_eq!(message(name), wanted, "{name}");
    }
}

/// A pickle that makes a list of `n` items, and then uses it again and again by `again`.
fn amplified(n: usize, prelude: &[u8], again: &[u8], times: usize) -> Vec<u8> {
    let mut bytes = b"\x80\x04](".to_vec();
    bytes.extend(std::iter::repeat_n(b'N', n));
    bytes.extend_from_slice(b"e\x94");
    bytes.extend_from_slice(prelude);
    for _ in 0..times {
        bytes.extend_from_slice(again);
    }
    bytes.extend_from_slice(b"N.");
    bytes
}

#[test]
fn copies_that_calls_make_are_bounded() {
    // frozenset(list) a thousand times; nothing of it is used in the end.
    let bytes = amplified(
        10_000,
        b"\x8c\x08builtins\x8c\x09frozenset\x93\x94",
        b"h\x01h\x00\x85R0",
        1_000,
    );
    assert_eq!(
        read(&bytes, Objects::Refuse).unwrap_err(),
        "the value needs more than 1048576 bytes of memory"
    );
}

#[test]
fn a_text_that_is_used_often_counts_often() {
    let mut bytes = b"\x80\x04X\x10\x27\x00\x00".to_vec();
    bytes.extend(std::iter::repeat_n(b'a', 10_000));
    bytes.extend_from_slice(b"\x940(");
    bytes.extend(b"h\x00".repeat(1_000));
    bytes.extend_from_slice(b"l.");
    assert_eq!(
        read(&bytes, Objects::Refuse).unwrap_err(),
        "the value needs more than 1048576 bytes of memory"
    );
}

#[test]
fn arrays_without_elements_are_not_free() {
    let dtype = b"\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f4\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb";
    for shape in [
        &b"J\x00\x00\x00\x40K\x00\x86"[..],
        b"J\x00\x00\x00\x40J\x00\x00\x00\x40J\x00\x00\x00\x40\x87",
    ] {
        let mut bytes =
            b"\x80\x05\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93(C\x00".to_vec();
        bytes.extend_from_slice(dtype);
        bytes.extend_from_slice(shape);
        bytes.extend_from_slice(b"\x8c\x01CtR.");
        assert!(read(&bytes, Objects::Refuse).is_err(), "{shape:?}");
    }
    let mut empty = b"\x80\x05\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93(C\x00".to_vec();
    empty.extend_from_slice(dtype);
    empty.extend_from_slice(b"K\x00J\x00\x00\x00\x40J\x00\x00\x00\x40\x87\x8c\x01CtR.");
    assert_eq!(
        read(&empty, Objects::Refuse).unwrap(),
        serde_json::json!([])
    );
}

#[test]
fn a_cut_pickle_is_refused_wherever_it_ends() {
    for item in golden("pickle_values.json")["items"].as_array().unwrap() {
        let bytes = unhex(&item["hex"]);
        if bytes.len() > 400 {
            continue;
        }
        for len in 0..bytes.len() {
            assert!(
                read(&bytes[..len], Objects::Record).is_err(),
                "{} at {len}",
                item["name"]
            );
        }
    }
}

#[test]
fn a_job_above_the_size_limit_is_not_read() {
    let accept = Accept {
        max_bytes: 10,
        ..Accept::default()
    };
    let error = decode_job(b"{\"t\": null}", &accept).unwrap_err();
    assert!(matches!(
        error,
        DecodeError::TooLarge {
            size: 11,
            limit: 10
        }
    ));
}
