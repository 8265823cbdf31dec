//! `[hooks]`, `[repository.forge]` and `[[notify]]`: what the forge sends to Pinion, and what Pinion sends to whom.

use std::collections::BTreeSet;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use schemars::{Schema, json_schema};
use url::Url;

use super::resolve::Resolver;
use super::{Auth, Secret};
use crate::manifest::Findings;
use crate::manifest::shape::{At, Field, Shape, Text, nearest, table};
use crate::manifest::tree::Node;
use crate::model::EnvironmentName;
use crate::model::event::EventKind;

/// The forge where the commits of a repository get statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forge {
    /// Whose API it speaks.
    pub kind: ForgeKind,
    /// Where the API is, without a slash at the end.
    pub api_url: String,
    /// The repository's name there, such as `acme/environments`.
    pub project: String,
    /// The token to show.
    pub token: Secret,
    /// Where a status links to.
    pub target_url: Option<String>,
}

/// Whose API a forge speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgeKind {
    /// GitHub, or GitHub Enterprise Server.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea, or Forgejo.
    Gitea,
}

/// The hosts of GitHub itself that URLs of repositories have.
const GITHUB: [&str; 4] = ["github.com", "www.github.com", "ssh.github.com", "ssh.github.com:443"];

impl ForgeKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::GitHub, Self::GitLab, Self::Gitea];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
        }
    }

    /// Where the API of the forge at this host is.
    fn api_url(self, host: &str) -> String {
        match self {
            Self::GitHub if GITHUB.contains(&host) => "https://api.github.com".to_owned(),
            Self::GitHub => format!("https://{host}/api/v3"),
            Self::GitLab => format!("https://{host}/api/v4"),
            Self::Gitea => format!("https://{host}/api/v1"),
        }
    }
}

/// Somebody who is notified of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The URL to POST to.
    pub url: Address,
    /// What it is called in metrics and log lines.
    pub name: String,
    /// What the body looks like.
    pub format: Format,
    /// What bodies are signed with.
    pub secret: Option<Secret>,
    /// The events that are sent; `None` means all.
    pub events: Option<BTreeSet<EventKind>>,
    /// The environments whose events are sent; `None` means all.
    pub environments: Option<BTreeSet<EnvironmentName>>,
}

/// Where notifications go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// To this URL.
    Url(String),
    /// To a URL that is a secret: anyone who knows it may write there.
    Secret(Secret),
}

/// What the body of a notification looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The event as JSON.
    Json,
    /// What Slack's incoming webhooks take, and those of Mattermost and Rocket.Chat.
    Slack,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Json, Self::Slack];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
        }
    }
}

table! {
    /// Push events of the forge, at POST /hooks/git: a hint to poll now.
    RawHooks {
        /// A file that holds the webhook's secret, read at each event. Several lines are several secrets, each of which
        /// counts, so that one can be rotated.
        secret_file: Text,
        /// An environment variable that holds the secret.
        secret_env: Text,
    }
    refused {
        "secret" => "a secret doesn't belong in this file; name a file (`secret_file`) or a variable (`secret_env`)",
    }
}

table! {
    /// The forge where commits get statuses.
    RawForge {
        /// Whose API it speaks: "github", "gitlab" or "gitea".
        kind: ForgeKind,
        /// Where the API is. Default: where it is for the repository's host.
        api_url: Text,
        /// The repository's name there, such as "acme/environments". Default: as in the repository's URL.
        project: Text,
        /// A file that holds the token, read when a status is sent. Default: the token of [repository.auth].
        token_file: Text,
        /// An environment variable that holds the token.
        token_env: Text,
        /// Where a status links to, such as Pinion's page. Default: nowhere.
        target_url: Text,
    }
    required [kind]
    refused {
        "token" => "a token doesn't belong in this file; name a file (`token_file`) or a variable (`token_env`)",
    }
}

table! {
    /// Somebody who is notified of events, over HTTP.
    RawNotify {
        /// What it is called in metrics and log lines.
        name: Text,
        /// The URL to POST to. Exactly one of `url`, `url_file` and `url_env`.
        url: Text,
        /// A file that holds the URL, where the URL itself is a secret, as Slack's are.
        url_file: Text,
        /// An environment variable that holds the URL.
        url_env: Text,
        /// What the body looks like: "json" or "slack". Default: "json".
        format: Format,
        /// A file that holds the secret that bodies are signed with.
        secret_file: Text,
        /// An environment variable that holds the secret.
        secret_env: Text,
        /// The events that are sent. Default: all.
        events: Vec<At<EventKind>>,
        /// The environments whose events are sent. Default: all.
        environments: Vec<At<EnvironmentName>>,
    }
    required [name]
    refused {
        "secret" => "a secret doesn't belong in this file; name a file (`secret_file`) or a variable (`secret_env`)",
    }
}

