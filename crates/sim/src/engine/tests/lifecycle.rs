//! Lifecycle hooks and warm pools.

use serde_json::{Value, json};

use super::super::super::wire::Service;
use super::super::super::world::{Lifecycle, World};
use super::{GOOD, call, course, group, pass, refresh, shown, world_with};

fn asked(world: &mut World, operation: &str, more: Value) -> Result<Value, String> {
    let mut params = json!({ "AutoScalingGroupName": "web" });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call(world, Service::AutoScaling, operation, params).map_err(|error| error.code)
}

/// The group as the API shows it.
fn described(world: &mut World) -> Value {
    let params = json!({ "AutoScalingGroupNames": ["web"] });
    let read = call(world, Service::AutoScaling, "DescribeAutoScalingGroups", params).unwrap();
    read["AutoScalingGroups"][0].clone()
}

/// The ids of the instances in a lifecycle state, among those of a list.
fn ids(list: &Value, state: &str) -> Vec<String> {
    let all = list["Instances"].as_array().unwrap().iter();
    all.filter(|one| one["LifecycleState"] == state).map(|one| one["InstanceId"].as_str().unwrap().to_owned()).collect()
}

fn until(world: &mut World, what: impl Fn(&mut World) -> bool) {
    for _ in 0..3600 {
        if what(world) {
            return;
        }
        pass(world, 1);
    }
    panic!("it doesn't come to that: {:?}", world.log);
}

