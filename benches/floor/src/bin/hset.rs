//! The least that materializing into Redis can do: the same HSETs that `benches/materialize` ends in, over one connection,
//! pipelined, without a source, a look at what is stored, or a client library.
//!
//! `hset HOST:PORT ROWS PROJECT` prints the seconds it took. The bytes are those of Feast's layout for the rows that
//! `benches/materialize/generate.py` makes; a reader thread counts the replies.

use std::io::{BufWriter, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const START_SECONDS: u64 = 1_790_812_800;
const VIEW: &str = "driver_stats";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .expect("usage: hset HOST:PORT ROWS PROJECT")
    };
    let (address, n_rows, project) = (
        next(),
        next().parse::<u64>().expect("ROWS is a number"),
        next(),
    );
    let stream = TcpStream::connect(address).expect("Redis answers");
    stream.set_nodelay(true).expect("a TCP connection");
    let replies = stream.try_clone().expect("a second handle");
    let started = Instant::now();
    let reader = std::thread::spawn(move || read_replies(replies, n_rows));
    let mut out = BufWriter::with_capacity(64 * 1024, stream);
    let fields = ["conv_rate", "acc_rate", "daily_trips"]
        .map(|name| murmur3(&format!("{VIEW}:{name}")).to_le_bytes());
    let timestamp_field = format!("_ts:{VIEW}");
    for id in 0..n_rows {
        let mut key = Vec::with_capacity(64);
        for number in [1u32, 2, 9] {
            key.extend(number.to_le_bytes());
        }
        key.extend(b"driver_id");
        key.extend(4u32.to_le_bytes());
        key.extend(8u32.to_le_bytes());
        key.extend(id.to_le_bytes());
        key.extend(project.as_bytes());
        let values = [
            double(id as f64 / 8.0),
            double(id as f64 / 4.0),
            integer(id),
        ];
        out.write_all(b"*10\r\n$4\r\nHSET\r\n")
            .expect("Redis reads");
        bulk(&mut out, &key);
        bulk(&mut out, timestamp_field.as_bytes());
        bulk(&mut out, &timestamp(id));
        for (field, value) in fields.iter().zip(&values) {
            bulk(&mut out, field);
            bulk(&mut out, value);
        }
    }
    out.flush().expect("Redis reads");
    reader.join().expect("every reply is one");
    println!("{:.3}", started.elapsed().as_secs_f64());
}

fn bulk(out: &mut impl Write, bytes: &[u8]) {
    write!(out, "${}\r\n", bytes.len()).expect("Redis reads");
    out.write_all(bytes).expect("Redis reads");
    out.write_all(b"\r\n").expect("Redis reads");
}

/// Each reply is `:4`, or `:0` where the row was there.
fn read_replies(mut stream: TcpStream, n_rows: u64) {
    let mut buffer = vec![0; 64 * 1024];
    let mut n_replies = 0;
    while n_replies < n_rows {
        let n = stream.read(&mut buffer).expect("Redis answers");
        assert!(n > 0, "Redis hung up");
        assert!(
            !buffer[..n].contains(&b'-'),
            "Redis refused: {}",
            String::from_utf8_lossy(&buffer[..n])
        );
        n_replies += buffer[..n].iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
}

fn double(value: f64) -> Vec<u8> {
    [&[0x29][..], &value.to_le_bytes()].concat()
}

fn integer(value: u64) -> Vec<u8> {
    let mut bytes = vec![0x20];
    varint(value, &mut bytes);
    bytes
}

fn timestamp(id: u64) -> Vec<u8> {
    let mut bytes = vec![0x08];
    varint(START_SECONDS + id / 1_000_000, &mut bytes);
    let nanos = id % 1_000_000 * 1_000;
    if nanos > 0 {
        bytes.push(0x10);
        varint(nanos, &mut bytes);
    }
    bytes
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// murmur3 x86 32-bit with seed 0.
fn murmur3(text: &str) -> u32 {
    let mix = |block: u32| {
        block
            .wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593)
    };
    let mut hash = 0u32;
    let blocks = text.as_bytes().chunks_exact(4);
    let tail = blocks.remainder();
    for block in blocks {
        let block = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        hash = (hash ^ mix(block))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    hash ^= mix(u32::from_le_bytes(last));
    hash ^= text.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}
