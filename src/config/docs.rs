//! The reference of all options in Markdown, written from the types and their doc comments.

use schemars::JsonSchema;

use super::Config;
use super::environment::PREFIX;
use super::key::Key;
use super::load::DEFAULT_FILE;
use super::schema::{Node, Schema};
use super::text::literal;

/// The reference of the product: the text of `docs/configuration.md`.
pub fn markdown() -> String {
    let mut text = format!(
        "# Configuration\n\n\
         <!-- Generated from the doc comments in `src/`: change those. -->\n\n\
         Options stand in `{DEFAULT_FILE}` in the current directory, or in the file after `--config`. A variable such as\n\
         `{PREFIX}HTTP__LISTEN` (for `http.listen`) wins over the file, and `--set http.listen=...` over both.\n\
         `terrarium config print` shows what is in effect, and where each value comes from.\n"
    );
    text.push_str(&tables_of::<Config>());
    text
}

/// One section for each table of a configuration type, in order of declaration.
pub(super) fn tables_of<T: JsonSchema>() -> String {
    let schema = Schema::of::<T>();
    let mut text = String::new();
    write_table(&mut text, &Key::default(), schema.root());
    text
}

fn write_table(text: &mut String, key: &Key, node: Node<'_>) {
    let (tables, options): (Vec<_>, Vec<_>) = node.options().partition(|(_, node)| node.is_table());
    let entries = node.entries();
    let has_rows = !options.is_empty() || entries.is_some_and(|entries| !entries.is_table());
    if !key.segments().is_empty() && (has_rows || node.description().is_some()) {
        text.push_str(&format!("\n## `[{}]`\n", heading(key)));
        if let Some(description) = node.description() {
            text.push_str(&format!("\n{description}\n"));
        }
    }
    if has_rows {
        text.push_str("\n| option | takes | default | |\n|---|---|---|---|\n");
    }
    for (name, option) in &options {
        text.push_str(&row(name, *option, node.required().contains(name)));
    }
    if let Some(entries) = entries {
        if entries.is_table() {
            write_table(text, &key.child(ANY_NAME), entries);
        } else {
            text.push_str(&row(ANY_NAME, entries, false));
        }
    }
    for (name, table) in tables {
        write_table(text, &key.child(name), table);
    }
}

/// Stands for a name that the user chooses.
const ANY_NAME: &str = "<name>";

/// A key whose chosen names are not quoted.
fn heading(key: &Key) -> String {
    key.segments().join(".")
}

fn row(name: &str, node: Node<'_>, required: bool) -> String {
    let default = match node.default() {
        _ if required => "must be set".to_owned(),
        _ if node.is_secret() => String::new(),
        Some(default) => format!("`{}`", literal(default)),
        None => "not set".to_owned(),
    };
    let wanted = node.wanted();
    let takes = wanted.strip_prefix("a ").or(wanted.strip_prefix("an "));
    let takes = takes.unwrap_or(&wanted);
    let meaning = cell(&meaning(node));
    format!("| `{name}` | {takes} | {default} | {meaning} |\n")
}

/// The doc comment, then what each word means.
fn meaning(node: Node<'_>) -> String {
    let mut text = node.description().unwrap_or_default().to_owned();
    for (word, description) in node.words() {
        if let Some(description) = description {
            text.push_str(&format!("\n`{word}`: {description}"));
        }
    }
    text
}

/// Text in a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('\n', " ")
}
