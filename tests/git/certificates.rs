//! Servers whose certificates aren't taken, as people have them inside their companies: what is said, and that what is advised works.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::python;

/// Makes certificates in the folder that it is given, and serves HTTPS with each: prints the name and the port of each, then an
/// empty line, and ends when its input does.
const SERVERS: &str = r#"
import datetime, http.server, ipaddress, ssl, sys, threading
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

folder, now = sys.argv[1], datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)

def named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

def issue(name, subject, key, issuer, issuer_key, is_authority, host, begin, end):
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
    builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    if host:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    with open(f"{folder}/{name}.pem", "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))

def serve(name, key):
    with open(f"{folder}/{name}.key", "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/{name}.pem", f"{folder}/{name}.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(name, server.server_address[1])

key = lambda: ec.generate_private_key(ec.SECP256R1())
authority, authority_key = named("Authority of Acme"), key()
issue("authority", authority, authority_key, authority, authority_key, True, None, now - day, now + day)
other_key = key()
issue("other", named("Authority of others"), other_key, named("Authority of others"), other_key, True, None, now - day, now + day)
for name, host, begin, end in [
    ("good", "localhost", now - day, now + day),
    ("renamed", "git.example.com", now - day, now + day),
    ("expired", "localhost", now - 3 * day, now - 2 * day),
    ("early", "localhost", now + 2 * day, now + 3 * day),
]:
    own = key()
    issue(name, named(name), own, authority, authority_key, False, host, begin, end)
    serve(name, own)
for name, is_authority in [("self-signed-authority", True), ("self-signed", False)]:
    own = key()
    issue(name, named(name), own, named(name), own, is_authority, "localhost", now - day, now + day)
    serve(name, own)
print(flush=True)
sys.stdin.read()
"#;

/// The servers. They end with this.
struct Servers {
    folder: TempDir,
    child: Child,
    ports: Vec<(String, u16)>,
}

impl Servers {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = python::command(&["-c", SERVERS, folder.path().to_str().unwrap()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let ports = lines.take_while(|line| !line.is_empty()).map(|line| {
            let (name, port) = line.split_once(' ').unwrap();
            (name.to_owned(), port.parse().unwrap())
        });
        let ports: Vec<_> = ports.collect();
        assert_eq!(ports.len(), 6, "all of them serve");
        Self { folder, child, ports }
    }

    /// What the controller says of a server, if it trusts this certificate.
    fn said(&self, server: &str, trusted: &str) -> String {
        let port = self.ports.iter().find(|(name, _)| name == server).unwrap().1;
        said(port, &self.folder.path().join(format!("{trusted}.pem")))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first error of a controller that follows a repository there.
fn said(port: u16, trusted: &Path) -> String {
    let home = TempDir::new().unwrap();
    let config = home.path().join("pinion.toml");
    let text = format!(
        "[[repository]]\nurl = \"https://localhost:{port}/acme/environments.git\"\nbranch = \"main\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(["run", "--config", config.to_str().unwrap()]).current_dir(home.path());
    command.env_clear().env("HOME", home.path()).env("SSL_CERT_FILE", trusted).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b").env("AWS_REGION", "eu-west-1");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let events = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
    let mut errors = events.filter(|event| event["level"] == "ERROR" && event["repository"].is_string());
    let error = errors.next().map(|event| event["message"].as_str().unwrap().to_owned());
    child.kill().unwrap();
    child.wait().unwrap();
    error.expect("there is an error of the repository").replace(&port.to_string(), "PORT")
}

const AUTHORITY: &str = "the server's certificate is by an authority that isn't known here; if that is your own, add its certificate \
                         to a file with those of the public authorities, PEM, and name that file in the environment variable \
                         SSL_CERT_FILE";

#[test]
fn a_certificate_that_is_not_taken_says_how_to_make_it_so() {
    let servers = Servers::start();
    for (server, trusted, reason) in [
        ("good", "other", AUTHORITY),
        ("self-signed", "other", AUTHORITY),
        (
            "self-signed-authority",
            "self-signed-authority",
            "the server's certificate is self-signed, and marked as an authority's (`CA:TRUE`), which no server's may be; issue one that \
             isn't, by an authority of your own or with `basicConstraints=CA:FALSE`, and add that authority's certificate, or else the \
             certificate itself, to a file with those of the public authorities, PEM, that the environment variable SSL_CERT_FILE names",
        ),
        (
            "renamed",
            "authority",
            "the server's certificate is for another name; write in the URL the name that the certificate has, or issue one for the name \
             in the URL",
        ),
        (
            "expired",
            "authority",
            "the server's certificate has expired; renew it, or set this machine's clock, if that is wrong",
        ),
        (
            "early",
            "authority",
            "the server's certificate isn't valid yet; set the clock of this machine, or of the one that issued it",
        ),
    ] {
        let said = servers.said(server, trusted);
        // What follows is rustls's word for it.
        let (what, _) = said.split_once(": invalid peer certificate: ").unwrap_or((&said, ""));
        assert_eq!(what, format!("repository https://localhost:PORT/acme/environments.git: {reason}"), "{server}");
    }
    // With what is advised, the server is talked to; it has no repositories.
    for (server, trusted) in [("good", "authority"), ("self-signed", "self-signed")] {
        let said = servers.said(server, trusted);
        assert!(said.contains("the answer was 501"), "{said}");
    }
}
