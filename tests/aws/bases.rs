//! Whose shape groups may have: the newest numbers of launch templates are read in batches, versions only where there are newer
//! ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pinion::model::{
    BaseRevision, BaseRule, Bases, CommitId, ErrorClass, GroupTemplate, LocalRef, ObservedTarget, PortError,
    RolloutSettings, Target, TargetSpec,
};
use pinion::plan::Action;
use pinion::ports::{Accounts as _, BaseQuery, Observe};
use serde_json::json;

use crate::support::aws::{Simulator, account, asg, environment, local};

const ACCOUNT: &str = "000000000001";
/// So long nothing is looked at again.
const LONG: Duration = Duration::from_secs(3_600);

fn commit(digit: char) -> CommitId {
    CommitId::try_from(digit.to_string().repeat(40)).unwrap()
}

/// Groups of an account, each with a launch template of its own, as they were read.
struct Groups {
    stand: Simulator,
    reader: Arc<dyn Observe>,
    seen: BTreeMap<LocalRef, ObservedTarget>,
}

type Found = BTreeMap<LocalRef, Result<Bases, PortError>>;

impl Groups {
    async fn new(count: usize) -> Self {
        let stand = Simulator::fleet(1, count, 0).await;
        let reader = stand.aws.reader(&environment("one"), &account(ACCOUNT, None));
        let targets: BTreeMap<LocalRef, TargetSpec> =
            (0..count).map(|n| (local(&format!("asg/g{n:03}")), asg(&format!("group-{n}")))).collect();
        let seen = reader.observe(&targets).await;
        let seen = seen.into_iter().map(|(local, seen)| (local, seen.unwrap())).collect();
        stand.calls().await;
        Self { stand, reader, seen }
    }

    /// Looks for the shapes of all groups; the first one's pin is of this commit.
    async fn look(&self, max_age: Duration, first: char) -> Found {
        let rule = BaseRule::default();
        let target = |local: &LocalRef| Target {
            reference: local.within(&environment("one")),
            component: "web".try_into().unwrap(),
            spec: asg("group"),
            after: BTreeSet::new(),
            rollout: RolloutSettings::default(),
            verify: Vec::new(),
            suspend: None,
            take_over: None,
            base: BaseRevision::Newest(rule.clone()),
        };
        let targets: Vec<Target> = self.seen.keys().map(target).collect();
        let commits: Vec<CommitId> = (0..targets.len()).map(|at| commit(if at == 0 { first } else { 'a' })).collect();
        let of_each = targets.iter().zip(&commits).zip(self.seen.values());
        let queries: Vec<BaseQuery<'_>> =
            of_each.map(|((target, commit), observed)| BaseQuery { target, rule: &rule, observed, commit }).collect();
        self.reader.bases(&queries, max_age).await
    }

    /// How many calls of `DescribeLaunchTemplates` and of `DescribeLaunchTemplateVersions` there were since this was last asked.
    async fn calls(&self) -> [usize; 2] {
        let calls = self.stand.calls().await;
        ["ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"]
            .map(|operation| calls.get(operation).copied().unwrap_or_default())
    }

    /// Makes a version of the last group's launch template.
    async fn make_version(&self) {
        let writer = self.stand.aws.writer(&environment("one"), &account(ACCOUNT, None));
        let Some(ObservedTarget::Group(group)) = self.seen.values().last() else { panic!("they are groups") };
        let GroupTemplate::LaunchTemplate { template, .. } = &group.template else { panic!("{group:?}") };
        let image = group.current.as_ref().and_then(|current| current.image.clone()).unwrap();
        let (marker, sought) = (super::marker("2.0.0", "1"), "0badcafe".to_owned());
        let make = Action::CreateTemplateVersion {
            template: template.clone(),
            source: 1,
            image,
            marker,
            root_device: None,
            sought,
        };
        writer.apply(&make).await.unwrap();
        self.stand.calls().await;
    }
}

fn nothing_newer(found: &Found) -> bool {
    found.values().all(|bases| bases.as_ref().is_ok_and(|bases| bases.recorded == "1" && bases.newest.is_none()))
}

