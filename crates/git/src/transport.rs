//! Connections to a server: HTTP through gix; ssh and file URLs through a program that we start ourselves, so that it
//! can be ended when it hangs and what it says can be shown; `git://` through a socket.

use std::ffi::OsStr;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gix::bstr::ByteSlice;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http;
use gix::protocol::transport::client::git::ConnectMode;
use gix::protocol::transport::client::git::blocking_io::Connection;
use gix::protocol::transport::client::{Account, TransportWithoutIO as _};
use gix::url::Scheme;
use secrecy::{ExposeSecret, SecretString};

use super::error::{Cause, GitError};
use super::source::{Auth, Programs, Remote};
use super::watch::{Shown, Watch, Watched};

/// Where a `git daemon` listens if the URL doesn't say.
const DAEMON_PORT: u16 = 9418;

/// All that a program at the other end gets of our environment: who and where it is, how the user has set up ssh and git, and the agent with
/// the keys. Tokens, AWS credentials and what else is secret there aren't its business.
const KEPT_VARIABLES: [&str; 15] = [
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_EXEC_PATH",
    "HOME",
    "KRB5CCNAME",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SSH_AUTH_SOCK",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CONFIG_HOME",
];

pub(super) type Http = http::Transport<Overseen>;
pub(super) type Program = Connection<Watched<ChildStdout>, Watched<ChildStdin>>;
pub(super) type Socket = Connection<Watched<TcpStream>, Watched<TcpStream>>;

/// gix's HTTP client, whose answers are shown to a [`Watch`].
pub(super) struct Overseen {
    client: http::reqwest::Remote,
    watch: Arc<Watch>,
}

impl http::Http for Overseen {
    type Headers = <http::reqwest::Remote as http::Http>::Headers;
    type ResponseBody = Shown<<http::reqwest::Remote as http::Http>::ResponseBody>;
    type PostBody = <http::reqwest::Remote as http::Http>::PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<http::GetResponse<Self::Headers, Self::ResponseBody>> {
        let http::GetResponse { headers, body } = self.client.get(url, base_url, headers)?;
        Ok(http::GetResponse { headers, body: Shown::new(body, &self.watch) })
    }

    fn post(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        body: http::PostBodyDataKind,
    ) -> gix::Result<http::PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        let http::PostResponse { post_body, headers, body } = self.client.post(url, base_url, headers, body)?;
        Ok(http::PostResponse { post_body, headers, body: Shown::new(body, &self.watch) })
    }

    fn configure(&mut self, config: &dyn std::any::Any) -> gix::Result<()> {
        self.client.configure(config)
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.client.redirected_base_url()
    }
}

/// Makes ready for HTTP. Nothing is sent yet.
pub(super) fn http(remote: &Remote, watch: &Arc<Watch>) -> Result<(Http, http::Options), GitError> {
    let (connect, stall) = (remote.connect_timeout, remote.stall_timeout);
    let backend = http::reqwest::Options {
        // reqwest's blocking time-out holds for the wait for an answer, and then for each read of it.
        configure_client: Some(Box::new(move |builder| Ok(builder.connect_timeout(connect).timeout(stall)))),
        configure_request: None,
    };
    let mut options = http::Options { backend: Some(Arc::new(Mutex::new(backend))), ..http::Options::default() };
    let mut transport = Http::new_http(
        Overseen { client: http::reqwest::Remote::default(), watch: Arc::clone(watch) },
        remote.url.clone(),
        Protocol::V2,
        false,
    );
    if let Some(token) = remote.token()? {
        if remote.url.scheme == Scheme::Https {
            // Sent with the first request: to wait until we are asked would make an idle poll dearer by one request.
            // gix drops it when a redirect leads to another host.
            let account = Account {
                username: remote.user.clone(),
                password: token.expose_secret().to_owned(),
                oauth_refresh_token: None,
            };
            transport.set_identity(account).map_err(|error| GitError::Unreachable {
                url: remote.shown.clone(),
                what: "can't log in".to_owned(),
                source: Cause::of(&error),
            })?;
        } else {
            // gix sends no identity without TLS; `Remote::new` has made sure that this stays on this machine.
            options.extra_headers.push(basic_authorization(&remote.user, &token));
        }
    }
    Ok((transport, options))
}

