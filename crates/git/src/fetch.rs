//! One conversation with a server: list the wanted branches, and fetch if one of them moved.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::progress::Discard;
use gix::protocol::handshake::Ref;
use gix::protocol::transport::client::Error as TransportError;
use gix::protocol::transport::client::blocking_io::{Transport, http};
use gix::remote::{Direction, fetch, ref_map};
use gix::url::Scheme;

use super::error::{Cause, GitError};
use super::pack::{LeftOut, MAX_FETCH, MAX_LISTING, MAX_OBJECT, Missing, Refusal};
use super::source::{Programs, Remote};
use super::transport;
use super::tree::open_options;
use super::watch::Watch;

/// Each fetch leaves one pack. With more than this many, reading gets slow, and a new clone is the simplest cure.
const MAX_PACKS: usize = 50;

/// The largest piece of memory that gix may ask for at once, in bytes: the list of a pack's objects is larger than any of them.
const MAX_ALLOCATION: u64 = 2 * MAX_OBJECT;

/// Why a conversation failed.
pub(super) enum Failure {
    /// The other side, or the way there.
    Remote(GitError),
    /// Our mirror: a new one will do better.
    Local(Cause),
}

/// What a conversation found.
pub(super) struct Tips {
    /// The tips of the wanted branches that the server has.
    pub(super) branches: BTreeMap<String, ObjectId>,
    /// Whether objects were asked for.
    pub(super) fetched: bool,
}

/// One conversation.
pub(super) struct Exchange {
    pub(super) remote: Remote,
    pub(super) programs: Programs,
    /// The branches that are wanted.
    pub(super) branches: Vec<String>,
    /// The mirror's folder. It is created if it isn't there.
    pub(super) folder: PathBuf,
    pub(super) watch: Arc<Watch>,
}

/// The name that a branch has in a mirror.
pub(super) fn local_name(branch: &str) -> String {
    format!("refs/remotes/origin/{branch}")
}

impl Exchange {
    /// Connects as the URL says, lists, and fetches what moved.
    pub(super) fn run(&self) -> Result<Tips, Failure> {
        let repository = open_or_create(&self.folder)?;
        self.watch.allow(MAX_LISTING);
        self.watch.lacks(missing(&self.folder, &repository));
        let result = match self.remote.url.scheme {
            Scheme::Http | Scheme::Https => {
                let (transport, options) = transport::http(&self.remote, &self.watch).map_err(Failure::Remote)?;
                self.talk(&repository, transport, Some(options))
            }
            Scheme::Ssh | Scheme::File => {
                let program = transport::program(&self.remote, &self.programs, &self.watch);
                self.talk(&repository, program.map_err(Failure::Remote)?, None)
            }
            _ => {
                let socket = transport::socket(&self.remote, &self.watch).map_err(Failure::Remote)?;
                self.talk(&repository, socket, None)
            }
        };
        self.watch.reap();
        result
    }

    fn talk<T: Transport>(
        &self,
        repository: &gix::Repository,
        transport: T,
        options: Option<http::Options>,
    ) -> Result<Tips, Failure> {
        let specs = self.branches.iter().map(|branch| format!("+refs/heads/{branch}:{}", local_name(branch)));
        let specs: Vec<gix::bstr::BString> = specs.map(Into::into).collect();
        let remote = repository
            .remote_at_without_url_rewrite(self.remote.url.clone())
            .and_then(|remote| remote.with_fetch_tags(fetch::Tags::None).with_refspecs(&specs, Direction::Fetch))
            .map_err(|error| self.broken("the branches can't be asked for", &error))?;
        // We send what we have of our own accord. A server that asks for more gets nothing: no helper, no prompt.
        let watch = Arc::clone(&self.watch);
        let mut connection = remote.to_connection_with_transport(transport).with_credentials(move |_action| {
            watch.challenged.store(true, Ordering::SeqCst);
            Ok(None)
        });
        // Without any, gix would look for some in its configuration.
        connection
            .set_transport_options(options.map_or_else(|| Box::new(()) as Box<dyn Any>, |options| Box::new(options)));
        let prepared = connection
            .prepare_fetch(Discard, ref_map::Options::default())
            .map_err(|error| self.broken("the branches can't be listed", &error))?;
        let branches = self.wanted(&prepared.ref_map().remote_refs);
        // A mirror of a server whose history is cut off, too, asks for the rest each time: it may be there now.
        let shallow = repository.is_shallow().map_err(|error| Failure::Local(Cause::of_gix(&error)))?;
        if !shallow && self.is_current(repository, &branches)? {
            return Ok(Tips { branches, fetched: false });
        }
        if packs(&self.folder) > MAX_PACKS {
            return Err(Failure::Local(Cause(format!("it has more than {MAX_PACKS} packs"))));
        }
        self.watch.allow(MAX_FETCH);
        prepared
            .with_shallow(if shallow { fetch::Shallow::undo() } else { fetch::Shallow::NoChange })
            .with_reflog_message(fetch::RefLogMessage::Override { message: "poll".into() })
            .receive(Discard, &self.watch.stop)
            .map_err(|error| self.broken_fetch(&error))?;
        note_left_out(&self.folder, self.watch.left_out()).map_err(|error| Failure::Local(Cause::of(&error)))?;
        // A mirror opened afresh sees the new pack for certain.
        let repository = open_or_create(&self.folder)?;
        if self.is_current(&repository, &branches)? {
            Ok(Tips { branches, fetched: true })
        } else {
            Err(Failure::Local(Cause("after the fetch, its branches aren't those of the server".to_owned())))
        }
    }