#[test]
fn an_instance_waits_for_its_launching_hook_before_it_comes_into_service() {
    let mut world = world_with(2, r#"hooks = { launching = { name = "boot" } }"#, "{}");
    let hooks = asked(&mut world, "DescribeLifecycleHooks", json!({})).unwrap();
    let hook = &hooks["LifecycleHooks"][0];
    assert_eq!((hook["HeartbeatTimeout"].as_i64(), hook["DefaultResult"].as_str()), (Some(3600), Some("ABANDON")));
    refresh(&mut world, "2", json!({})).unwrap();
    for _ in 0..2 {
        until(&mut world, |world| !ids(&described(world), "Pending:Wait").is_empty());
        pass(&mut world, 300);
        let waiting = ids(&described(&mut world), "Pending:Wait");
        assert_eq!((waiting.len(), shown(&mut world)["Status"].as_str()), (1, Some("InProgress")), "it waits");
        let done = json!({
            "LifecycleHookName": "boot", "InstanceId": waiting[0], "LifecycleActionResult": "CONTINUE",
        });
        asked(&mut world, "CompleteLifecycleAction", done.clone()).unwrap();
        pass(&mut world, 1);
        assert!(ids(&described(&mut world), "InService").contains(&waiting[0]));
        assert_eq!(asked(&mut world, "CompleteLifecycleAction", done), Err("ValidationError".to_owned()), "only once");
    }
    assert_eq!(course(&mut world, 300), ["InProgress", "Successful"]);
}

#[test]
fn a_launching_hook_that_nobody_answers_abandons_unless_it_is_to_continue() {
    for (proceeds, ends) in [(true, "Successful"), (false, "Failed")] {
        let hook = format!(r#"hooks = {{ launching = {{ name = "boot", timeout = 60, proceeds = {proceeds} }} }}"#);
        let mut world = world_with(1, &hook, "{}");
        refresh(&mut world, "2", json!({})).unwrap();
        assert_eq!(course(&mut world, 1200).last().unwrap(), ends, "proceeds: {proceeds}");
        assert_eq!(world.log.iter().any(|event| event.event.contains("abandoned")), !proceeds);
    }
    // A heartbeat starts the time again.
    let mut world = world_with(1, r#"hooks = { launching = { name = "boot", timeout = 60 } }"#, "{}");
    refresh(&mut world, "2", json!({})).unwrap();
    until(&mut world, |world| !ids(&described(world), "Pending:Wait").is_empty());
    let id = ids(&described(&mut world), "Pending:Wait").remove(0);
    for _ in 0..5 {
        pass(&mut world, 50);
        let beat = json!({ "LifecycleHookName": "boot", "InstanceId": id });
        asked(&mut world, "RecordLifecycleActionHeartbeat", beat).unwrap();
    }
    assert_eq!(ids(&described(&mut world), "Pending:Wait"), [id]);
}

#[test]
fn an_instance_waits_for_its_terminating_hook_before_it_goes() {
    for answered in [false, true] {
        let mut world = world_with(1, r#"hooks = { terminating = { name = "drain", timeout = 200 } }"#, "{}");
        refresh(&mut world, "2", json!({})).unwrap();
        until(&mut world, |world| !ids(&described(world), "Terminating:Wait").is_empty());
        let id = ids(&described(&mut world), "Terminating:Wait").remove(0);
        pass(&mut world, 100);
        assert_eq!(ids(&described(&mut world), "Terminating:Wait"), [id.as_str()]);
        assert_eq!(shown(&mut world)["Status"], "InProgress", "the refresh waits for it");
        if answered {
            // It goes whatever is answered.
            let done = json!({
                "LifecycleHookName": "drain", "InstanceId": id, "LifecycleActionResult": "ABANDON",
            });
            asked(&mut world, "CompleteLifecycleAction", done).unwrap();
            pass(&mut world, 2);
            assert_eq!(ids(&described(&mut world), "Terminating"), [id.as_str()]);
        }
        assert_eq!(course(&mut world, 300), ["InProgress", "Successful"]);
        assert!(group(&world).instances.iter().all(|one| one.image == GOOD && one.lifecycle == Lifecycle::InService));
    }
}

#[test]
fn a_warm_pool_stands_beside_its_group_until_that_scales_out() {
    for (pool, size, state) in [
        ("{}", 3, "Warmed:Stopped"),
        ("{ min = 5, state = \"Running\" }", 5, "Warmed:Running"),
        ("{ prepared = 4, state = \"Hibernated\" }", 1, "Warmed:Hibernated"),
    ] {
        let mut world = world_with(3, &format!("warm_pool = {pool}"), "{}");
        let shown = described(&mut world);
        assert_eq!((shown["Instances"].as_array().unwrap().len(), shown["WarmPoolSize"].as_u64()), (3, Some(size)));
        let warm = asked(&mut world, "DescribeWarmPool", json!({})).unwrap();
        assert_eq!(ids(&warm, state).len() as u64, size, "{warm}");
        let capacity = json!({ "DesiredCapacity": "4" });
        asked(&mut world, "SetDesiredCapacity", capacity).unwrap();
        pass(&mut world, 10);
        let now = ids(&described(&mut world), "InService");
        assert!(now.iter().any(|id| ids(&warm, state).contains(id)), "it starts sooner than one boots: {now:?}");
        pass(&mut world, 100);
        let warm = asked(&mut world, "DescribeWarmPool", json!({})).unwrap();
        let expected = if pool.contains("min") { 5 } else { size - 1 };
        assert_eq!(ids(&warm, state).len() as u64, expected, "{warm}");
    }
    // What enters the pool waits for the hook for new instances, too, and once more when it leaves it.
    let group = "warm_pool = {}\nhooks = { launching = { name = \"boot\", timeout = 60, proceeds = true } }";
    let mut world = world_with(2, group, "{}");
    asked(&mut world, "SetDesiredCapacity", json!({ "DesiredCapacity": "4" })).unwrap();
    until(&mut world, |world| ids(&described(world), "Pending:Wait").len() == 2);
    asked(&mut world, "SetDesiredCapacity", json!({ "DesiredCapacity": "2" })).unwrap();
    until(&mut world, |world| {
        let warm = asked(world, "DescribeWarmPool", json!({})).unwrap();
        !ids(&warm, "Warmed:Pending:Wait").is_empty()
    });
}

#[test]
fn a_refresh_replaces_the_warm_pool_once_the_group_is_replaced() {
    let mut world = world_with(2, "warm_pool = {}", "{}");
    refresh(&mut world, "2", json!({})).unwrap();
    until(&mut world, |world| shown(world)["PercentageComplete"] == 100);
    let details = shown(&mut world)["ProgressDetails"]["WarmPoolProgress"].clone();
    assert_eq!(details, json!({ "PercentageComplete": 0, "InstancesToUpdate": 2 }));
    assert_eq!(course(&mut world, 600), ["InProgress", "Successful"]);
    let pool = group(&world).warm_pool.as_ref().unwrap();
    assert!(pool.instances.len() == 2 && pool.instances.iter().all(|one| one.image == GOOD), "{pool:?}");
    // On the way back, too.
    refresh(&mut world, "1", json!({ "AutoRollback": "true" })).unwrap();
    until(&mut world, |world| shown(world)["PercentageComplete"] == 100);
    asked(&mut world, "RollbackInstanceRefresh", json!({})).unwrap();
    assert_eq!(course(&mut world, 600), ["RollbackInProgress", "RollbackSuccessful"]);
    let pool = group(&world).warm_pool.as_ref().unwrap();
    assert!(pool.instances.len() == 2 && pool.instances.iter().all(|one| one.image == GOOD), "{pool:?}");
}
