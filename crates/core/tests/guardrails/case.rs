//! One rollout to ask guardrails about, and ways to change it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pinion_core::guardrail::{Explanation, Fleet, Guardrails as _, Member, Policies, Proposal};
use pinion_core::manifest::{self, Loaded};
use pinion_core::model::{
    CommitId, Component, Environment, EnvironmentName, LocalRef, Provenance, ShapeChange, Signer, SignerKind, State,
    TargetRef, Version,
};

const DEFAULTS: &str = r#"
[account]
region = "us-west-1"
role = "arn:aws:iam::{account}:role/pinion"
[asg.web]
group = "frontend"
component = "frontend"
ami = { name = "frontend-{version}" }
[fargate.api]
cluster = "app"
component = "backend"
image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:{version}"
"#;
const DEV: &str = "[account]\nid = \"111111111111\"\n";
const PROD: &str = "[account]\nid = \"222222222222\"\n[promotion]\nfrom = \"dev\"\n";

/// A repository with `dev` and `prod`, and these policies.
pub(crate) fn load(policies: &[(&str, &str)], frontend: &str) -> Loaded {
    let pins = format!("frontend = \"{frontend}\"\nbackend = \"backend.2.0.1\"\n");
    let mut files: BTreeMap<String, Vec<u8>> = [
        ("environments/defaults.toml", DEFAULTS),
        ("environments/dev/environment.toml", DEV),
        ("environments/prod/environment.toml", PROD),
        ("environments/dev/pins.toml", &pins),
        ("environments/prod/pins.toml", &pins),
    ]
    .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
    .into();
    for (name, text) in policies {
        files.insert(format!("policies/guardrails/{name}"), text.as_bytes().to_vec());
    }
    manifest::load(&files)
}

/// A rollout of `prod/asg/web` that is due: from 1.4.0 to 1.4.2, on Thursday, 3 December 2026, 12:00 UTC.
pub(crate) struct Case {
    policies: Policies,
    pub(crate) environment: Environment,
    pub(crate) target: LocalRef,
    pub(crate) running: Option<String>,
    pub(crate) heals: bool,
    pub(crate) shape: Option<ShapeChange>,
    pub(crate) image: bool,
    pub(crate) fleet: Fleet,
    pub(crate) now: Timestamp,
}

impl Case {
    pub(crate) fn new(policies: &str) -> Self {
        Self::in_environment("prod", policies)
    }

    pub(crate) fn in_environment(name: &str, policies: &str) -> Self {
        let loaded = load(&[("test.cedar", policies)], "1.4.2");
        assert_eq!(loaded.all_findings().to_string(), "");
        let environment = environment(name);
        let provenance = Provenance {
            commit: CommitId::try_from("a".repeat(40)).unwrap(),
            author: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
            time: time("2026-12-03T11:00:00Z"),
            subject: "frontend 1.4.2".to_owned(),
            trailers: BTreeMap::new(),
            signer: None,
        };
        let draft = loaded.environments[&environment].as_ref().unwrap();
        let provenance = draft.pins().into_keys().map(|component| (component, provenance.clone())).collect();
        Self {
            policies: loaded.policies.clone(),
            environment: draft.complete(&provenance),
            target: LocalRef::try_from("asg/web".to_owned()).unwrap(),
            running: Some("1.4.0".to_owned()),
            heals: false,
            shape: None,
            image: true,
            fleet: Fleet::default(),
            now: time("2026-12-03T12:00:00Z"),
        }
    }

    pub(crate) fn at(mut self, now: &str) -> Self {
        self.now = time(now);
        self
    }

    pub(crate) fn running(mut self, version: &str) -> Self {
        self.running = Some(version.to_owned());
        self
    }

    pub(crate) fn target(mut self, local: &str) -> Self {
        self.target = LocalRef::try_from(local.to_owned()).unwrap();
        self
    }

    pub(crate) fn pinned(mut self, version: &str) -> Self {
        let component = self.environment.targets[&self.target].component.clone();
        self.environment.pins.get_mut(&component).unwrap().version = Version::try_from(version).unwrap();
        self
    }

    pub(crate) fn trailer(mut self, key: &str, value: &str) -> Self {
        for pin in self.environment.pins.values_mut() {
            pin.provenance.trailers.insert(key.to_owned(), value.to_owned());
        }
        self
    }

    pub(crate) fn signed_by(mut self, identity: &str) -> Self {
        let (identity, key) = (identity.to_owned(), "SHA256:abc".to_owned());
        for pin in self.environment.pins.values_mut() {
            let (identity, key) = (identity.clone(), key.clone());
            pin.provenance.signer = Some(Signer { identity, key, kind: SignerKind::Ssh });
        }
        self
    }

    /// It brings back what this very pin had brought before.
    pub(crate) fn healing(mut self) -> Self {
        self.heals = true;
        self
    }

    /// It brings a shape of Terraform's, and another image as well if `image`.
    pub(crate) fn with_a_new_shape(mut self, image: bool) -> Self {
        let by = Some("arn:aws:sts::222222222222:assumed-role/terraform/run-7".to_owned());
        let (from, to) = ("1".to_owned(), "2".to_owned());
        self.shape = Some(ShapeChange { from, to, by, at: None, changes: vec!["user data changed".to_owned()] });
        self.image = image;
        self
    }

    /// Another target of the frontend, in this state since then.
    pub(crate) fn other(self, target: &str, version: &str, state: State, since: Option<&str>) -> Self {
        self.of_component("frontend", target, version, state, since)
    }

    /// Another target of a component, in this state since then.
    pub(crate) fn of_component(
        mut self,
        component: &str,
        target: &str,
        version: &str,
        state: State,
        since: Option<&str>,
    ) -> Self {
        let member = Member {
            component: Component::try_from(component).unwrap(),
            version: Version::try_from(version).unwrap(),
            digest: None,
            state,
            in_sync_since: since.map(time),
            runs: Vec::new(),
        };
        self.fleet.note(&TargetRef::try_from(target.to_owned()).unwrap(), member);
        self
    }

    fn proposal(&self) -> Proposal<'_> {
        let target = &self.environment.targets[&self.target];
        Proposal {
            environment: &self.environment,
            target,
            pin: self.environment.pin_of(target).unwrap(),
            running: self.running.as_deref(),
            heals: self.heals,
            shape: self.shape.as_ref(),
            image: self.image,
            fleet: &self.fleet,
            now: self.now,
        }
    }

    pub(crate) fn explain(&self) -> Explanation {
        self.policies.explain(self.proposal())
    }

    /// The denials, one a line.
    pub(crate) fn denials(&self) -> String {
        self.denied_by(&self.policies)
    }

    /// The denials of other policies, one a line.
    pub(crate) fn denied_by(&self, policies: &Policies) -> String {
        let denials = policies.check(self.proposal());
        denials.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    /// The ids of the policies that forbid it.
    pub(crate) fn forbidden_by(&self) -> Vec<String> {
        self.policies.check(self.proposal()).into_iter().map(|denial| denial.policy).collect()
    }
}

pub(crate) fn environment(name: &str) -> EnvironmentName {
    EnvironmentName::try_from(name).unwrap()
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}
