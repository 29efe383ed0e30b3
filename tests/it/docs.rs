//! What the documents say that can be held against the code: options, error codes, commands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use terrarium::config::{self, Config, Environment, Sources};

use crate::support::root;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn configuration_reference_is_up_to_date() {
    let (written, generated) = (read("docs/configuration.md"), config::docs::markdown());
    assert!(
        written.trim_end() == generated.trim_end(),
        "docs/configuration.md is stale: terrarium config docs > docs/configuration.md"
    );
}

#[test]
fn every_error_code_is_documented() {
    let headings: Vec<String> = read("docs/errors.md")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("### `")?.strip_suffix('`')?.to_owned()))
        .collect();
    let documented: BTreeSet<String> = headings.iter().cloned().collect();
    assert_eq!(documented.len(), headings.len(), "a code has two sections");
    let mut codes = BTreeSet::from(OUTSIDE_FAILURE.map(str::to_owned));
    for file in sources(&root().join("src")) {
        codes.extend(codes_of(&std::fs::read_to_string(file).unwrap()));
    }
    assert!(codes.contains("model_not_found"), "the scan finds nothing");
    let missing: Vec<_> = codes.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&codes).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/errors.md has no section for {missing:?}, and sections for {unknown:?} that are no codes"
    );
}

/// Codes that only audit events have: nobody was left to be answered.
const OUTSIDE_FAILURE: [&str; 2] = ["cancelled", "panicked"];

/// Rust files of the product, tests left out.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.to_string_lossy().ends_with("tests.rs")
        {
            files.push(path);
        }
    }
    files
}

/// The literals in the bodies of `fn code`; what stands behind `#[cfg(test)]` is no part of the product.
fn codes_of(source: &str) -> Vec<String> {
    let product = source.split("#[cfg(test)]\nmod tests {").next();
    let mut rest = product.unwrap_or_default();
    let mut codes = Vec::new();
    while let Some((_, after)) = rest.split_once("fn code(&self) -> &'static str {\n") {
        let body = after.split("\n    }\n").next().unwrap_or_default();
        codes.extend(body.split('"').skip(1).step_by(2).map(str::to_owned));
        rest = after;
    }
    codes
}

#[test]
fn readme_commands_exist() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.split_once(": ##"))
        .map(|(target, _)| target)
        .collect();
    let named = make_targets(&read("README.md"));
    assert!(named.contains("demo"), "the scan finds nothing");
    for target in named {
        assert!(
            targets.contains(target.as_str()),
            "README.md names `make {target}`, and the Makefile has {targets:?}"
        );
    }
}

/// What stands behind `make` where a command begins: in backticks, or at the beginning of a line.
fn make_targets(text: &str) -> BTreeSet<String> {
    let mut targets = BTreeSet::new();
    for line in text.lines() {
        for command in line.split('`') {
            let Some(arguments) = command.strip_prefix("make ") else {
                continue;
            };
            let target = arguments
                .split_whitespace()
                .find(|word| !word.contains('='));
            targets.extend(target.map(str::to_owned));
        }
    }
    targets
}

#[test]
fn every_line_of_the_example_configuration_can_be_switched_on() {
    load(&example(Lines::Together));
    let all: toml::Table = example(Lines::All).parse().unwrap();
    let registries = all["registry"].as_table().unwrap();
    assert!(registries.len() > 1, "the choice of a registry is shown");
    for (name, options) in registries {
        let table = toml::Table::from_iter([(name.clone(), options.clone())]);
        let one = toml::Table::from_iter([("registry".to_owned(), table.into())]);
        load(&one.to_string());
    }
}

#[test]
fn the_example_configuration_shows_the_defaults() {
    assert_eq!(load(&example(Lines::Defaults)), Config::default());
}

#[test]
fn the_example_configuration_has_every_option() {
    let example: toml::Table = example(Lines::All).parse().unwrap();
    let mut options = 0;
    let mut table = String::new();
    for line in config::docs::markdown().lines() {
        if let Some(heading) = line.strip_prefix("## `[") {
            // Where the user chooses a name the example has chosen one.
            let path = heading.trim_end_matches("]`");
            table = path
                .replace("jobs.functions.<name>", "jobs.functions.predict")
                .replace("jobs.cron.<name>", "jobs.cron.nightly")
                .replace("<name>", "driver_ranking");
        }
        let option = line
            .strip_prefix("| `")
            .and_then(|row| row.split('`').next());
        let Some(option) = option.filter(|option| *option != "<name>") else {
            continue;
        };
        let place = table
            .split('.')
            .try_fold(&example, |table, name| table.get(name)?.as_table());
        assert!(
            place.is_some_and(|table| table.contains_key(option)),
            "terrarium.toml does not show `{table}.{option}`"
        );
        options += 1;
    }
    assert!(options > 10, "the scan finds nothing");
}

/// Which lines of the example are switched on.
#[derive(PartialEq)]
enum Lines {
    All,
    /// Without those that are another registry: there is only one.
    Together,
    /// Without those, and the tables, that say that they are an example.
    Defaults,
}

/// The example file with its options switched on: the lines that are a table or `name = value` behind `# `.
fn example(lines: Lines) -> String {
    let mut text = String::new();
    let (mut in_example, mut in_other) = (false, false);
    for line in read("terrarium.toml").lines() {
        let Some(option) = line.strip_prefix("# ").filter(|line| is_option(line)) else {
            continue;
        };
        let is_example = option.contains("# an example");
        if option.starts_with('[') {
            in_example = is_example;
            in_other = option.contains("# another registry");
        }
        let is_on = match lines {
            Lines::All => true,
            Lines::Together => !in_other,
            Lines::Defaults => !(is_example || in_example || in_other),
        };
        if is_on {
            text.push_str(option);
            text.push('\n');
        }
    }
    text
}

fn is_option(line: &str) -> bool {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    line.starts_with('[')
        || line
            .split_once(" = ")
            .is_some_and(|(name, _)| is_name(name))
}

fn load(text: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(config::DEFAULT_FILE), text).unwrap();
    let environment = Environment::default();
    let sources = Sources {
        file: None,
        directory: directory.path(),
        environment: &environment,
        flags: &[],
    };
    match config::load(&sources) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("terrarium.toml: {error}"),
    }
}
