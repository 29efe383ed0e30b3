//! The floor of materializing: the same `HSET`s that a materialized view of three features comes to, written down one
//! connection without waiting for answers, which a second thread counts. No Parquet, no newest row per key, no rule for
//! stale rows.
//!
//! `hset REDIS DATABASE PROJECT VIEW N_ROWS`: `host:port`, number of the database. Prints the seconds that it took.
//! Row `i` is that of `benches/peers/feast/repository.py`.

use std::error::Error;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::TcpStream;
use std::time::Instant;

/// 2024-03-01T12:00:00Z
const EVENT_TIMESTAMP: u64 = 1_709_294_400;

fn main() -> Result<(), Box<dyn Error>> {
    let [redis, database, project, view, n_rows] =
        <[String; 5]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
            .map_err(|_| "usage: hset REDIS DATABASE PROJECT VIEW N_ROWS")?;
    let n_rows: i64 = n_rows.parse()?;
    let started = Instant::now();
    let connection = TcpStream::connect(redis)?;
    let answers = BufReader::with_capacity(1 << 16, connection.try_clone()?);
    let counted = std::thread::spawn(move || count(answers, n_rows));

    let fields = ["f", "d", "i"].map(|feature| floor::field(&format!("{view}:{feature}")));
    let timestamp_field = format!("_ts:{view}").into_bytes();
    let timestamp = [&[0x08], varint(EVENT_TIMESTAMP).as_slice()].concat();
    let mut out = BufWriter::with_capacity(1 << 18, connection);
    command(&mut out, &[b"SELECT", database.as_bytes()])?;
    for row in 0..n_rows {
        let key = floor::entity_key(row, &project);
        let f = [
            &[0x35],
            ((row % 1000) as f32 / 1000.0).to_le_bytes().as_slice(),
        ]
        .concat();
        let d = [&[0x29], (row as f64 / 7.0).to_le_bytes().as_slice()].concat();
        let i = [&[0x20], varint(row as u64).as_slice()].concat();
        let arguments: [&[u8]; 10] = [
            b"HSET",
            &key,
            &timestamp_field,
            &timestamp,
            &fields[0],
            &f,
            &fields[1],
            &d,
            &fields[2],
            &i,
        ];
        command(&mut out, &arguments)?;
    }
    out.flush()?;
    counted.join().expect("the counting thread")?;
    println!("{:.6}", started.elapsed().as_secs_f64());
    Ok(())
}

fn command(out: &mut impl Write, arguments: &[&[u8]]) -> std::io::Result<()> {
    write!(out, "*{}\r\n", arguments.len())?;
    for argument in arguments {
        write!(out, "${}\r\n", argument.len())?;
        out.write_all(argument)?;
        out.write_all(b"\r\n")?;
    }
    Ok(())
}

/// One line for `SELECT`, one number a row.
fn count(mut answers: impl BufRead, n_rows: i64) -> Result<(), String> {
    let mut line = Vec::new();
    for _ in 0..=n_rows {
        line.clear();
        answers
            .read_until(b'\n', &mut line)
            .map_err(|error| error.to_string())?;
        if !matches!(line.first(), Some(b':' | b'+')) {
            return Err(format!("redis: {}", String::from_utf8_lossy(&line)));
        }
    }
    Ok(())
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
