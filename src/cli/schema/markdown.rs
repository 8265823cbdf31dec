//! The reference of the configuration, from the same schemas: `docs/configuration.md`.

use std::fmt::Write as _;

use clap::Args as _;
use serde_json::{Map, Value};

use super::Name;
use crate::config::Overrides;
use crate::manifest;

const HEAD: &str = "\
# Configuration

*For operators and platform engineers who write these files.*

Every key of the four files that Pinion reads, made from the code that reads them by `pinion schema --markdown`. An unknown
key, a wrong type or a value out of range is an error that names the file, the line and the key; all errors come at once.
`pinion validate` checks the files of the environments repository, and `pinion run` its own before it opens a port. For
editors the same is in [schemas/](../schemas), as JSON Schema; a first line such as
`#:schema ../schemas/pinion.schema.json` lets them complete and check.

Durations have units: `\"90s\"`, `\"45m\"`, `\"1h 30m\"`. Paths are relative to the file that says them. Secrets never stand in
these files: they are named by file or environment variable, and files are read when they are needed, so that a rotated
secret is taken up; but for the token of `[server]`, which is read at the start.

Placeholders are `{environment}`, `{account}` and `{region}`; in what belongs to a target also `{target}`, which is its name
(`api` of `fargate/api`), and `{component}`; and, where an image is looked up or a probe is sent, `{version}`.

`pinion validate --output json` prints `valid`, how many `environments`, `targets` and `pins` there are, and the `findings`,
`warnings` and `notes`, each with `file`, `line`, `column` where it is known, `key`, `check`, `message` and `help`.
";

/// How one environment comes of several tables.
const MERGED: &str = r#"
`environments/defaults.toml` may hold the same keys: it is merged under each `environment.toml`, table by table; an array and
an `ami` are replaced whole. Then `[defaults.asg]` and `[defaults.fargate]`, which may stand in either file, are merged under
each target of their kind in the same way. So a target's own table wins, wherever it stands, and below it `environment.toml` wins
over `defaults.toml`. Six services are six short tables:

```toml
[defaults.fargate]
cluster = "app"
image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/{component}:{version}"

[fargate.api]
[fargate.billing]
[fargate.cart]
[fargate.mail]
[fargate.search]
[fargate.worker]
cluster = "batch"
```

What comes of it counts, not where it stands: a value that moves to the defaults, or from them, is no change. What is required
has to be in one of these tables: `id`, `region` and `role` of `account`; `ami` of each `asg`; `cluster` and `image` of each
`fargate`; `owner`, `reason` and `until` of each `suspend`.
"#;

/// The files, in the order in which one meets them; `defaults.toml` has the keys of `environment.toml`.
const FILES: [Name; 3] = [Name::Pinion, Name::Environment, Name::Pins];

/// All of it.
pub(super) fn reference() -> String {
    let mut page = HEAD.to_owned();
    for name in FILES {
        let schema = name.schema();
        let title = schema.get("title").and_then(Value::as_str).unwrap_or_default();
        push(&mut page, &format!("\n## `{title}`\n\n{}\n", description(&schema)));
        if name == Name::Pinion {
            push(&mut page, "\nFlags beat environment variables, which beat the file.\n");
        }
        if name == Name::Environment {
            push(&mut page, MERGED);
        }
        table(&mut page, "", &schema);
        if name == Name::Pinion {
            flags(&mut page);
        }
    }
    page
}