    fn wanted(&self, listed: &[Ref]) -> BTreeMap<String, ObjectId> {
        let mut tips = BTreeMap::new();
        for reference in listed {
            let (name, target, peeled) = reference.unpack();
            let branch = name.strip_prefix(b"refs/heads/").and_then(|name| name.to_str().ok());
            let wanted = branch.filter(|branch| self.branches.iter().any(|wanted| wanted == branch));
            if let (Some(branch), Some(id)) = (wanted, peeled.or(target)) {
                tips.insert(branch.to_owned(), id.to_owned());
            }
        }
        tips
    }

    /// Whether the mirror has all of these tips. An error if it claims to have one and hasn't.
    fn is_current(&self, repository: &gix::Repository, tips: &BTreeMap<String, ObjectId>) -> Result<bool, Failure> {
        for (branch, tip) in tips {
            let reference = repository.try_find_reference(local_name(branch).as_str());
            let reference = reference.map_err(|error| Failure::Local(Cause::of_gix(&error)))?;
            if reference.and_then(|reference| reference.try_id().map(gix::Id::detach)) != Some(*tip) {
                return Ok(false);
            }
            let tree = repository.find_commit(*tip).and_then(|commit| commit.tree());
            tree.map_err(|error| Failure::Local(Cause::of_gix(&error)))?;
        }
        Ok(true)
    }

    /// What an error before anything was fetched means. Our mirror has no part in it.
    fn broken(&self, what: &str, error: &gix::Error) -> Failure {
        Failure::Remote(self.explain(what, error))
    }

    /// What an error while fetching means. What isn't clearly the server's or the network's is blamed on the mirror.
    fn broken_fetch(&self, error: &gix::Error) -> Failure {
        // gix's words where it would have to ask for more than `gitoxide.objects.allocLimit`.
        if self.watch.refused().is_none() && Cause::of_gix(error).to_string().contains("too large to fit in memory") {
            return Failure::Remote(self.too_large(Refusal::object(MAX_ALLOCATION)));
        }
        let stopped = self.watch.stop.load(Ordering::SeqCst) || self.watch.refused().is_some();
        let network = error.downcast_any_ref::<TransportError>().is_some()
            || error.downcast_any_ref::<reqwest::Error>().is_some()
            || error.iter_errors().filter_map(|error| error.downcast_ref::<std::io::Error>()).any(is_network)
            || !self.watch.words().is_empty();
        if stopped || network {
            Failure::Remote(self.explain("the fetch broke off", error))
        } else {
            Failure::Local(Cause::of_gix(error))
        }
    }

    fn too_large(&self, refusal: Refusal) -> GitError {
        let url = self.remote.shown.clone();
        match refusal {
            Refusal::TooLarge { what, advice } => GitError::TooLarge { url, what, advice },
            Refusal::Damaged(why) => {
                let (what, source) = ("the fetch broke off".to_owned(), Cause(why.to_owned()));
                GitError::Unreachable { url, what, source }
            }
        }
    }

