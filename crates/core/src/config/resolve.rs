//! From what stands in the file to what it means.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::raw::{Merges, RawAuth, RawConfig, RawRepository, RawServer, RawVerify, Removal};
use super::{Auth, Aws, Config, Environment, History, Log, Overrides, Reconcile, Repository, Secret, Server, Verify};
use crate::manifest::shape::{At, Field, Text};
use crate::manifest::{Findings, Place};
use crate::model::EnvironmentName;
use crate::plan::change_limit::ChangeLimits;

/// The environment variable that the bearer token may stand in.
const TOKEN: &str = "PINION_TOKEN";
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9780);

pub(super) struct Resolver<'a> {
    pub(super) folder: &'a Path,
    pub(super) overrides: &'a Overrides,
    pub(super) environment: Environment<'a>,
    pub(super) findings: &'a mut Findings,
}

/// The seconds of a key with a default. A bad value has been reported and ends all.
fn seconds<const A: u64, const B: u64>(
    field: Option<&Field<crate::manifest::shape::Span<A, B>>>,
    default: u64,
) -> Duration {
    field.and_then(Field::value).map_or(Duration::from_secs(default), |span| span.0)
}

fn change_limits(raw: &RawConfig) -> ChangeLimits {
    let (raw, default) = (raw.change_limits.value(), ChangeLimits::default());
    let max_percent = raw.and_then(|raw| raw.max_percent.value()).map(|max_percent| u32::from(max_percent.0));
    let always_allowed =
        raw.and_then(|raw| raw.always_allowed.value()).map(|always_allowed| u32::from(always_allowed.0));
    let removals = raw.and_then(|raw| raw.removals.value()).copied();
    ChangeLimits {
        max_percent: max_percent.unwrap_or(default.max_percent),
        always_allowed: always_allowed.unwrap_or(default.always_allowed),
        removals: removals.map_or(default.removals, |removals| removals == Removal::Hold),
    }
}