/// Starts the program that speaks for an ssh or file URL.
pub(super) fn program(remote: &Remote, programs: &Programs, watch: &Arc<Watch>) -> Result<Program, GitError> {
    let (mut command, package) = if remote.url.scheme == Scheme::Ssh {
        (ssh(&programs.ssh, remote), "openssh-client")
    } else {
        let mut command = Command::new(&programs.git);
        command.arg("upload-pack").arg(remote.url.path.to_os_str_lossy());
        (command, "git")
    };
    let kept = KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept);
    command.env("GIT_PROTOCOL", "version=2").env("LC_ALL", "C");
    // A group of its own, so that what it starts itself can be ended with it.
    command.process_group(0);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let failed = |source: Cause| GitError::Program {
        url: remote.shown.clone(),
        program: command.get_program().to_string_lossy().into_owned(),
        package,
        source,
    };
    let mut child = spawned.map_err(|error| failed(Cause::of(&error)))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    watch.owns_child(child);
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(failed(Cause("it has no pipes".to_owned())));
    };
    watch.listen(stderr);
    let watched = Watched::new(stdout, watch);
    let writer = Watched::new(stdin, watch);
    let path = remote.url.path.clone();
    let host = None::<(&str, Option<u16>)>;
    let connection = Connection::new(watched, writer, Protocol::V2, path, host, ConnectMode::Process, false);
    Ok(connection.custom_url(Some(remote.url.to_bstring())))
}

/// The call of `ssh` that runs `git-upload-pack` at the other end. It never asks anything of a terminal.
fn ssh(program: &OsStr, remote: &Remote) -> Command {
    let mut command = Command::new(program);
    let seconds = |limit: Duration| limit.as_secs().max(1);
    let alive = seconds(remote.stall_timeout / 3);
    for option in [
        "BatchMode=yes".to_owned(),
        format!("ConnectTimeout={}", seconds(remote.connect_timeout)),
        format!("ServerAliveInterval={alive}"),
        "ServerAliveCountMax=3".to_owned(),
        "SendEnv=GIT_PROTOCOL".to_owned(),
    ] {
        command.arg("-o").arg(option);
    }
    if let Auth::SshKeyFile(key) = &remote.auth {
        command.arg("-o").arg("IdentitiesOnly=yes").arg("-i").arg(key);
    }
    if let Some(port) = remote.url.port {
        command.arg("-p").arg(port.to_string());
    }
    let host = remote.url.host().unwrap_or_default();
    command.arg(match remote.url.user() {
        Some(user) => format!("{user}@{host}"),
        None => host.to_owned(),
    });
    let path = remote.url.path.to_string();
    // As Git has it: `/~user/…` means the home of that user.
    let path = if path.starts_with("/~") { path.trim_start_matches('/') } else { &path };
    command.arg(format!("git-upload-pack '{}'", path.replace('\'', r"'\''").replace('!', r"'\!'")));
    command
}

/// Connects to a `git daemon`.
pub(super) fn socket(remote: &Remote, watch: &Arc<Watch>) -> Result<Socket, GitError> {
    let unreachable = |error: &std::io::Error| GitError::Unreachable {
        url: remote.shown.clone(),
        what: "can't connect".to_owned(),
        source: Cause::of(error),
    };
    let host = remote.url.host().unwrap_or_default().to_owned();
    let port = remote.url.port.unwrap_or(DAEMON_PORT);
    let addresses = (host.as_str(), port).to_socket_addrs().map_err(|error| unreachable(&error))?;
    let mut last = std::io::Error::other("the host has no address");
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, remote.connect_timeout)
            .and_then(|stream| Ok((stream.try_clone()?, stream.try_clone()?, stream)));
        match connected {
            Ok((handle, writer, reader)) => {
                watch.owns_socket(handle);
                let reader = Watched::new(reader, watch);
                let writer = Watched::new(writer, watch);
                let path = remote.url.path.clone();
                let host = Some((host, remote.url.port));
                let connection = Connection::new(reader, writer, Protocol::V2, path, host, ConnectMode::Daemon, false);
                return Ok(connection.custom_url(Some(remote.url.to_bstring())));
            }
            Err(error) => last = error,
        }
    }
    Err(unreachable(&last))
}

fn basic_authorization(user: &str, token: &SecretString) -> String {
    format!("Authorization: Basic {}", base64(format!("{user}:{}", token.expose_secret()).as_bytes()))
}

/// RFC 4648's base64 with padding. For this one header it isn't worth a dependency.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |six: u32| DIGITS.get((six & 63) as usize).copied().map_or('=', char::from);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| chunk.get(index).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.push(digit(bits >> 18));
        text.push(digit(bits >> 12));
        text.push(if chunk.len() > 1 { digit(bits >> 6) } else { '=' });
        text.push(if chunk.len() > 2 { digit(bits) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
