use std::net::SocketAddr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolving};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn prober(allowed: &[&str]) -> HttpProber {
    HttpProber::new(allowed.iter().map(ToString::to_string).collect()).unwrap()
}

fn probe(http: &str) -> Probe {
    let (timeout, within) = (Duration::from_millis(300), Duration::from_secs(1));
    Probe { http: http.to_owned(), status: 200, timeout, within }
}

/// All the ways to write an address of AWS's metadata services, and other link-local ones.
const REFUSED: [&str; 19] = [
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials",
    "http://169.254.170.23/v1/credentials",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://0xa9.0376.43518/",
    "http://169.16689662/",
    "http://169.254.169.254./",
    "http://%31%36%39.254.169.254/",
    "http://１６９.254.169.254/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fd00:0ec2:0:0:0:0:0:23]:80/",
    "http://[fe80::1]/",
];

#[tokio::test]
async fn metadata_services_are_not_asked_however_they_are_written() {
    for http in REFUSED {
        let said = prober(&[]).probe(&probe(http)).await.unwrap_err();
        assert!(
            said.contains("isn't asked: the address ") && said.contains("`allow` under [probes]"),
            "{http}: {said}"
        );
    }
    let allowed = prober(&["169.254.169.254"]);
    for http in ["http://169.254.169.254/", "http://2852039166/"] {
        let said = allowed.probe(&probe(http)).await.err().unwrap_or_default();
        assert!(!said.contains("isn't asked"), "{http}: {said}");
    }
    let said = allowed.probe(&probe("http://169.254.170.2/")).await.unwrap_err();
    assert!(said.contains("isn't asked"), "only what is named is allowed: {said}");
}

/// Every name has these addresses.
struct Everybody(Vec<&'static str>);

impl Resolve for Everybody {
    fn resolve(&self, _name: Name) -> Resolving {
        let found: Vec<SocketAddr> =
            self.0.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

#[tokio::test]
async fn a_name_that_leads_there_is_refused_when_it_is_resolved() {
    for bad in ["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "::ffff:169.254.170.2"] {
        let names = || Arc::new(Everybody(vec!["127.0.0.1", bad]));
        let asked = probe("http://app.example.com:1/");
        let said = HttpProber::resolving(names(), BTreeSet::new()).unwrap().probe(&asked).await.unwrap_err();
        assert!(said.contains(&format!("can't be reached: the address {bad} is link-local")), "{said}");
        let allowed = HttpProber::resolving(names(), BTreeSet::from(["app.example.com".to_owned()])).unwrap();
        let said = allowed.probe(&asked).await.unwrap_err();
        assert!(!said.contains("link-local"), "{said}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_wherever_it_leads() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    let answers = ["HTTP/1.1 200 OK", "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/"];
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
            let answer = format!("{answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let patient = Probe { timeout: Duration::from_secs(10), ..probe(&url) };
    let prober = prober(&[]);
    assert_eq!(prober.probe(&patient).await, Ok(()));
    assert_eq!(prober.probe(&patient).await, Err(format!("{url} answered 302, not 200")));
}
