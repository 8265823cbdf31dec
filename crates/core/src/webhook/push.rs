//! From the body of a push event to the repository and the branch that it is of. Pure; the body may be anybody's.

use std::collections::BTreeSet;

use serde::Deserialize;
use thiserror::Error;

use crate::config::host_and_path;

/// What a push event is of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Push {
    /// The branch that moved; `None` if it was a tag, or the event is no push.
    pub branch: Option<String>,
    /// Hosts and paths that the repository is known by.
    repositories: BTreeSet<(String, String)>,
}

/// The body is no event.
#[derive(Debug, Error)]
#[error("this is not an event of GitHub, GitLab or Gitea")]
pub struct NotAnEvent(#[source] serde_json::Error);

/// What the three forges have in common, and where they differ.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(rename = "ref")]
    reference: Option<String>,
    repository: Option<Repository>,
    /// GitLab's.
    project: Option<Repository>,
}

#[derive(Debug, Deserialize)]
struct Repository {
    clone_url: Option<String>,
    ssh_url: Option<String>,
    html_url: Option<String>,
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
    web_url: Option<String>,
}

/// Reads the body of an event.
///
/// # Errors
/// [`NotAnEvent`] if it isn't JSON, or has something else where events have a repository's URLs.
pub fn read(body: &[u8]) -> Result<Push, NotAnEvent> {
    let body: Body = serde_json::from_slice(body).map_err(NotAnEvent)?;
    let branch = body.reference.as_deref().and_then(|name| name.strip_prefix("refs/heads/"));
    let urls = [body.repository, body.project].into_iter().flatten().flat_map(|it| {
        [it.clone_url, it.ssh_url, it.html_url, it.git_http_url, it.git_ssh_url, it.web_url].into_iter().flatten()
    });
    let repositories = urls.map(|url| place(&url)).filter(|(host, path)| !host.is_empty() && !path.is_empty());
    Ok(Push { branch: branch.map(str::to_owned), repositories: repositories.collect() })
}

impl Push {
    /// Whether it is of the repository at this URL, whichever way in the URL is.
    #[must_use]
    pub fn is_of(&self, url: &str) -> bool {
        self.repositories.contains(&place(url))
    }
}

/// Hosts that serve the repositories of another one over SSH on port 443, for networks that let nothing else through.
/// GitHub: "Using SSH over the HTTPS port"; GitLab: "Use an alternative SSH port"; Bitbucket: "Troubleshoot SSH issues".
const OTHER_NAMES: [(&str, &str); 3] =
    [("ssh.github.com", "github.com"), ("altssh.gitlab.com", "gitlab.com"), ("altssh.bitbucket.org", "bitbucket.org")];