#[tokio::test]
async fn newest_numbers_are_read_in_batches_and_versions_where_they_are_newer() {
    let groups = Groups::new(25).await;
    assert!(nothing_newer(&groups.look(LONG, 'a').await));
    assert_eq!(groups.calls().await, [1, 0], "one call for all of them");
    groups.look(LONG, 'a').await;
    assert_eq!(groups.calls().await, [0, 0], "and none until they are old");
    groups.look(Duration::ZERO, 'a').await;
    assert_eq!(groups.calls().await, [1, 0]);
    groups.look(LONG, 'b').await;
    assert_eq!(groups.calls().await, [1, 0], "a new pin asks again");
    groups.look(LONG, 'a').await;
    assert_eq!(groups.calls().await, [0, 0], "and no pin asks twice");
    groups.make_version().await;
    groups.look(LONG, 'a').await;
    assert_eq!(groups.calls().await, [0, 0]);
    assert!(nothing_newer(&groups.look(Duration::ZERO, 'a').await), "Pinion's own is no base");
    assert_eq!(groups.calls().await, [1, 1], "the only one with a newer version is read");
    groups.look(Duration::ZERO, 'a').await;
    assert_eq!(groups.calls().await, [1, 0], "once");
    groups.reader.forget();
    assert!(nothing_newer(&groups.look(LONG, 'a').await));
    assert_eq!(groups.calls().await, [1, 1], "a resync reads them again");
}

#[tokio::test]
async fn many_launch_templates_are_named_200_at_a_time_and_read_page_by_page() {
    let groups = Groups::new(201).await;
    assert!(nothing_newer(&groups.look(LONG, 'a').await));
    assert_eq!(groups.calls().await, [2, 0]);
    let groups = Groups::new(3).await;
    groups.stand.fault(json!({ "kind": "page" })).await;
    assert!(nothing_newer(&groups.look(LONG, 'a').await));
    assert_eq!(groups.calls().await, [3, 0]);
}

#[tokio::test]
async fn one_launch_template_that_is_not_found_is_read_by_itself() {
    let mut groups = Groups::new(5).await;
    let Some(ObservedTarget::Group(group)) = groups.seen.values_mut().next() else { panic!("they are groups") };
    let GroupTemplate::LaunchTemplate { template, .. } = &mut group.template else { panic!("{group:?}") };
    template.name = "gone".to_owned();
    assert!(nothing_newer(&groups.look(LONG, 'a').await));
    assert_eq!(groups.calls().await, [1, 1]);
    groups.look(LONG, 'a').await;
    assert_eq!(groups.calls().await, [0, 0]);
    groups.look(Duration::ZERO, 'a').await;
    assert_eq!(groups.calls().await, [1, 1]);
}

/// A role that was made before `ec2:DescribeLaunchTemplates` was asked for finds the same, by more calls.
#[tokio::test]
async fn without_the_permission_each_launch_template_is_read_by_itself() {
    let groups = Groups::new(5).await;
    let refused = |code: &str, status: u16| json!({ "operation": "DescribeLaunchTemplates", "kind": "error", "code": code, "status": status, "message": "no" });
    groups.stand.fault(refused("UnauthorizedOperation", 403)).await;
    assert!(nothing_newer(&groups.look(LONG, 'a').await));
    assert_eq!(groups.calls().await, [2, 5], "a denial is asked once more, with a new session");
    groups.look(LONG, 'a').await;
    assert_eq!(groups.calls().await, [0, 0], "as long as what was found is young");
    // What isn't known for another reason is no reason to write.
    let groups = Groups::new(5).await;
    groups.stand.fault(refused("InternalError", 500)).await;
    let found = groups.look(LONG, 'a').await;
    let unread = |bases: &Result<Bases, PortError>| matches!(bases, Err(error) if error.class == ErrorClass::Retry);
    assert!(found.len() == 5 && found.values().all(unread), "{found:?}");
    assert_eq!(groups.calls().await[1], 0);
}