    fn explain(&self, what: &str, error: &gix::Error) -> GitError {
        let url = self.remote.shown.clone();
        if let Some(refusal) = self.watch.refused() {
            return self.too_large(refusal);
        }
        let chain = Cause::of_gix(error);
        let words = self.watch.words();
        let http = error.downcast_any_ref::<reqwest::Error>();
        let answer = http.and_then(reqwest::Error::status);
        let status = answer.map(|status| status.as_u16());
        let chain = match (http, answer) {
            (_, Some(answer)) => Cause(format!("the answer was {answer}")),
            // All that comes before is that it tried, and the URL once more.
            (Some(error), None) => Cause::deepest(error),
            (None, None) => chain,
        };
        let refused = |reason: &str| GitError::Refused {
            url: url.clone(),
            reason: reason.to_owned(),
            source: if words.is_empty() { chain.clone() } else { Cause(words.clone()) },
        };
        let token = matches!(self.remote.auth, super::Auth::Token(_));
        if self.watch.challenged.load(Ordering::SeqCst) || error.is_unauthenticated() || status == Some(401) {
            let reason = if token {
                "the server refused the token (401); check that it is neither expired nor revoked, and that the URL \
                 doesn't redirect to another host"
            } else {
                "the server wants a token (401); set `token_file` under [repository.auth], or correct the URL"
            };
            // gix's own words here are about credential helpers, of which there are none.
            let source = Cause("the answer was 401 Unauthorized".to_owned());
            return GitError::Refused { url, reason: reason.to_owned(), source };
        }
        match status {
            Some(403) => {
                return refused("the server forbids it (403); the token may lack the right to read the contents");
            }
            Some(404) if token => {
                return refused(
                    "not found (404): it doesn't exist, or the token may not see it; forges don't tell which",
                );
            }
            Some(404) => {
                return refused(
                    "not found (404): it doesn't exist, or it is private and needs a token; forges don't tell which",
                );
            }
            Some(_) => return GitError::Unreachable { url, what: what.to_owned(), source: chain },
            None => {}
        }
        if http.is_some_and(|error| error.is_timeout() && !error.is_connect()) || error.iter_errors().any(timed_out) {
            return GitError::Stalled { url, limit: self.remote.stall_timeout };
        }
        let text = Cause::of_gix(error).to_string();
        for (sign, reason) in CERTIFICATES {
            if text.contains(sign) {
                return refused(reason);
            }
        }
        if [&text, &words].iter().any(|text| is_about_sha256(text)) {
            return refused(super::error::SHA256);
        }
        for (sign, reason) in REFUSALS {
            if words.contains(sign) {
                return refused(reason);
            }
        }
        if words.is_empty() {
            GitError::Unreachable { url, what: what.to_owned(), source: chain }
        } else {
            GitError::Unreachable { url, what: what.to_owned(), source: Cause(words) }
        }
    }
}

/// What rustls says of a certificate, and what to do about it.
const CERTIFICATES: [(&str, &str); 7] = [
    ("UnknownIssuer", UNKNOWN_AUTHORITY),
    // Where an authority that is known has the same name as the one that isn't.
    ("certificate: BadSignature", UNKNOWN_AUTHORITY),
    (
        "CaUsedAsEndEntity",
        "the server's certificate is self-signed, and marked as an authority's (`CA:TRUE`), which no server's may be; issue \
         one that isn't, by an authority of your own or with `basicConstraints=CA:FALSE`, and add that authority's certificate, or \
         else the certificate itself, to a file with those of the public authorities, PEM, that the environment variable \
         SSL_CERT_FILE names",
    ),
    ("certificate not valid for name", OTHER_NAME),
    ("NotValidForName", OTHER_NAME),
    (
        "certificate expired",
        "the server's certificate has expired; renew it, or set this machine's clock, if that is wrong",
    ),
    (
        "certificate not valid yet",
        "the server's certificate isn't valid yet; set the clock of this machine, or of the one that issued it",
    ),
];

const UNKNOWN_AUTHORITY: &str = "the server's certificate is by an authority that isn't known here; if that is your own, add its \
                                 certificate to a file with those of the public authorities, PEM, and name that file in the \
                                 environment variable SSL_CERT_FILE";

