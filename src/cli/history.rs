//! `pinion history`: what has happened, from a running controller or from what one has left.

use std::path::{Path, PathBuf};

use comfy_table::Color;
use jiff::{SignedDuration, Timestamp};

use super::client::{Address, Controller};
use super::error::{CliError, ResultExt as _};
use super::output::{self, Output, Screen};
use super::unknown;
use crate::clock::{Clock as _, SystemClock};
use crate::history::{FILE, Query, Store, wording};
use crate::model::TargetRef;
use crate::model::escape::{one_line, plain_json};
use crate::model::event::{Deliveries, EventKind, EventPage, EventRecord};

/// How many events a page of the API has.
const PAGE: usize = 500;

/// Shows what has happened.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this environment or target: prod, prod/asg/web
    #[arg(value_name = "ENV[/KIND/NAME]")]
    scope: Option<String>,

    /// Not older than this: 7d, 12h, 2026-01-02, 2026-01-02T12:00:00Z; for --dora 30d unless said
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only of this component
    #[arg(long)]
    component: Option<String>,

    /// Only of this kind: rollout-ended, quarantined; several between commas
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    kind: Vec<EventKind>,

    /// At most so many, the newest
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    limit: usize,

    /// The four DORA figures of each component instead
    #[arg(long)]
    dora: bool,

    /// For people, or for programs
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,

    /// Read the history that a controller has left in its cache folder, instead of asking one that runs
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    #[command(flatten)]
    address: Address,
}

fn kind(word: &str) -> Result<EventKind, String> {
    let words = || EventKind::ALL.map(EventKind::as_str).join(", ");
    EventKind::parse(word).ok_or_else(|| format!("known kinds: {}", words()))
}

/// Prints events, newest first, or figures.
///
/// # Errors
/// If neither a controller nor a file can be read, or the arguments make no sense.
pub async fn run(args: Args) -> Result<(), CliError> {
    let (now, screen) = (SystemClock.now(), Screen::stdout());
    let since = args.since.as_deref().map(|text| wording::since(text, now)).transpose().map_err(CliError::usage)?;
    let scope = args.scope.as_deref().map(|text| text.trim_end_matches('/'));
    if scope.is_some_and(|scope| scope.contains('/') && TargetRef::try_from(scope.to_owned()).is_err()) {
        return Err(CliError::usage(format!("`{}` is neither an environment nor a target", scope.unwrap_or_default()))
            .hint("write an environment like prod, a target like prod/asg/web"));
    }
    let source = match &args.cache_dir {
        Some(folder) => EventSource::Store(open(folder)?),
        None => EventSource::Controller(Controller::new(args.address.clone())?),
    };
    if args.dora {
        if scope.is_some_and(|scope| scope.contains('/')) {
            return Err(CliError::usage("the figures are those of components; name an environment, not a target"));
        }
        let since = match since {
            Some(since) => since,
            None => now.checked_sub(SignedDuration::from_hours(30 * 24))?,
        };
        let mut figures = source.deliveries(scope, since, now).await?;
        figures.components.retain(|it| args.component.as_ref().is_none_or(|wanted| *wanted == it.component));
        return print(args.output, &figures, || figures_text(&figures, screen));
    }
    let mut query =
        Query { scope: scope.map(str::to_owned), component: args.component, since, ..Query::newest(args.limit) };
    query.kinds = args.kind.into_iter().collect();
    if query.kinds.is_empty() && !scope.is_some_and(|scope| scope.contains('/')) {
        query = query.of_interest();
    }
    let page = source.newest(query, args.limit).await?;
    if let (Some(scope), true) = (scope, page.events.is_empty()) {
        source.knows(scope).await?;
    }
    print(args.output, &page, || text(&page.events, now, screen))
}

fn open(folder: &Path) -> Result<Store, CliError> {
    Store::read(&folder.join(FILE)).map_err(CliError::from).hint(|| {
        "name the folder that the controller's `cache_dir` names; or leave --cache-dir out, to ask one that runs"
            .to_owned()
    })
}

fn print<T: serde::Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) -> Result<(), CliError> {
    let text = match output {
        Output::Json => plain_json(&format!("{:#}\n", serde_json::to_value(value)?)).into_owned(),
        Output::Text => text(),
    };
    Ok(output::print(&text)?)
}

/// Where the history is read.
enum EventSource {
    Controller(Controller),
    Store(Store),
}

