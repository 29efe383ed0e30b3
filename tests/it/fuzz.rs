//! The fuzz targets without a fuzzer: every file of the corpora, past findings among them, and mutations of these.
//!
//! `TERRARIUM_FUZZ_SECONDS` says how long each target is fed with mutations, `TERRARIUM_FUZZ_SEED` with which; without
//! them it is a few of always the same. What breaks a target stays behind as a file, named in the failure.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use terrarium::http::fuzz::{TARGETS, Target};

/// Far more than any input here needs, in a debug build on a busy machine.
const SLOW: Duration = Duration::from_secs(10);

/// Mutations of each target where nobody asks for more, and how long they may take together.
const FEW: usize = 2_000;
const SHORT: Duration = Duration::from_secs(2);

/// A mutation is no longer.
const LONGEST: usize = 64 * 1024;

#[test]
fn fuzz_oip_json() {
    feed("oip_json");
}

#[test]
fn fuzz_oip_binary() {
    feed("oip_binary");
}

#[test]
fn fuzz_oip_grpc() {
    feed("oip_grpc");
}

#[test]
fn fuzz_predict() {
    feed("predict");
}

#[test]
fn fuzz_mlflow_json() {
    feed("mlflow_json");
}

#[test]
fn fuzz_mlflow_csv() {
    feed("mlflow_csv");
}

fn targets() -> Vec<Target> {
    let mut targets = TARGETS.to_vec();
    targets.push(("oip_grpc", terrarium::grpc::oip::fuzz));
    targets
}

#[test]
fn every_target_has_a_corpus_and_a_libfuzzer_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, _) in targets() {
        assert!(corpus(name).len() >= 5, "{name}");
        let program = root.join("fuzz_targets").join(format!("{name}.rs"));
        let program = fs_err::read_to_string(program).unwrap();
        assert!(program.contains("fuzz_target!"), "{name}");
    }
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut files: Vec<PathBuf> = fs_err::read_dir(folder.join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = fs_err::read(&path).unwrap();
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

fn feed(name: &str) {
    let (_, target) = targets()
        .into_iter()
        .find(|(other, _)| *other == name)
        .unwrap();
    let corpus = corpus(name);
    for (path, bytes) in &corpus {
        run(target, bytes, path);
    }
    let number = |variable| {
        std::env::var(variable)
            .ok()
            .map(|n| n.parse::<u64>().unwrap())
    };
    let seconds = number("TERRARIUM_FUZZ_SECONDS");
    let until = Instant::now() + seconds.map_or(SHORT, Duration::from_secs);
    let most = seconds.map_or(FEW, |_| usize::MAX);
    let mut random = Random(number("TERRARIUM_FUZZ_SEED").unwrap_or(0) ^ 0x9e37_79b9_7f4a_7c15);
    let seeds: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let left_behind = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz_{name}"));
    let mut n_runs = 0;
    while n_runs < most && Instant::now() < until {
        let input = mutated(&seeds, &mut random);
        if seconds.is_some() {
            // What ends the whole process leaves no time to say so.
            fs_err::write(&left_behind, &input).unwrap();
        }
        run(target, &input, &left_behind);
        n_runs += 1;
    }
    if seconds.is_some() {
        say(name, n_runs);
    }
}

#[expect(
    clippy::print_stdout,
    reason = "whoever asks for a long run wants to know how far it came"
)]
fn say(name: &str, n_runs: usize) {
    println!("{name}: {n_runs} mutations");
}

fn run(target: fn(&[u8]), input: &[u8], place: &Path) {
    let start = Instant::now();
    let outcome = catch_unwind(|| target(input));
    let took = start.elapsed();
    if outcome.is_err() || took > SLOW {
        if !place.exists() || fs_err::read(place).unwrap() != input {
            fs_err::write(place, input).unwrap();
        }
        panic!("{} took {took:?}: {outcome:?}", place.display());
    }
}

/// Pieces that decide how the rest is read.
const PIECES: [&[u8]; 40] = [
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0.0",
    b"1e308",
    b"0.1",
    b"-1",
    b"0",
    b"255",
    b"128",
    b"65536",
    b"2147483648",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"[",
    b"]",
    b"[]",
    b"{}",
    b"\"\"",
    b"\"x\":",
    b",",
    b"\\u0000",
    b"\\ud800",
    b"\xef\xb7\x90",
    b"\xff",
    b"\"a\"",
    b"\"FP16\"",
    b"\"INT8\"",
    b"\"BYTES\"",
    b"\"BOOL\"",
    b"\"data\":",
    b"\"shape\":",
    b"\xff\xff\xff\xff",
    b"\n",
    b"\r\n",
    b"\0\0\0\0",
];

fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = at + random.below((input.len() - at).min(40) + 1);
        match random.below(9) {
            0 => _ = input.drain(at..end),
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 if at < input.len() => input[at] = random.below(256) as u8,
            3 => insert(&mut input, at, PIECES[random.below(PIECES.len())]),
            4 => {
                let piece = PIECES[random.below(PIECES.len())];
                _ = input.splice(at..end, piece.iter().copied());
            }
            // The same again, sometimes very often.
            5 => {
                let piece = input[at..end].to_vec();
                let times = [1, 2, 30, 1_000][random.below(4)];
                insert(&mut input, at, &piece.repeat(times));
            }
            // The end of another one.
            6 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            7 => {
                if let Some(place) = number_at(&input, at) {
                    let piece = PIECES[2 + random.below(16)];
                    _ = input.splice(place, piece.iter().copied());
                }
            }
            _ => input.truncate(at),
        }
        input.truncate(LONGEST);
    }
    input
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied());
}

/// The digits next to a place.
fn number_at(input: &[u8], at: usize) -> Option<std::ops::Range<usize>> {
    let start = at + input[at..].iter().position(u8::is_ascii_digit)?;
    let length = input[start..]
        .iter()
        .position(|byte| !byte.is_ascii_digit());
    Some(start..length.map_or(input.len(), |length| start + length))
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }
}
