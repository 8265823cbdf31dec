//! The status page: one table, rendered here, without a script.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::model::State;
use crate::model::status::{EnvironmentStatus, RepositoryStatus, Status, TargetStatus};

/// The stylesheet, served beside the page because the content security policy allows no inline styles.
pub(super) const STYLESHEET: &str = include_str!("page.css");

/// The page. Whatever comes from Git or AWS is escaped.
pub(super) fn render(status: &Status, now: Timestamp) -> String {
    let targets = || status.environments.values().flat_map(|environment| environment.targets.values());
    let in_sync = targets().filter(|target| target.state == State::InSync).count();
    let mut page = String::with_capacity(4096);
    page.push_str(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Pinion</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta http-equiv=\"refresh\" content=\"5\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n\
         </head>\n<body>\n<header><h1>Pinion</h1>",
    );
    // Writing into a string can't fail, here and below.
    let _ = writeln!(
        page,
        "<p>{in_sync} of {} targets in sync · {} · {}</p></header>\n<main>",
        targets().count(),
        Escaped(&status.version),
        now.strftime("%Y-%m-%d %H:%M:%S UTC"),
    );
    if !status.ready {
        page.push_str("<p class=\"notice\">The first pass hasn't completed yet.</p>\n");
    }
    for repository in &status.repositories {
        push_repository(&mut page, repository, now);
    }
    for (name, environment) in &status.environments {
        push_environment(&mut page, name, environment, now);
    }
    if status.environments.is_empty() {
        page.push_str("<p class=\"notice\">No environment is known yet.</p>\n");
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn push_repository(page: &mut String, repository: &RepositoryStatus, now: Timestamp) {
    let revision = repository.revision.as_deref().map_or("not read yet", short);
    let _ = write!(
        page,
        "<p class=\"repository\">{} <b>{}</b> at <code>{}</code>",
        Escaped(&repository.url),
        Escaped(&repository.branch),
        Escaped(revision),
    );
    if let Some(at) = repository.last_success {
        let _ = write!(page, ", polled {} ago", ago(at, now));
    }
    page.push_str("</p>\n");
    if let Some(error) = &repository.error {
        let _ = writeln!(page, "<pre class=\"error\">{}</pre>", Escaped(error));
    }
}

fn push_environment(page: &mut String, name: &str, environment: &EnvironmentStatus, now: Timestamp) {
    let _ = writeln!(
        page,
        "<section><h2>{}</h2><p>account {} in {}</p>",
        Escaped(name),
        Escaped(&environment.account),
        Escaped(&environment.region),
    );
    for error in environment.errors.iter().chain(&environment.brake).chain(&environment.error) {
        let _ = writeln!(page, "<pre class=\"error\">{}</pre>", Escaped(error));
    }
    page.push_str(
        "<table><thead><tr><th>Target<th>State<th>Desired<th>Running<th>Updated<th>Since<th>Pinned by<th>Reason</tr>\
         </thead>\n<tbody>\n",
    );
    for target in environment.targets.values() {
        push_target(page, target, now);
    }
    page.push_str("</tbody></table></section>\n");
}

fn push_target(page: &mut String, target: &TargetStatus, now: Timestamp) {
    let drifted = if target.drifted { " <small>drifted</small>" } else { "" };
    let _ = writeln!(
        page,
        "<tr><td>{}<td><span class=\"state {state}\">{state}</span>{drifted}<td>{}<td>{}<td>{}/{}<td>{}\
         <td><code>{}</code> {}: {}<td>{}</tr>",
        Escaped(&target.target),
        Escaped(&target.desired),
        Escaped(target.running.as_deref().unwrap_or("–")),
        target.updated,
        target.total,
        ago(target.since, now),
        Escaped(short(&target.pin.commit)),
        Escaped(&target.pin.author),
        Escaped(&target.pin.subject),
        Escaped(target.reason.as_deref().unwrap_or_default()),
        state = target.state,
    );
}

fn short(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}

/// How long ago, in the largest fitting unit: `45 s`, `12 min`, `3 h`, `5 d`.
fn ago(since: Timestamp, now: Timestamp) -> String {
    match now.duration_since(since).as_secs().max(0) {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Text as it stands in HTML, in elements and in quoted attributes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Marks that turn the writing direction could make one version look like another.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_str("\u{fffd}")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