impl EventSource {
    async fn page(&self, query: &Query) -> Result<EventPage, CliError> {
        match self {
            Self::Controller(controller) => controller.history(query).await,
            Self::Store(store) => Ok(store.page(query)),
        }
    }

    /// Whether there is such an environment or target, of which nothing was found. What a controller has left doesn't say
    /// which there are, only what happened to them.
    async fn knows(&self, scope: &str) -> Result<(), CliError> {
        match self {
            Self::Controller(controller) => {
                let status = controller.status().await?;
                if unknown::knows(scope, &status) { Ok(()) } else { Err(unknown::scope(scope, &status)) }
            }
            Self::Store(store)
                if store.page(&Query { scope: Some(scope.to_owned()), ..Query::newest(1) }).events.is_empty() =>
            {
                let scope = one_line(scope);
                Err(CliError::failed(format!("nothing is recorded of `{scope}`")).hint("check its spelling"))
            }
            Self::Store(_) => Ok(()),
        }
    }

    /// The newest so many events, however many pages they take.
    async fn newest(&self, mut query: Query, limit: usize) -> Result<EventPage, CliError> {
        let mut all = EventPage::default();
        while all.events.len() < limit {
            query.limit = (limit - all.events.len()).min(PAGE);
            let page = self.page(&query).await?;
            all.dropped = page.dropped;
            all.events.extend(page.events);
            all.next = page.next;
            let Some(next) = &all.next else { break };
            query.before = Some(next.parse().map_err(CliError::failed)?);
        }
        Ok(all)
    }

    async fn deliveries(
        &self,
        environment: Option<&str>,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Deliveries, CliError> {
        match self {
            Self::Controller(controller) => controller.dora(environment, since).await,
            Self::Store(store) => Ok(store.deliveries(environment, since, until)),
        }
    }
}

/// The table of events.
#[must_use]
pub fn text(events: &[EventRecord], now: Timestamp, screen: Screen) -> String {
    if events.is_empty() {
        return "nothing has happened in this time\n".to_owned();
    }
    let mut table = screen.table(&["TIME", "AGO", "EVENT", "OF", "WHAT"]);
    for event in events {
        let subject = event.target.as_ref().or(event.environment.as_ref()).map_or("-", String::as_str);
        let kind = event.kind.as_str();
        table.add_row([
            screen.cell(&event.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()),
            screen.cell(&output::ago(event.at, now)),
            colour(event).map_or_else(|| screen.cell(kind), |colour| screen.painted(kind, colour)),
            screen.cell(subject),
            screen.cell(&wording::words(event)),
        ]);
    }
    output::table_text(&table) + "\n"
}

fn colour(event: &EventRecord) -> Option<Color> {
    match event.kind {
        EventKind::InSync | EventKind::DriftCorrected | EventKind::EnvironmentRecovered => Some(Color::Green),
        EventKind::RolloutStarted => Some(Color::Blue),
        EventKind::RolloutEnded if event.result.as_deref() == Some("failed") => Some(Color::Red),
        EventKind::Quarantined | EventKind::Overdue | EventKind::Blocked | EventKind::EnvironmentBroken => {
            Some(Color::Red)
        }
        EventKind::Denied | EventKind::Drifted => Some(Color::Yellow),
        _ => None,
    }
}

/// The table of figures.
#[must_use]
pub fn figures_text(figures: &Deliveries, screen: Screen) -> String {
    if figures.components.is_empty() {
        return "nothing was rolled out in this time\n".to_owned();
    }
    let header = ["COMPONENT", "DEPLOYMENTS", "PER DAY", "LEAD TIME", "FAILURES", "FAILURE RATE", "TIME TO RESTORE"];
    let mut table = screen.table(&header);
    let long = |seconds: Option<u64>| seconds.map_or_else(|| "-".to_owned(), wording::duration);
    for it in &figures.components {
        let restore = match it.unrestored {
            0 => long(it.time_to_restore_seconds),
            some => format!("{}, {some} not yet", long(it.time_to_restore_seconds)),
        };
        table.add_row([
            screen.cell(&it.component),
            screen.cell(&it.deployments.to_string()),
            screen.cell(&format!("{:.2}", it.deployments_per_day)),
            screen.cell(&long(it.lead_time_seconds)),
            screen.cell(&it.failures.to_string()),
            screen
                .cell(&it.change_failure_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.0} %", rate * 100.0))),
            screen.cell(&restore),
        ]);
    }
    output::table_text(&table) + "\n"
}
