//! A tag that seems to have moved is looked up again, once for all targets that have the same image.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::manifest;
use crate::model::{
    AccountId, Artifact, ArtifactQuery, Container, Digest, EnvironmentName, LocalRef, ObservedDeployment,
    ObservedService, ObservedTarget, PortError, Provenance, ResolveError, RolloutHistory, TargetSpec, TaskDefinition,
};
use crate::plan::Memory;
use crate::ports::Observe;
use crate::reconcile::pass;

const IMAGE: &str = "222222222222.dkr.ecr.us-west-1.amazonaws.com/api";
const FILES: [(&str, &str); 2] = [
    (
        "environments/dev/environment.toml",
        "[account]\nid = \"222222222222\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::222222222222:role/pinion\"\n\
         [fargate.one]\ncluster = \"app\"\ncomponent = \"api\"\nimage = \"222222222222.dkr.ecr.us-west-1.amazonaws.com/api:{version}\"\n\
         [fargate.two]\ncluster = \"app\"\ncomponent = \"api\"\nimage = \"222222222222.dkr.ecr.us-west-1.amazonaws.com/api:{version}\"\n",
    ),
    ("environments/dev/pins.toml", "api = \"1.0\"\n"),
];

/// What was found first, and what is found by looking again: the bytes that run.
const BEFORE: char = 'a';
const AFTER: char = 'b';

fn digest(digit: char) -> Digest {
    Digest::try_from(format!("sha256:{}", digit.to_string().repeat(64))).unwrap()
}

/// An account in which a tag has moved, and all services run what it is on now.
struct Moved;

fn found(queries: &BTreeSet<ArtifactQuery>, digit: char) -> BTreeMap<ArtifactQuery, Result<Artifact, ResolveError>> {
    let artifact = Artifact::Image {
        image: format!("{IMAGE}:1.0"),
        digest: Some(digest(digit)),
        architectures: BTreeSet::new(),
        members: BTreeSet::new(),
        tag: ("1.0".to_owned(), Some(digest(digit))),
    };
    queries.iter().map(|query| (query.clone(), Ok(artifact.clone()))).collect()
}

fn service(spec: &TargetSpec) -> ObservedTarget {
    let TargetSpec::Fargate(spec) = spec else { panic!("{spec:?}") };
    let containers = vec![Container { name: "app".to_owned(), image: format!("{IMAGE}:1.0"), essential: true }];
    let task_definition = TaskDefinition {
        arn: "arn:aws:ecs:us-west-1:222222222222:task-definition/api:1".to_owned(),
        containers: containers.clone(),
        architecture: None,
        marker: None,
        active: true,
        tags: 0,
        made: None,
        made_by: None,
    };
    let deployment = ObservedDeployment {
        id: "ecs-svc/1".to_owned(),
        primary: true,
        task_definition: task_definition.arn.clone(),
        marker: None,
        containers,
        rollout_state: "COMPLETED".to_owned(),
        reason: None,
        created: None,
        failed: 0,
        desired: 1,
        running: 1,
    };
    ObservedTarget::Service(Box::new(ObservedService {
        cluster: spec.cluster.clone(),
        name: spec.service.clone(),
        arn: format!("arn:aws:ecs:us-west-1:222222222222:service/app/{}", spec.service),
        status: "ACTIVE".to_owned(),
        controller: "ECS".to_owned(),
        task_definition,
        deployments: vec![deployment],
        breaker: true,
        desired: 1,
        running: 1,
        digests: BTreeMap::from([("app".to_owned(), digest(AFTER))]),
    }))
}

#[async_trait]
impl Observe for Moved {
    async fn identity(&self) -> Result<AccountId, PortError> {
        Ok(AccountId::try_from("222222222222").unwrap())
    }

    async fn resolve(
        &self,
        queries: &BTreeSet<ArtifactQuery>,
    ) -> BTreeMap<ArtifactQuery, Result<Artifact, ResolveError>> {
        found(queries, BEFORE)
    }

    async fn look_again(
        &self,
        queries: &BTreeSet<ArtifactQuery>,
    ) -> BTreeMap<ArtifactQuery, Result<Artifact, ResolveError>> {
        found(queries, AFTER)
    }

    async fn observe(
        &self,
        targets: &BTreeMap<LocalRef, TargetSpec>,
    ) -> BTreeMap<LocalRef, Result<ObservedTarget, PortError>> {
        targets.iter().map(|(local, spec)| (local.clone(), Ok(service(spec)))).collect()
    }

    async fn history(&self, _: &ObservedTarget) -> Result<RolloutHistory, PortError> {
        Ok(RolloutHistory::Service { deployments: Vec::new(), revisions: Vec::new(), complete: true })
    }

    async fn alarms(&self, _: &BTreeSet<String>) -> Result<BTreeMap<String, String>, PortError> {
        Ok(BTreeMap::new())
    }

    fn forget(&self) {}
}

#[tokio::test]
async fn all_targets_of_an_image_learn_what_looking_again_has_found() {
    let files = FILES.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let mut loaded = manifest::load(&BTreeMap::from(files));
    let draft = loaded.environments.remove(&EnvironmentName::try_from("dev").unwrap()).unwrap().unwrap();
    let now = Timestamp::from_second(1_780_000_000).unwrap();
    let provenance = draft.pins().into_keys().map(|component| (component, Provenance::uncommitted(now))).collect();
    let environment = draft.complete(&provenance);
    let observed =
        pass::observe(&environment, &Moved, &Memory::default(), &BTreeSet::new(), std::time::Duration::ZERO, now).await;
    let digests = observed.artifacts.iter().map(|(local, artifact)| match artifact {
        Ok(Artifact::Image { digest: Some(digest), .. }) => (local.to_string(), digest.clone()),
        other => panic!("{local}: {other:?}"),
    });
    let wanted = ["fargate/one", "fargate/two"].map(|local| (local.to_owned(), digest(AFTER)));
    assert_eq!(digests.collect::<Vec<_>>(), wanted);
}