/// One table of a file, and after it those within it. `path` is its name, `a.b`, or empty for the file itself.
fn table(page: &mut String, path: &str, schema: &Value) {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut inner: Vec<(String, String, &Value)> = Vec::new();
    let mut rows = String::new();
    for (key, property) in properties {
        let place = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let kind = match within(&place, property) {
            Some((heading, name, schema)) => {
                let link = format!("[`{heading}`](#{})", anchor(&heading));
                inner.push((heading, name, schema));
                link
            }
            None => kind(property),
        };
        let needed = if required.contains(&key.as_str()) { " Required." } else { "" };
        push(&mut rows, &format!("| `{key}` | {kind} | {}{needed} |\n", cell(&description(property))));
    }
    if let Some(each) = schema.get("additionalProperties").filter(|each| each.is_object()) {
        let alternatives = each.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        for one in alternatives {
            let about = if one.get("properties").is_some() {
                "the version, and the digest that its image must have"
            } else {
                "the version"
            };
            push(&mut rows, &format!("| `COMPONENT` | {} | {about} |\n", kind(one)));
        }
    }
    if !rows.is_empty() {
        push(page, &format!("\n| key | value | meaning |\n| --- | --- | --- |\n{rows}"));
    }
    for (heading, name, schema) in inner {
        push(page, &format!("\n### `{heading}`\n\n{}\n", description(schema)));
        table(page, &name, schema);
    }
    for one in schema.pointer("/additionalProperties/oneOf").and_then(Value::as_array).into_iter().flatten() {
        table(page, path, one);
    }
}

/// The table that stands in a key: what its head looks like, its name in the heads of tables within it, and its schema.
fn within<'a>(place: &str, property: &'a Value) -> Option<(String, String, &'a Value)> {
    // Described there.
    if manifest::described_at(property).is_some() {
        return None;
    }
    if property.get("properties").is_some() {
        return Some((format!("[{place}]"), place.to_owned(), property));
    }
    if let Some(items) = property.get("items").filter(|items| items.get("properties").is_some()) {
        return Some((format!("[[{place}]]"), place.to_owned(), items));
    }
    let each = property.get("additionalProperties").filter(|each| each.get("properties").is_some())?;
    let name = format!("{place}.NAME");
    Some((format!("[{name}]"), name, each))
}

/// What a value looks like.
fn kind(schema: &Value) -> String {
    if let Some(table) = manifest::described_at(schema) {
        let heading = format!("[{table}]");
        return format!("keys of [`{heading}`](#{})", anchor(&heading));
    }
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let number = |key: &str| schema.get(key).and_then(Value::as_i64);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
        let forms: Vec<String> = forms.iter().map(kind).collect();
        return forms.join(", or ");
    }
    match (text("type"), number("minimum"), number("maximum")) {
        (Some("integer"), Some(least), Some(greatest)) => format!("{least} to {greatest}"),
        (Some("array"), ..) => format!("list of: {}", schema.get("items").map(kind).unwrap_or_default()),
        (Some("object"), ..) => match schema.get("properties").and_then(Value::as_object) {
            Some(properties) => {
                let keys: Vec<String> = properties.keys().map(|key| format!("`{key}`")).collect();
                format!("table with {}", keys.join(", "))
            }
            None => format!("table of: {}", schema.get("additionalProperties").map(kind).unwrap_or_default()),
        },
        (Some("string"), ..) if text("format") == Some("date-time") => "time".to_owned(),
        (Some("string"), ..) if schema.get("examples").is_some() => "duration".to_owned(),
        (Some("string"), ..) => match text("pattern") {
            Some(pattern) => format!("text like `{}`", pattern.replace('|', "\\|")),
            None => "text".to_owned(),
        },
        (other, ..) => other.unwrap_or("anything").to_owned(),
    }
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// As the sites that show Markdown make it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    kept.collect::<String>().to_lowercase()
}

fn flags(page: &mut String) {
    push(
        page,
        "\n### Flags and environment variables of `pinion run`\n\n| flag | variable | meaning |\n| --- | --- | --- |\n",
    );
    let command = Overrides::augment_args(clap::Command::new("run"));
    for argument in command.get_arguments() {
        let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else { continue };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        push(page, &format!("| `--{flag}` | `{}` | {} |\n", variable.to_string_lossy(), cell(&help)));
    }
    push(
        page,
        "\n`--config` (`PINION_CONFIG`) names the file; default `pinion.toml`. `PINION_TOKEN` holds the bearer token itself: it beats \
         the file, and `--token-file` beats it. Commands that ask a controller find it by `--address` (`PINION_ADDRESS`).\n",
    );
}

/// Writing into a string can't fail.
fn push(page: &mut String, text: &str) {
    let _ = page.write_str(text);
}
