//! The layers of docs/architecture.md, held by reading every `use crate::` line and every `crate::` path.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Module, layer. A module may use lower layers; sideways only what `SIDEWAYS` lists.
const LAYERS: [(&str, u8); 21] = [
    ("main", 5),
    ("cli", 5),
    ("app", 5),
    ("config", 5),
    ("http", 4),
    ("grpc", 4),
    ("predict", 3),
    ("tasks", 3),
    ("features", 2),
    ("models", 2),
    ("inference", 2),
    ("jobs", 2),
    ("audit", 2),
    ("types", 1),
    ("error", 1),
    ("telemetry", 1),
    ("shutdown", 1),
    ("storage", 1),
    ("workers", 1),
    ("memory", 1),
    ("testing", 1),
];

const SIDEWAYS: [(&str, &str); 2] = [("models", "inference"), ("tasks", "predict")];

/// Wiring and foundation may use their own layer.
fn may_use(from: (&str, u8), to: (&str, u8)) -> bool {
    from.0 == to.0
        || to.1 < from.1
        || (from.1 == to.1 && (from.1 == 5 || from.1 == 1))
        || SIDEWAYS.contains(&(from.0, to.0))
}

#[test]
fn every_import_points_down() {
    let mut forbidden = Vec::new();
    for (file, module) in sources() {
        let from = layer(&module);
        for (line, target) in imports(&file) {
            let to = layer(&target);
            if !may_use(from, to) {
                forbidden.push(format!("{}:{line}: {module} uses {target}", file.display()));
            }
        }
    }
    assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
}

#[test]
fn the_foundation_has_no_cycles() {
    let mut edges = BTreeSet::new();
    for (file, module) in sources() {
        for (_, target) in imports(&file) {
            if layer(&module).1 == 1 && layer(&target).1 == 1 && module != target {
                edges.insert((module.clone(), target));
            }
        }
    }
    for (from, to) in &edges {
        assert!(
            !edges.contains(&(to.clone(), from.clone())),
            "{from} and {to} use each other"
        );
    }
}

#[test]
fn backend_files_are_named_only_by_their_parent() {
    let backends = [
        ("features/online", "redis"),
        ("features/online", "sqlite"),
        ("features/online", "postgres"),
        ("features/offline", "files"),
        ("features/offline", "postgres"),
        ("features/offline", "direct"),
        ("features/offline", "cluster"),
        ("models/registry", "local"),
        ("models/registry", "mlflow"),
        ("models/registry", "mlruns"),
        ("models/registry", "mlflow_sqlite"),
        ("audit/sink", "file"),
        ("audit/sink", "kafka"),
        ("jobs/queue", "redis"),
        ("jobs/queue", "sqlite"),
        ("inference", "onnx"),
    ];
    for (parent, backend) in backends {
        let path = format!("{}::{backend}::", parent.replace('/', "::"));
        for (file, _) in sources() {
            let text = std::fs::read_to_string(&file).unwrap();
            let inside = file
                .strip_prefix(root().join("src"))
                .unwrap()
                .starts_with(parent);
            assert!(
                inside || !text.contains(&path),
                "{} names {path}",
                file.display()
            );
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (file, _) in sources() {
        if file.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} does not open with `//!`",
            file.display()
        );
    }
}

#[test]
fn main_stays_thin() {
    let text = std::fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(text.lines().count() < 60);
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn layer(module: &str) -> (&'static str, u8) {
    *LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .unwrap_or_else(|| panic!("module `{module}` has no layer"))
}

/// Every source file with the top-level module it belongs to; `lib.rs` only declares.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    files.retain(|file| !file.ends_with("src/lib.rs"));
    files
        .into_iter()
        .map(|file| {
            let relative = file.strip_prefix(root().join("src")).unwrap().to_owned();
            let first = relative
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_string_lossy()
                .into_owned();
            (file, first.trim_end_matches(".rs").to_owned())
        })
        .collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Line number and top-level module of each `crate::module`, also in `use crate::{a, b}`.
fn imports(file: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for rest in line.split("crate::").skip(1) {
            let names = match rest.strip_prefix('{') {
                Some(group) => group.split(',').map(first_word).collect(),
                None => vec![first_word(rest)],
            };
            found.extend(
                names
                    .into_iter()
                    .filter(|name| !name.is_empty())
                    .map(|name| (number + 1, name)),
            );
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || *c == '_')
        .collect()
}