impl Resolver<'_> {
    /// `None` only where something has been reported. What is reported while something is returned counts, too.
    pub(super) fn config(mut self, raw: &RawConfig, place: &Place) -> Option<Config> {
        let repositories = self.repositories(raw, place);
        let server = self.server(raw.server.at());
        let aws = Aws { endpoint_url: self.endpoint(raw) };
        let hooks = self.hooks(raw.hooks.at());
        let notify = self.notify(&raw.notify);
        let probe_hosts = self.probe_hosts(raw);
        let (reconcile, log, flags) = (raw.reconcile.value(), raw.log.value(), self.overrides);
        let history = raw.history.value();
        let concurrency = reconcile.and_then(|raw| raw.concurrency.value()).map(|number| number.0);
        let cache_dir = match (&flags.cache_dir, raw.cache_dir.value()) {
            (Some(flag), _) => flag.clone(),
            (None, Some(Text(path))) => self.folder.join(path),
            (None, None) => self.default_cache(),
        };
        Some(Config {
            repositories: repositories?,
            installation: raw.installation.value().cloned().unwrap_or_default(),
            change_limits: change_limits(raw),
            reconcile: Reconcile {
                interval: flags.interval.unwrap_or_else(|| seconds(reconcile.map(|raw| &raw.interval), 60)),
                in_flight_interval: flags
                    .in_flight_interval
                    .unwrap_or_else(|| seconds(reconcile.map(|raw| &raw.in_flight_interval), 5)),
                base_interval: seconds(reconcile.map(|raw| &raw.base_interval), 300),
                concurrency: usize::from(flags.concurrency.or(concurrency).unwrap_or(16)),
            },
            server: server?,
            hooks: hooks?,
            notify: notify?,
            probe_hosts,
            aws,
            history: History {
                keep: seconds(history.map(|raw| &raw.keep), 400 * 86_400),
                events: history.and_then(|raw| raw.events.value()).map_or(20_000, |events| events.0),
            },
            log: Log {
                format: flags.log_format.or_else(|| log.and_then(|raw| raw.format.value()).copied()),
                filter: flags
                    .log_filter
                    .clone()
                    .or_else(|| log.and_then(|raw| raw.filter.value()).map(|t| t.0.clone())),
            },
            cache_dir,
            grace_period: flags.grace_period.unwrap_or_else(|| seconds(Some(&raw.grace_period), 30)),
        })
    }

    fn default_cache(&self) -> PathBuf {
        let variable = |name: &str| (self.environment)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let user = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
        user.unwrap_or_else(|| PathBuf::from("/var/cache")).join("pinion")
    }

    fn endpoint(&mut self, raw: &RawConfig) -> Option<String> {
        let at = raw.aws.value().and_then(|aws| aws.endpoint_url.at());
        let said = at.and_then(|at| match super::overrides::endpoint(&at.value.0) {
            Ok(url) => Some(url),
            Err(error) => {
                self.findings.report(&at.place, "invalid-value", error);
                None
            }
        });
        self.overrides.aws_endpoint_url.clone().or(said)
    }

    /// The hosts, each written as a URL has it after it was read.
    fn probe_hosts(&mut self, raw: &RawConfig) -> BTreeSet<String> {
        let named = raw.probes.value().and_then(|probes| probes.allow.value()).into_iter().flatten();
        let mut host = |at: &At<Text>| {
            let url = url::Url::parse(&format!("http://{}/", at.value.0)).ok();
            let host =
                url.as_ref().filter(|url| url.port().is_none() && url.path() == "/" && url.username().is_empty());
            let host = host.and_then(url::Url::host_str).map(str::to_owned);
            if host.is_none() {
                let message = format!("`{}` is not a host", at.value.0);
                let help = "write it as it is in the probe's URL, without scheme, port and path";
                self.findings.report_with_help(&at.place, "invalid-value", message, help);
            }
            host
        };
        named.filter_map(&mut host).collect()
    }

    fn server(&mut self, raw: Option<&At<RawServer>>) -> Option<Server> {
        let said = raw.and_then(|raw| raw.value.listen.at());
        let listen = match said.map(|at| (at, at.value.0.parse())) {
            None => Some(DEFAULT_LISTEN),
            Some((_, Ok(address))) => Some(address),
            Some((at, Err(_))) => {
                let message = format!("`{}` is not an address and port", at.value.0);
                let help = "write it such as \"127.0.0.1:9780\" or \"[::1]:9780\"";
                self.findings.report_with_help(&at.place, "invalid-value", message, help);
                None
            }
        };
        let token =
            raw.map_or(Some(None), |At { place, value }| self.secret(place, &value.token_file, &value.token_env))?;
        let spoken = (self.environment)(TOKEN).filter(|value| !value.trim().is_empty()).map(|value| {
            Secret::Environment { variable: TOKEN.to_owned(), value: SecretString::from(value.trim().to_owned()) }
        });
        let token = self.overrides.token_file.clone().map(Secret::File).or(spoken).or(token);
        Some(Server { listen: self.overrides.listen.or(listen)?, token })
    }

    /// A secret in a file or a variable; `Some(None)` if neither is named.
    pub(super) fn secret(
        &mut self,
        table: &Place,
        file: &Field<Text>,
        variable: &Field<Text>,
    ) -> Option<Option<Secret>> {
        match (file.at(), variable.at()) {
            (Some(file), Some(variable)) => {
                let last = |at: &At<Text>| at.place.key.rsplit('.').next().unwrap_or_default().to_owned();
                let message = format!("both `{}` and `{}` are set", last(file), last(variable));
                self.findings.report_with_help(table, "auth", message, "set only one of them");
                None
            }
            (Some(file), None) => Some(Some(Secret::File(self.folder.join(&file.value.0)))),
            (None, Some(at)) => {
                let variable = at.value.0.clone();
                let Some(value) = (self.environment)(&variable).filter(|value| !value.trim().is_empty()) else {
                    let message = format!("the environment variable `{variable}` isn't set, or is empty");
                    self.findings.report_with_help(&at.place, "auth", message, "set it before Pinion starts");
                    return None;
                };
                Some(Some(Secret::Environment { variable, value: SecretString::from(value) }))
            }
            (None, None) => Some(None),
        }
    }

    fn repositories(&mut self, raw: &RawConfig, place: &Place) -> Option<Vec<Repository>> {
        let tables = raw.repository.required(place, "repository", self.findings)?;
        if tables.value.is_empty() {
            self.findings.report(&tables.place, "missing-key", "there is no repository");
        }
        let repositories: Vec<_> = tables.value.iter().map(|at| self.repository(at)).collect();
        self.check_overlaps(&tables.value);
        let repositories: Vec<Repository> = repositories.into_iter().collect::<Option<_>>()?;
        self.check_signers(&repositories, &tables.value);
        Some(repositories)
    }

    fn repository(&mut self, At { place, value: raw }: &At<RawRepository>) -> Option<Repository> {
        let url = raw.url.required(place, "url", self.findings).and_then(|at| self.url(at));
        let auth = match raw.auth.at() {
            None => Some(Auth::None),
            Some(auth) => self.auth(auth, url.as_deref()),
        };
        let forge = match raw.forge.at() {
            None => Some(None),
            Some(forge) => self.forge(forge, url.as_deref(), auth.as_ref()).map(Some),
        };
        let branch = match raw.branch.at() {
            None => Some("main".to_owned()),
            Some(at) => self.branch(at),
        };
        if let Some(at) = raw.environments.at().filter(|at| at.value.is_empty()) {
            let help = "name one, or leave the key out to take all that the branch has";
            self.findings.report_with_help(&at.place, "invalid-value", "this list is empty", help);
        }
        let names = raw.environments.value();
        let verify = match raw.verify.at() {
            None if raw.verify.is_absent() => Some(None),
            None => None,
            Some(at) => self.verify(at).map(Some),
        };
        Some(Repository {
            url: url?,
            branch: branch?,
            interval: seconds(Some(&raw.interval), 30),
            environments: names.map(|names| names.iter().map(|at| at.value.clone()).collect()),
            auth: auth?,
            forge: forge?,
            connect_timeout: seconds(Some(&raw.connect_timeout), 10),
            stall_timeout: seconds(Some(&raw.stall_timeout), 30),
            poll_timeout: seconds(Some(&raw.poll_timeout), 600),
            verify: verify?,
        })
    }

    /// The files themselves are read later: they change more often than what stands here.
    fn verify(&mut self, At { place, value: raw }: &At<RawVerify>) -> Option<Verify> {
        let path = |field: &Field<Text>| field.value().map(|Text(path)| self.folder.join(path));
        let verify = Verify {
            allowed_signers: path(&raw.allowed_signers),
            keyring: path(&raw.keyring),
            forge_keys: path(&raw.forge_keys),
            since: raw.since.value().cloned(),
        };
        let bad = [&raw.allowed_signers, &raw.keyring, &raw.forge_keys].iter().any(|field| matches!(field, Field::Bad));
        if bad || matches!(raw.since, Field::Bad) || matches!(raw.merges, Field::Bad) {
            return None;
        }
        let forge = raw.merges.value() == Some(&Merges::Forge);
        let wrong = if verify.allowed_signers.is_none() && verify.keyring.is_none() {
            Some(("this names nobody who may sign", "name a file with `allowed_signers` (SSH) or `keyring` (OpenPGP)"))
        } else if forge && verify.forge_keys.is_none() {
            Some(("the forge's keys are missing", "name the file that holds them with `forge_keys`"))
        } else if !forge && verify.forge_keys.is_some() {
            Some(("`forge_keys` means nothing without `merges = \"forge\"`", "set that, or leave `forge_keys` out"))
        } else {
            None
        };
        match wrong {
            Some((message, help)) => {
                self.findings.report_with_help(place, "verify", message, help);
                None
            }
            None => Some(verify),
        }
    }

    fn branch(&mut self, at: &At<Text>) -> Option<String> {
        let name = &at.value.0;
        let good =
            !name.starts_with(['-', '/']) && !name.contains(|c: char| c.is_whitespace() || "~^:?*[\\".contains(c));
        if !good || name.starts_with("refs/") || name.contains("..") {
            let message = format!("`{name}` is not a branch's name");
            self.findings.report_with_help(&at.place, "invalid-value", message, "write it without refs/heads/");
            return None;
        }
        Some(name.clone())
    }

    /// The URL; a path becomes one relative to the file.
    fn url(&mut self, at: &At<Text>) -> Option<String> {
        let text = &at.value.0;
        let mut report = |message: String, help: &str| {
            self.findings.report_with_help(&at.place, "invalid-value", message, help);
            None
        };
        let Some((scheme, _)) = text.split_once("://") else {
            let scp_like = text.split('/').next().is_some_and(|host| host.contains(':'));
            return Some(if scp_like { text.clone() } else { self.folder.join(text).display().to_string() });
        };
        if !matches!(scheme, "https" | "http" | "ssh" | "file" | "git") {
            return report(format!("`{scheme}` is not a scheme of a repository's URL"), "use https, ssh or file");
        }
        match url::Url::parse(text) {
            Ok(url) if url.password().is_some() => {
                // The URL itself holds a secret and isn't repeated.
                report(
                    "this URL holds a password".to_owned(),
                    "take it out, and name it in [repository.auth], by file or variable",
                )
            }
            // With ssh it is whom one logs in as.
            Ok(url) if matches!(scheme, "https" | "http") && !url.username().is_empty() => report(
                "this URL holds a user, or a token in its place".to_owned(),
                "take it out, and name a token in [repository.auth], by file or variable",
            ),
            Ok(_) => Some(text.clone()),
            Err(error) => report(format!("this is not a URL: {error}"), "it looks like https://example.com/a/b.git"),
        }
    }

    fn auth(&mut self, At { place, value: raw }: &At<RawAuth>, url: Option<&str>) -> Option<Auth> {
        let said = [&raw.token_file, &raw.token_env, &raw.ssh_key_file].iter().filter(|key| !key.is_absent()).count();
        if said != 1 {
            let message = if said == 0 { "this names no credentials" } else { "this names several credentials" };
            let help = "set exactly one of token_file, token_env, ssh_key_file";
            self.findings.report_with_help(place, "auth", message, help);
            return None;
        }
        let http = url.map(|url| url.starts_with("https://") || url.starts_with("http://"));
        if let Some(key) = raw.ssh_key_file.at() {
            if http == Some(true) {
                let message = "an SSH key doesn't open an http or https URL";
                self.findings.report_with_help(&key.place, "auth", message, "use a token, or an ssh URL");
            }
            return Some(Auth::SshKeyFile(self.folder.join(&key.value.0)));
        }
        if http == Some(false) {
            let message = "a token opens only http and https URLs";
            self.findings.report_with_help(place, "auth", message, "use ssh_key_file, or an https URL");
        }
        self.secret(place, &raw.token_file, &raw.token_env)?.map(Auth::Token)
    }

    /// A commit either counts or doesn't: blocks of the same branch have to agree on whose do.
    fn check_signers(&mut self, repositories: &[Repository], blocks: &[At<RawRepository>]) {
        let mut said: BTreeMap<(&str, &str), (&Option<Verify>, &Place)> = BTreeMap::new();
        for (repository, At { place, .. }) in repositories.iter().zip(blocks) {
            let entry = said.entry((&repository.url, &repository.branch)).or_insert((&repository.verify, place));
            let (first, first_place) = *entry;
            if *first != repository.verify {
                let message =
                    format!("the same branch is at {}, too, with another [repository.verify]", first_place.line());
                self.findings.report_with_help(place, "verify", message, "make both the same");
            }
        }
    }

    /// Two blocks must not name one environment, nor be the same branch of the same repository without saying which
    /// environments each is for.
    fn check_overlaps(&mut self, blocks: &[At<RawRepository>]) {
        let mut named: BTreeMap<&EnvironmentName, &Place> = BTreeMap::new();
        for at in blocks.iter().filter_map(|block| block.value.environments.value()).flatten() {
            match named.get(&at.value) {
                Some(first) => {
                    let message = format!("the environment `{}` is named at {}, too", at.value, first.line());
                    self.findings.report_with_help(
                        &at.place,
                        "named-twice",
                        message,
                        "one branch feeds an environment",
                    );
                }
                None => drop(named.insert(&at.value, &at.place)),
            }
        }
        let mut whole: BTreeMap<(&str, &str), &Place> = BTreeMap::new();
        for block in blocks.iter().filter(|block| block.value.environments.is_absent()) {
            let Some(url) = block.value.url.value() else { continue };
            let branch = block.value.branch.value().map_or("main", |branch| &branch.0);
            match whole.get(&(url.0.as_str(), branch)) {
                Some(first) => {
                    let message = format!("this branch of this repository is at {}, too", first.line());
                    self.findings.report_with_help(&block.place, "named-twice", message, "remove one of them");
                }
                None => drop(whole.insert((&url.0, branch), &block.place)),
            }
        }
    }
}
