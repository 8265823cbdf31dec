//! `pinion schema [NAME]`: the JSON Schemas of the files that people write, and of what programs read.

mod markdown;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::error::{CliError, ResultExt as _};
use super::output::print;
use crate::forge::notifier::Notification;
use crate::{config, manifest};

/// Prints the JSON Schemas of the TOML files, and their reference
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file whose schema to print; all of them, as one JSON object, unless named
    #[arg(value_enum)]
    name: Option<Name>,
    /// Write NAME.schema.json files into this folder instead
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Print the reference of the configuration, as docs/configuration.md has it
    #[arg(long, conflicts_with_all = ["name", "write"])]
    markdown: bool,
}

/// The files that have a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// environments/NAME/environment.toml
    Environment,
    /// environments/defaults.toml
    Defaults,
    /// environments/NAME/pins.toml
    Pins,
    /// pinion.toml
    Pinion,
    /// What `pinion plan --output json` prints
    Plan,
    /// What a `[[notify]]` is sent
    Notification,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Environment, Self::Defaults, Self::Pins, Self::Pinion, Self::Plan, Self::Notification];

    /// The schema's file.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Environment => "environment.schema.json",
            Self::Defaults => "defaults.schema.json",
            Self::Pins => "pins.schema.json",
            Self::Pinion => "pinion.schema.json",
            Self::Plan => "plan.schema.json",
            Self::Notification => "notification.schema.json",
        }
    }

    /// The schema.
    #[must_use]
    pub fn schema(self) -> Value {
        sorted(match self {
            Self::Environment => manifest::schema::environment(),
            Self::Defaults => manifest::schema::defaults(),
            Self::Pins => manifest::schema::pins(),
            Self::Pinion => config::schema(),
            Self::Plan => plan(),
            Self::Notification => notification(),
        })
    }

    /// The schema as its file has it.
    ///
    /// # Errors
    /// Never, for these schemas.
    pub fn text(self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.schema()).map(|text| text + "\n")
    }
}

/// The schema of a plan, all of it in one piece.
fn plan() -> Value {
    whole::<super::plan::PlanReport>("pinion plan --output json")
}

/// The schema of a notification, all of it in one piece.
fn notification() -> Value {
    whole::<Notification>("a notification of Pinion")
}

fn whole<T: schemars::JsonSchema>(title: &str) -> Value {
    let settings = schemars::generate::SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}

/// Its keys by name, at all depths: whether a JSON object keeps another order depends on what else is in the build.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let entries: BTreeMap<String, Value> =
                object.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// Prints or writes schemas.
///
/// # Errors
/// If they can't be written.
pub async fn run(args: Args) -> Result<(), CliError> {
    if args.markdown {
        return Ok(print(&markdown::reference())?);
    }
    let names = args.name.map_or_else(|| Name::ALL.to_vec(), |name| vec![name]);
    if let Some(folder) = args.write {
        std::fs::create_dir_all(&folder).context(|| format!("can't create {}", folder.display()))?;
        for name in names {
            let path = folder.join(name.file());
            std::fs::write(&path, name.text()?).context(|| format!("can't write {}", path.display()))?;
        }
        return Ok(());
    }
    if let Some(name) = args.name {
        print(&name.text()?)?;
    } else {
        let all = Value::Object(names.iter().map(|name| (name.file().to_owned(), name.schema())).collect());
        print(&(serde_json::to_string_pretty(&sorted(all))? + "\n"))?;
    }
    Ok(())
}