const OTHER_NAME: &str = "the server's certificate is for another name; write in the URL the name that the certificate has, or \
                          issue one for the name in the URL";

/// What ssh and git say when they don't let one in, and what to do about it.
const REFUSALS: [(&str, &str); 6] = [
    (
        "Host key verification failed",
        "the server's host key isn't known; add it to ~/.ssh/known_hosts of Pinion's user",
    ),
    (
        "Permission denied",
        "the server refused the SSH key; check that it is the right one and may read this repository",
    ),
    ("dubious ownership", "the repository belongs to another user; add it to `safe.directory` of Pinion's user"),
    ("does not appear to be a git repository", "there is no Git repository at this place"),
    ("ould not find repository", "there is no Git repository at this place, or the key may not see it"),
    ("epository not found", "there is no Git repository at this place, or the key may not see it"),
];

/// What gix and Git say of a repository with SHA-256 ids.
fn is_about_sha256(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let format = ["object format", "object-format", "objectformat", "hash kind", "object hash"];
    // gix reads the first id, and finds that it is twice as long as any.
    let long = text.contains("sized 64 hexadecimal");
    long || text.contains("sha256") || format.iter().any(|sign| text.contains(sign))
}

fn is_network(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::UnexpectedEof
            | Kind::BrokenPipe
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::ConnectionRefused
            | Kind::NotConnected
            | Kind::TimedOut
    )
}

fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}

fn open_or_create(folder: &Path) -> Result<gix::Repository, Failure> {
    // One thread, so that one object at a time is inflated, with those that it builds on.
    let bounds = [format!("gitoxide.objects.allocLimit={MAX_ALLOCATION}"), "pack.threads=1".to_owned()];
    let open_options = open_options().config_overrides(bounds);
    let opened = if folder.exists() {
        gix::ThreadSafeRepository::open_opts(folder, open_options)
    } else {
        let options = gix::create::Options::default();
        gix::ThreadSafeRepository::init_opts(folder, gix::create::Kind::Bare, options, open_options)
    };
    let opened = opened.map_err(|error| Failure::Local(Cause::of_gix(&error)))?;
    // What is in a private repository is nobody else's business on this machine either.
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
        .map_err(|error| Failure::Local(Cause::of(&error)))?;
    Ok(opened.into())
}

/// The file in a mirror that names the files which are too large to be taken: the id and the size of each, or `-` and the
/// size of one that builds on another.
const LEFT_OUT: &str = "pinion-left-out";

/// The files that a mirror lacks because they are too large.
pub(super) fn left_out(folder: &Path) -> BTreeSet<LeftOut> {
    let text = std::fs::read_to_string(folder.join(LEFT_OUT)).unwrap_or_default();
    let file = |line: &str| {
        let (id, size) = line.split_once(' ')?;
        let id = if id == "-" { None } else { Some(ObjectId::from_hex(id.as_bytes()).ok()?) };
        Some(LeftOut { id, size: size.parse().ok()? })
    };
    text.lines().filter_map(file).collect()
}

/// What a server may take for being in a mirror, though it was left out.
fn missing(folder: &Path, repository: &gix::Repository) -> Missing {
    let files = left_out(folder);
    if files.iter().all(|file| file.id.is_some()) {
        let ids: BTreeSet<ObjectId> = files.into_iter().filter_map(|file| file.id).collect();
        return Missing::new(move |id| ids.contains(&id));
    }
    let repository = repository.clone().into_sync();
    Missing::new(move |id| !repository.to_thread_local().has_object(id))
}

fn note_left_out(folder: &Path, more: Vec<LeftOut>) -> std::io::Result<()> {
    if more.is_empty() {
        return Ok(());
    }
    let mut files = left_out(folder);
    files.extend(more);
    let line = |file: &LeftOut| match file.id {
        Some(id) => format!("{id} {}\n", file.size),
        None => format!("- {}\n", file.size),
    };
    let (path, fresh) = (folder.join(LEFT_OUT), folder.join(format!("{LEFT_OUT}.new")));
    std::fs::write(&fresh, files.iter().map(line).collect::<String>())?;
    std::fs::rename(&fresh, &path)
}

fn packs(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder.join("objects").join("pack")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")).count()
}