/// Reads one of a few words.
fn word<T: Copy>(node: &Node, findings: &mut Findings, all: &[T], as_str: fn(T) -> &'static str) -> Option<T> {
    let Text(text) = Text::read(node, findings)?;
    let found = all.iter().copied().find(|one| as_str(*one) == text);
    if found.is_none() {
        let words: Vec<&str> = all.iter().map(|one| as_str(*one)).collect();
        let help = match nearest(&text, &words) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("known here: {}", words.join(", ")),
        };
        findings.report_with_help(&node.place, "invalid-value", format!("`{text}` isn't known here"), help);
    }
    found
}

macro_rules! words {
    ($($type:ty;)*) => {$(
        impl Shape for $type {
            fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
                word(node, findings, &Self::ALL, Self::as_str)
            }

            fn schema() -> Schema {
                json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
            }
        }
    )*};
}

words! {
    ForgeKind;
    Format;
}

impl Shape for EventKind {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        word(node, findings, Self::NOTIFIABLE, Self::as_str)
    }

    fn schema() -> Schema {
        let kinds: Vec<&str> = Self::NOTIFIABLE.iter().map(|kind| kind.as_str()).collect();
        json_schema!({ "type": "string", "enum": kinds })
    }
}

impl Resolver<'_> {
    pub(super) fn hooks(&mut self, raw: Option<&At<RawHooks>>) -> Option<Option<Secret>> {
        let Some(At { place, value: raw }) = raw else { return Some(None) };
        let secret = self.secret(place, &raw.secret_file, &raw.secret_env)?;
        if secret.is_none() && raw.secret_file.is_absent() && raw.secret_env.is_absent() {
            let help = "set `secret_file` or `secret_env`: unsigned events would let anybody make Pinion poll";
            self.findings.report_with_help(place, "auth", "there is no secret for push events", help);
        }
        Some(secret)
    }

    pub(super) fn forge(&mut self, at: &At<RawForge>, url: Option<&str>, auth: Option<&Auth>) -> Option<Forge> {
        let At { place, value: raw } = at;
        let kind = raw.kind.required(place, "kind", self.findings).map(|at| at.value);
        let (host, path) = url.map(host_and_path).unwrap_or_default();
        let project = match raw.project.value() {
            Some(Text(project)) => Some(project.clone()),
            None if path.is_empty() => {
                let help = "set `project`, such as \"acme/environments\"";
                self.findings.report_with_help(
                    place,
                    "forge",
                    "the repository's URL doesn't hold the repository's name",
                    help,
                );
                None
            }
            None => Some(path),
        };
        let api_url = match (raw.api_url.at(), kind) {
            (Some(at), _) => self.api_url(at),
            (None, _) if host.is_empty() => {
                let help = "set `api_url`, such as \"https://api.github.com\"";
                self.findings.report_with_help(
                    place,
                    "forge",
                    "the repository's URL doesn't say where the forge's API is",
                    help,
                );
                None
            }
            (None, kind) => kind.map(|kind| kind.api_url(&host)),
        };
        let own = self.secret(place, &raw.token_file, &raw.token_env)?;
        let token = own.or_else(|| match auth {
            Some(Auth::Token(token)) => Some(token.clone()),
            _ => None,
        });
        if token.is_none() {
            let help = "set `token_file` or `token_env`; a token that may only write commit statuses is enough";
            self.findings.report_with_help(place, "auth", "there is no token for the forge", help);
        }
        let target_url = raw.target_url.at().and_then(|at| self.http_url(at));
        let target_url = target_url.map(|url| url.to_string());
        Some(Forge { kind: kind?, api_url: api_url?, project: project?, token: token?, target_url })
    }

    pub(super) fn notify(&mut self, raw: &Field<Vec<At<RawNotify>>>) -> Option<Vec<Notify>> {
        let blocks = raw.value().map(Vec::as_slice).unwrap_or_default();
        let all: Vec<_> = blocks.iter().map(|at| self.notified(at)).collect();
        let mut names = BTreeSet::new();
        for at in blocks.iter().filter_map(|block| block.value.name.at()) {
            if !names.insert(&at.value.0) {
                let message = format!("`{}` is the name of another [[notify]], too", at.value.0);
                self.findings.report_with_help(&at.place, "named-twice", message, "give each its own");
            }
        }
        all.into_iter().collect()
    }

    fn notified(&mut self, At { place, value: raw }: &At<RawNotify>) -> Option<Notify> {
        let name = raw.name.required(place, "name", self.findings).map(|at| at.value.0.clone());
        let elsewhere = self.secret(place, &raw.url_file, &raw.url_env)?;
        let url = match (raw.url.at(), elsewhere) {
            (None, Some(secret)) => Some(Address::Secret(secret)),
            (Some(at), None) => self.http_url(at).map(|url| Address::Url(url.to_string())),
            _ => {
                let message = "this must name exactly one URL to send to";
                self.findings.report_with_help(place, "url", message, "set exactly one of url, url_file, url_env");
                None
            }
        };
        let events = raw.events.at().filter(|at| at.value.is_empty()).map(|at| &at.place);
        let environments = raw.environments.at().filter(|at| at.value.is_empty()).map(|at| &at.place);
        for place in events.into_iter().chain(environments) {
            let help = "name one, or leave the key out to be notified of all";
            self.findings.report_with_help(place, "invalid-value", "this list is empty", help);
        }
        Some(Notify {
            url: url?,
            name: name?,
            format: raw.format.value().copied().unwrap_or(Format::Json),
            secret: self.secret(place, &raw.secret_file, &raw.secret_env)?,
            events: raw.events.value().map(|events| events.iter().map(|at| at.value).collect()),
            environments: raw.environments.value().map(|names| names.iter().map(|at| at.value.clone()).collect()),
        })
    }

    /// A token is sent there, so only to this machine without TLS.
    fn api_url(&mut self, at: &At<Text>) -> Option<String> {
        let url = self.http_url(at)?;
        if url.scheme() != "https" && !is_loopback(&url) {
            let message = "a token isn't sent in clear text over the network";
            self.findings.report_with_help(&at.place, "invalid-value", message, "use https");
            return None;
        }
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    fn http_url(&mut self, at: &At<Text>) -> Option<Url> {
        let url = Url::parse(&at.value.0).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
        if url.is_none() {
            let help = "it looks like \"https://example.com/path\", without user and password";
            // It may hold a secret and isn't repeated.
            self.findings.report_with_help(&at.place, "invalid-value", "this is not an http or https URL", help);
        }
        url
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of a repository's URL and the path of the repository there, decoded and without `.git`; empty where it has none, as a
/// path or a file URL.
pub(crate) fn host_and_path(url: &str) -> (String, String) {
    let (host, path) = match url.split_once("://") {
        Some(("file", _)) => return Default::default(),
        Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
        // As ssh has it: user@host:path. What has a slash before the colon is a path.
        None => match url.split_once(':') {
            Some((host, path)) if !host.contains('/') => (host, path),
            _ => return Default::default(),
        },
    };
    let host = host.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let path = percent_decode_str(path).decode_utf8_lossy();
    let path = path.trim_matches('/');
    let bare = path.len().checked_sub(".git".len()).and_then(|at| path.split_at_checked(at));
    let bare = bare.filter(|(_, ending)| ending.eq_ignore_ascii_case(".git")).map(|(bare, _)| bare);
    (host, bare.unwrap_or(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{ForgeKind, host_and_path};

    #[test]
    fn the_api_of_github_is_the_same_from_each_of_its_hosts() {
        for host in ["github.com", "www.github.com", "ssh.github.com", "ssh.github.com:443"] {
            assert_eq!(ForgeKind::GitHub.api_url(host), "https://api.github.com", "{host}");
        }
        assert_eq!(ForgeKind::GitHub.api_url("github.example.com"), "https://github.example.com/api/v3");
    }

    #[test]
    fn a_repository_is_known_by_its_host_and_path() {
        let cases = [
            ("https://github.com/acme/environments.git", "github.com", "acme/environments"),
            ("https://user@GitHub.com/acme/environments", "github.com", "acme/environments"),
            ("git@github.com:acme/environments.git", "github.com", "acme/environments"),
            (
                "ssh://git@git.example.com:2222/group/sub/environments.git/",
                "git.example.com:2222",
                "group/sub/environments",
            ),
            ("http://127.0.0.1:3000/environments.git", "127.0.0.1:3000", "environments"),
            ("https://github.com/acme/environments.GIT/", "github.com", "acme/environments"),
            (
                "https://git.example.com/acme/our%20environments%2Dprod.git",
                "git.example.com",
                "acme/our environments-prod",
            ),
            ("https://github.com/acme/environmentsgit", "github.com", "acme/environmentsgit"),
            ("https://github.com/a/é", "github.com", "a/é"),
            ("file:///srv/environments.git", "", ""),
            ("/srv/environments.git", "", ""),
            ("./a:b", "", ""),
        ];
        for (url, host, path) in cases {
            assert_eq!(host_and_path(url), (host.to_owned(), path.to_owned()), "{url}");
        }
    }
}