/// The host and the path of a repository, the same for each way in. The port is left out, as SSH has another one than HTTPS.
/// All is in lower case: none of the forges has two repositories whose names differ by case alone, and a hint too many costs
/// one listing of branches. For the same reason `www.` is left out of hosts, and empty parts are of paths.
fn place(url: &str) -> (String, String) {
    let (host, path) = host_and_path(url);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => host,
    };
    let host = host.trim_end_matches('.').to_lowercase();
    let host = host.strip_prefix("www.").map_or_else(|| host.clone(), str::to_owned);
    let host = OTHER_NAMES.iter().find(|(other, _)| *other == host).map_or(host, |(_, name)| (*name).to_owned());
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(str::to_lowercase).collect();
    (host, parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GITHUB: &str = r#"{"ref":"refs/heads/main","after":"1","repository":{"full_name":"acme/environments",
        "html_url":"https://github.com/acme/environments","clone_url":"https://github.com/acme/environments.git",
        "ssh_url":"git@github.com:acme/environments.git","url":"https://github.com/acme/environments"},"commits":[]}"#;
    const GITLAB: &str = r#"{"object_kind":"push","ref":"refs/heads/main","project":{"web_url":"http://git.example/g/s/e",
        "git_ssh_url":"ssh://git@git.example:2222/g/s/e.git","git_http_url":"http://git.example/g/s/e.git"},
        "repository":{"name":"e","url":"git@git.example:g/s/e.git","homepage":"http://git.example/g/s/e"}}"#;
    const GITLAB_COM: &str = r#"{"object_kind":"push","ref":"refs/heads/main","project":{"web_url":"https://gitlab.com/g/s/e",
        "git_ssh_url":"git@gitlab.com:g/s/e.git","git_http_url":"https://gitlab.com/g/s/e.git"}}"#;
    const SPACED: &str = r#"{"ref":"refs/heads/main","repository":{"html_url":"https://git.example/our%20team/e-prod",
        "clone_url":"https://git.example/our%20team/e%2dprod.git"}}"#;
    const GITEA: &str = r#"{"ref":"refs/heads/main","repository":{"html_url":"http://localhost:3000/acme/e",
        "ssh_url":"ssh://gitea@localhost:2222/acme/e.git","clone_url":"http://localhost:3000/acme/e.git"}}"#;

    #[test]
    fn events_of_the_three_forges_are_of_their_repositories() {
        let cases = [
            (GITHUB, "https://github.com/acme/environments", true),
            (GITHUB, "git@github.com:acme/environments.git", true),
            (GITHUB, "ssh://git@GITHUB.com/acme/environments.git", true),
            (GITHUB, "https://github.com/acme/environments2.git", false),
            (GITHUB, "https://gitlab.com/acme/environments.git", false),
            (GITHUB, "/srv/acme/environments.git", false),
            (GITLAB, "https://git.example/g/s/e.git", true),
            (GITLAB, "git@git.example:g/s/e.git", true),
            (GITLAB, "https://git.example/g/s", false),
            (GITEA, "http://localhost:3000/acme/e.git", true),
            (GITEA, "gitea@localhost:acme/e", true),
            // Other case, other ports, and the hosts for SSH on port 443.
            (GITHUB, "https://github.com/Acme/Environments.git", true),
            (GITHUB, "https://GitHub.com:443/ACME/environments/", true),
            (GITHUB, "ssh://git@ssh.github.com:443/acme/environments.git", true),
            (GITHUB, "git@ssh.github.com:acme/environments.git", true),
            (GITHUB, "ssh://git@altssh.gitlab.com:443/acme/environments.git", false),
            (GITLAB_COM, "ssh://git@altssh.gitlab.com:443/g/s/e.git", true),
            (GITLAB_COM, "https://gitlab.com/G/S/E", true),
            (GITLAB, "ssh://git@git.example:2022/g/s/e.git", true),
            (GITLAB, "https://git.example:8443/g/S/e.git", true),
            (GITEA, "ssh://gitea@localhost:22/ACME/E.git", true),
            // Other spellings of the same place.
            (GITHUB, "https://www.github.com/acme/environments.git", true),
            (GITHUB, "https://WWW.GitHub.com./acme/environments/", true),
            (GITHUB, "https://github.com/acme/environments.GIT", true),
            (GITHUB, "https://github.com/acme/environments.Git/", true),
            (GITHUB, "https://github.com//acme//environments.git//", true),
            (GITHUB, "https://github.com/acme/%65nvironments%2Egit", true),
            (GITHUB, "https://github.com/acme%2Fenvironments", true),
            (GITHUB, "https://wwwgithub.com/acme/environments", false),
            (GITHUB, "https://github.com/acme/environments.git.git", false),
            (SPACED, "https://www.git.example/Our%20Team/e%2Dprod.git", true),
            (SPACED, "https://git.example/our team/e-prod", true),
            (SPACED, "ssh://git@git.example/Our%20Team/e-prod.git/", true),
            (SPACED, "git@git.example:Our Team/e-prod.git", true),
            (SPACED, "https://git.example/our+team/e-prod", false),
        ];
        for (body, url, expected) in cases {
            let push = read(body.as_bytes()).unwrap();
            assert_eq!(push.branch.as_deref(), Some("main"));
            assert_eq!(push.is_of(url), expected, "{url} {push:?}");
        }
    }

    #[test]
    fn what_is_no_push_to_a_branch_has_none_and_what_is_no_event_is_refused() {
        for body in [r#"{"ref":"refs/tags/v1","repository":{}}"#, r#"{"zen":"x","hook_id":1}"#, "{}", r#"{"ref":null}"#]
        {
            assert_eq!(read(body.as_bytes()).unwrap(), Push::default(), "{body}");
        }
        let deep = "[".repeat(100_000);
        let deep = format!("{{\"ref\":{deep}");
        for body in
            ["", "null", "[]", "\u{0}", r#"{"ref":1}"#, r#"{"repository":"x"}"#, "{\"ref\":\"a\"", deep.as_str()]
        {
            assert!(read(body.as_bytes()).is_err(), "{body:.40}");
        }
        let odd =
            read(br#"{"ref":"refs/heads/","repository":{"clone_url":"://","ssh_url":"@:","html_url":"x"}}"#).unwrap();
        assert!(!odd.is_of("://") && !odd.is_of("") && !odd.is_of("x"));
    }
}
