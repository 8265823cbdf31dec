//! The control API, faults, the state file, and time.

use aws_sdk_autoscaling::error::ProvideErrorMetadata as _;
use pinion::sim::{Options, World};
use serde_json::json;

use super::stand::{DEV, Simulator};

#[tokio::test]
async fn the_journal_counts_every_call() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    dev.asg.describe_auto_scaling_groups().send().await.unwrap();
    dev.asg.set_desired_capacity().auto_scaling_group_name("frontend").desired_capacity(99).send().await.unwrap_err();
    let journal = stand.get("journal?since=1").await;
    let entries = journal["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{journal}");
    assert_eq!(entries[0]["operation"], "DescribeAutoScalingGroups");
    assert_eq!((&entries[0]["write"], &entries[0]["account"]), (&json!(false), &json!(DEV)));
    assert_eq!((&entries[1]["write"], &entries[1]["code"]), (&json!(true), &json!("ValidationError")));
}

#[tokio::test]
async fn faults_strike_as_often_as_asked() {
    let stand = Simulator::demo().await;
    let dev = stand.account(DEV).await;
    let fault = json!({ "account": DEV, "service": "autoscaling", "operation": "DescribeAutoScalingGroups",
        "kind": "throttle", "times": 2 });
    stand.post("faults", fault).await;
    for _ in 0..2 {
        let error = dev.asg.describe_auto_scaling_groups().send().await.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some("Throttling"));
    }
    dev.asg.describe_auto_scaling_groups().send().await.unwrap();

    // An error after the effect: the answer is lost, the change is made.
    let fault = json!({ "operation": "SetDesiredCapacity", "kind": "error", "when": "after", "times": 1 });
    stand.post("faults", fault).await;
    let request = dev.asg.set_desired_capacity().auto_scaling_group_name("frontend").desired_capacity(5);
    request.send().await.unwrap_err();
    assert_eq!(stand.group(DEV, "frontend").await["desired"], 5);
}

#[tokio::test]
async fn a_killed_simulator_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { speed: 0.0, state: Some(folder.path().join("state.json")), ..Options::default() };
    let first = Simulator::start(World::demo().unwrap(), options.clone()).await;
    let dev = first.account(DEV).await;
    dev.asg.set_desired_capacity().auto_scaling_group_name("frontend").desired_capacity(5).send().await.unwrap();
    first.advance(3).await;
    let before = first.group(DEV, "frontend").await;
    let last = first.get("journal").await["last"].as_u64().unwrap();
    // Dropped without a word, as a killed process is.
    drop(first);

    let options = Options { listen: ([127, 0, 0, 1], 0).into(), ..options };
    let second = Simulator::start(World::fleet(0, 0, 0).unwrap(), options).await;
    assert_eq!(second.group(DEV, "frontend").await, before);
    assert_eq!(second.get("journal").await["last"].as_u64().unwrap(), last);
    second.advance(60).await;
    let instances = second.group(DEV, "frontend").await["instances"].as_array().unwrap().len();
    assert_eq!(instances, 5);
}

#[tokio::test]
async fn time_passes_by_itself_as_fast_as_asked() {
    let stand = Simulator::start(World::demo().unwrap(), Options { speed: 600.0, ..Options::default() }).await;
    let dev = stand.account(DEV).await;
    dev.asg.set_desired_capacity().auto_scaling_group_name("frontend").desired_capacity(5).send().await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            let view = stand.group(DEV, "frontend").await;
            let serving = view["instances"].as_array().unwrap().iter().filter(|one| one["lifecycle"] == "InService");
            if serving.count() == 5 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn speed_can_be_changed() {
    let stand = Simulator::demo().await;
    let start = stand.get("fleet").await["engine_seconds"].as_u64().unwrap();
    stand.post("speed", json!({ "speed": 1000 })).await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    stand.post("speed", json!({ "speed": 0 })).await;
    let stopped = stand.get("fleet").await["engine_seconds"].as_u64().unwrap();
    assert!(stopped >= start + 45, "{start} {stopped}");
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(stand.get("fleet").await["engine_seconds"].as_u64().unwrap(), stopped);
}

#[tokio::test]
async fn a_fleet_is_a_line() {
    let stand = Simulator::start(World::fleet(3, 4, 5).unwrap(), Options::default()).await;
    let one = stand.account("000000000003").await;
    let groups = one.asg.describe_auto_scaling_groups().send().await.unwrap();
    assert_eq!(groups.auto_scaling_groups().len(), 4);
    assert_eq!(groups.auto_scaling_groups()[0].instances().len(), 2);
    let services = one.ecs.list_services().cluster("app").send().await.unwrap();
    assert_eq!(services.service_arns().len(), 5);
    assert_eq!(stand.service("000000000001", "app/service-4").await["tasks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn aws_calls_elsewhere_change_nothing_here() {
    // The same calls in one account, with and without calls in another between them.
    let mut logs = Vec::new();
    for meddle in [false, true] {
        let stand = Simulator::demo().await;
        let (dev, prod) = (stand.account(DEV).await, stand.account(super::stand::PROD).await);
        if meddle {
            let request = prod.asg.set_desired_capacity().auto_scaling_group_name("frontend");
            request.desired_capacity(6).send().await.unwrap();
        }
        let request = dev.asg.set_desired_capacity().auto_scaling_group_name("frontend").desired_capacity(5);
        request.send().await.unwrap();
        stand.advance(60).await;
        let log = stand.get("log").await;
        let of_dev: Vec<_> =
            log["events"].as_array().unwrap().iter().filter(|event| event["account"] == DEV).cloned().collect();
        assert!(of_dev.len() >= 4, "{log}");
        logs.push(of_dev);
    }
    assert_eq!(logs[0], logs[1]);
}
