//! Instance refreshes.

use serde_json::json;

use super::super::super::wire::Service;
use super::super::super::world::{AlarmState, Lifecycle, RefreshStatus, World};
use super::{ACCOUNT, BAD, GOOD, REGION, call, course, group, pass, refresh, shown, world, world_with};

fn in_service(world: &super::World) -> usize {
    group(world).instances.iter().filter(|one| one.lifecycle == Lifecycle::InService && one.healthy).count()
}

#[test]
fn bounds_hold_all_the_way() {
    // desired, minimum %, maximum %, least in service, most alive
    for (desired, least, most, floor, ceiling) in [
        (4, 90, 100, 3, 4),
        (4, 50, 100, 2, 4),
        (4, 100, 100, 4, 5),
        (4, 100, 150, 4, 6),
        (10, 90, 120, 9, 12),
        (1, 90, 100, 0, 1),
        (2, 0, 100, 0, 2),
    ] {
        let mut world = world(desired);
        let preferences = if most > 100 {
            json!({ "MinHealthyPercentage": least.to_string(), "MaxHealthyPercentage": most.to_string() })
        } else {
            json!({ "MinHealthyPercentage": least.to_string() })
        };
        refresh(&mut world, "2", preferences).unwrap();
        let (mut fewest, mut greatest) = (usize::MAX, 0);
        for _ in 0..2000 {
            pass(&mut world, 1);
            fewest = fewest.min(in_service(&world));
            greatest = greatest.max(group(&world).instances.iter().filter(|one| one.is_live()).count());
        }
        let case = format!("{desired} at {least}-{most} %");
        assert_eq!(shown(&mut world)["Status"], "Successful", "{case}");
        assert_eq!((fewest, greatest), (floor, ceiling), "{case}");
        assert!(group(&world).instances.iter().all(|one| one.image == GOOD), "{case}");
        assert_eq!(in_service(&world), usize::try_from(desired).unwrap(), "{case}");
    }
}

#[test]
fn statuses_take_their_course() {
    let rollback = json!({ "AutoRollback": "true" });
    for (version, preferences, expected, own) in [
        ("2", json!({}), vec!["Pending", "InProgress", "Successful"], "2"),
        ("2", json!({ "BakeTime": "60" }), vec!["Pending", "InProgress", "Baking", "Successful"], "2"),
        ("3", json!({}), vec!["Pending", "InProgress", "Failed"], "1"),
        ("3", rollback.clone(), vec!["Pending", "InProgress", "RollbackInProgress", "RollbackSuccessful"], "1"),
        // An image that isn't there can't be launched at all.
        ("4", rollback, vec!["Pending", "InProgress", "RollbackInProgress", "RollbackSuccessful"], "1"),
        // Nothing to replace.
        ("1", json!({ "SkipMatching": "true" }), vec!["Pending", "Successful"], "1"),
    ] {
        let mut world = world(3);
        refresh(&mut world, version, preferences.clone()).unwrap();
        assert_eq!(course(&mut world, 2500), expected, "{version} {preferences}");
        assert_eq!(group(&world).source.template().unwrap().version, own, "{version} {preferences}");
        assert_eq!(in_service(&world), 3, "{version} {preferences}");
    }
}

#[test]
fn a_checkpoint_pauses() {
    let mut world = world(4);
    let preferences = json!({ "CheckpointPercentages": ["50", "100"], "CheckpointDelay": "600" });
    refresh(&mut world, "2", preferences).unwrap();
    pass(&mut world, 500);
    let paused = shown(&mut world);
    assert_eq!((&paused["PercentageComplete"], &paused["Status"]), (&json!(50), &json!("InProgress")));
    let new = |world: &super::World| group(world).instances.iter().filter(|one| one.image == GOOD).count();
    assert_eq!(new(&world), 2);
    pass(&mut world, 900);
    assert_eq!((shown(&mut world)["Status"].clone(), new(&world)), (json!("Successful"), 4));
}

#[test]
fn the_percentage_falls_on_the_way_back() {
    let mut world = world(4);
    refresh(&mut world, "2", json!({})).unwrap();
    while shown(&mut world)["PercentageComplete"].as_i64().unwrap() < 50 {
        pass(&mut world, 1);
    }
    let params = json!({ "AutoScalingGroupName": "web" });
    call(&mut world, Service::AutoScaling, "RollbackInstanceRefresh", params).unwrap();
    let mut percentages = vec![50];
    while shown(&mut world)["Status"] == "RollbackInProgress" {
        pass(&mut world, 1);
        percentages.push(shown(&mut world)["PercentageComplete"].as_i64().unwrap());
    }
    percentages.reverse();
    assert!(percentages.is_sorted() && percentages[0] == 0, "{percentages:?}");
    let read = shown(&mut world);
    assert_eq!(read["Status"], "RollbackSuccessful");
    assert_eq!(read["RollbackDetails"]["PercentageCompleteOnRollback"], 50);
    assert!(group(&world).instances.iter().all(|one| one.image != GOOD));
}

#[test]
fn an_alarm_rolls_back_even_while_baking() {
    let mut world = world(2);
    let preferences = json!({ "AutoRollback": "true", "BakeTime": "600", "AlarmSpecification": { "Alarms": ["5xx"] } });
    refresh(&mut world, "2", preferences).unwrap();
    while shown(&mut world)["Status"] != "Baking" {
        pass(&mut world, 1);
    }
    world.region_mut(ACCOUNT, REGION).alarms.insert("5xx".to_owned(), AlarmState::Alarm);
    assert_eq!(course(&mut world, 900), ["Baking", "RollbackInProgress", "RollbackSuccessful"]);
    assert_eq!(group(&world).source.template().unwrap().version, "1");
}

#[test]
fn none_begins_while_an_alarm_is_not_ok() {
    let mut world = world(2);
    let alarmed = || json!({ "AutoRollback": "true", "AlarmSpecification": { "Alarms": ["5xx"] } });
    for state in [AlarmState::Alarm, AlarmState::InsufficientData] {
        world.region_mut(ACCOUNT, REGION).alarms.insert("5xx".to_owned(), state);
        let refused = refresh(&mut world, "2", alarmed()).unwrap_err();
        assert!(refused.message.contains(state.name()), "{}", refused.message);
        let asked = json!({ "AlarmNames": ["5xx", "latency"] });
        let told = call(&mut world, Service::CloudWatch, "DescribeAlarms", asked).unwrap();
        assert_eq!(told["MetricAlarms"][0]["StateValue"], state.name());
        assert_eq!(told["MetricAlarms"][1]["StateValue"], "OK");
    }
    world.region_mut(ACCOUNT, REGION).alarms.clear();
    refresh(&mut world, "2", alarmed()).unwrap();
    // One that loses its data later stops nothing here.
    world.region_mut(ACCOUNT, REGION).alarms.insert("5xx".to_owned(), AlarmState::InsufficientData);
    pass(&mut world, 1500);
    assert_eq!(shown(&mut world)["Status"], "Successful");
}

#[test]
fn refreshes_are_forgotten_after_six_weeks() {
    let mut world = world(2);
    refresh(&mut world, "2", json!({})).unwrap();
    pass(&mut world, 1500);
    let listed = |world: &mut World| {
        let asked = json!({ "AutoScalingGroupName": "web" });
        let told = call(world, Service::AutoScaling, "DescribeInstanceRefreshes", asked).unwrap();
        told["InstanceRefreshes"].as_array().unwrap().len()
    };
    assert_eq!(listed(&mut world), 1);
    world.wall += 41 * 86_400_000;
    assert_eq!(listed(&mut world), 1);
    world.wall += 2 * 86_400_000;
    assert_eq!(listed(&mut world), 0);
    // What the control API jumps over counts as well.
    let mut world = self::world(2);
    refresh(&mut world, "2", json!({})).unwrap();
    pass(&mut world, 1500);
    world.skipped += 41 * 86_400_000;
    assert_eq!(listed(&mut world), 1);
    world.skipped += 2 * 86_400_000;
    assert_eq!(listed(&mut world), 0);
}

#[test]
fn protected_instances_wait_or_are_ignored() {
    for (choice, expected, new) in [("Wait", "Failed", 2), ("Ignore", "Successful", 2), ("Refresh", "Successful", 3)] {
        let mut world = world_with(3, "protected = 1", "{}");
        refresh(&mut world, "2", json!({ "ScaleInProtectedInstances": choice })).unwrap();
        pass(&mut world, 2000);
        assert_eq!(shown(&mut world)["Status"], expected, "{choice}");
        assert_eq!(group(&world).instances.iter().filter(|one| one.image == GOOD).count(), new, "{choice}");
    }
}

#[test]
fn scaling_goes_on_during_a_refresh() {
    for (desired, alive) in [(5, 5), (2, 2), (0, 0)] {
        let mut world = world(3);
        refresh(&mut world, "2", json!({})).unwrap();
        pass(&mut world, 30);
        let params = json!({ "AutoScalingGroupName": "web", "DesiredCapacity": desired.to_string() });
        call(&mut world, Service::AutoScaling, "SetDesiredCapacity", params).unwrap();
        pass(&mut world, 1500);
        assert_eq!(shown(&mut world)["Status"], "Successful", "{desired}");
        assert!(group(&world).instances.iter().all(|one| one.image == GOOD), "{desired}");
        assert_eq!(group(&world).instances.len(), alive, "{desired}");
    }
}

#[test]
fn a_mixed_policy_keeps_its_other_members() {
    let mixed =
        r#"mixed = { overrides = [{ InstanceType = "m7i.large" }], distribution = { OnDemandBaseCapacity = 1 } }"#;
    let mut world = world_with(2, mixed, "{}");
    let template = json!({ "LaunchTemplateName": "web", "Version": "2" });
    let params = json!({
        "AutoScalingGroupName": "web",
        "DesiredConfiguration": { "MixedInstancesPolicy": {
            "LaunchTemplate": { "LaunchTemplateSpecification": template },
        } },
    });
    call(&mut world, Service::AutoScaling, "StartInstanceRefresh", params).unwrap();
    pass(&mut world, 600);
    let read = call(&mut world, Service::AutoScaling, "DescribeAutoScalingGroups", json!({})).unwrap();
    let policy = &read["AutoScalingGroups"][0]["MixedInstancesPolicy"];
    assert_eq!(policy["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"], "2");
    assert_eq!(policy["LaunchTemplate"]["Overrides"][0]["InstanceType"], "m7i.large");
    assert_eq!(policy["InstancesDistribution"]["OnDemandBaseCapacity"], 1);
    assert_eq!(read["AutoScalingGroups"][0]["Instances"][0]["InstanceType"], "m7i.large");
}

#[test]
fn what_aws_refuses_is_refused() {
    let latest = || world_with(2, "version = \"$Latest\"", "{}");
    for (case, mut world, preferences, code) in [
        ("max without min", world(2), json!({ "MaxHealthyPercentage": "110" }), "ValidationError"),
        (
            "more than 100 apart",
            world(2),
            json!({ "MinHealthyPercentage": "50", "MaxHealthyPercentage": "200" }),
            "ValidationError",
        ),
        ("checkpoints fall", world(2), json!({ "CheckpointPercentages": ["50", "20"] }), "ValidationError"),
        ("auto-rollback on $Latest", latest(), json!({ "AutoRollback": "true" }), "ValidationError"),
    ] {
        let error = refresh(&mut world, "2", preferences).unwrap_err();
        assert_eq!(error.code, code, "{case}");
    }
    let mut world = world(2);
    assert_eq!(refresh(&mut world, "77", json!({})).unwrap_err().code, "ValidationError");

    // On $Latest a refresh starts without auto-rollback, and then there is no way back.
    let mut world = latest();
    refresh(&mut world, "2", json!({})).unwrap();
    assert_eq!(refresh(&mut world, "2", json!({})).unwrap_err().code, "InstanceRefreshInProgress");
    let params = json!({ "AutoScalingGroupName": "web" });
    let error = call(&mut world, Service::AutoScaling, "RollbackInstanceRefresh", params).unwrap_err();
    assert_eq!(error.code, "IrreversibleInstanceRefresh");
}

#[test]
fn an_unhealthy_fleet_is_replaced_without_a_refresh() {
    let mut world = world(3);
    let before: Vec<String> = group(&world).instances.iter().map(|one| one.id.clone()).collect();
    world.region_mut(ACCOUNT, REGION).groups.get_mut("web").unwrap().instances[0].healthy = false;
    pass(&mut world, 120);
    assert_eq!(in_service(&world), 3);
    assert!(!group(&world).instances.iter().any(|one| one.id == before[0]));
    assert!(group(&world).refreshes.is_empty() && RefreshStatus::Baking.is_active());
}

/// A policy whose second override has a template of its own, both on one version.
fn policy(version: &str) -> serde_json::Value {
    json!({ "LaunchTemplate": {
        "LaunchTemplateSpecification": { "LaunchTemplateName": "web", "Version": version },
        "Overrides": [
            { "InstanceType": "t3.small" },
            { "InstanceType": "t3.large", "LaunchTemplateSpecification": { "LaunchTemplateName": "big", "Version": version } },
        ],
    } })
}

#[test]
fn a_policy_is_replaced_and_rolled_back_as_a_whole() {
    let mut world = world(4);
    let templates = &mut world.region_mut(ACCOUNT, REGION).templates;
    let mut big = templates.values().next().unwrap().clone();
    (big.id, big.name) = ("lt-0b16".to_owned(), "big".to_owned());
    templates.insert(big.id.clone(), big);
    let params = json!({ "AutoScalingGroupName": "web", "MixedInstancesPolicy": policy("1") });
    call(&mut world, Service::AutoScaling, "UpdateAutoScalingGroup", params).unwrap();
    let start = |world: &mut super::World, version: &str| {
        let params = json!({
            "AutoScalingGroupName": "web",
            "DesiredConfiguration": { "MixedInstancesPolicy": policy(version) },
            "Preferences": { "AutoRollback": "true", "SkipMatching": "true" },
        });
        call(world, Service::AutoScaling, "StartInstanceRefresh", params).unwrap();
        course(world, 2500)
    };
    let runs = |world: &super::World| {
        let mut all: Vec<String> = group(world)
            .instances
            .iter()
            .map(|one| format!("{}:{}", one.template.as_ref().unwrap().name, one.template.as_ref().unwrap().version))
            .collect();
        all.sort();
        all.dedup();
        all
    };
    assert_eq!(start(&mut world, "2"), ["Pending", "InProgress", "Successful"]);
    assert_eq!(runs(&world), ["big:2", "web:2"]);
    assert_eq!(start(&mut world, "3"), ["Pending", "InProgress", "RollbackInProgress", "RollbackSuccessful"]);
    assert_eq!(runs(&world), ["big:2", "web:2"]);
    let shown = call(&mut world, Service::AutoScaling, "DescribeAutoScalingGroups", json!({})).unwrap();
    let policy = &shown["AutoScalingGroups"][0]["MixedInstancesPolicy"]["LaunchTemplate"];
    assert_eq!(policy["LaunchTemplateSpecification"]["Version"], "2");
    assert_eq!(policy["Overrides"][1]["LaunchTemplateSpecification"]["Version"], "2");
    assert_eq!(policy["Overrides"][1]["LaunchTemplateSpecification"]["LaunchTemplateId"], "lt-0b16");
}

#[test]
fn shapes_that_cannot_go_back_are_refused() {
    let asking = r#"mixed = { overrides = [{ InstanceRequirements = { VCpuCount = { Min = 2 } } }] }"#;
    for preferences in [json!({}), json!({ "SkipMatching": "true" })] {
        let error = refresh(&mut world_with(2, asking, "{}"), "2", preferences).unwrap_err();
        assert_eq!(error.code, "ValidationError");
    }
    // Without a desired configuration it is served.
    let mut world = world_with(2, asking, "{}");
    let params = json!({ "AutoScalingGroupName": "web" });
    call(&mut world, Service::AutoScaling, "StartInstanceRefresh", params).unwrap();

    let mut world = super::world(2);
    let template = world.region_mut(ACCOUNT, REGION).templates.values_mut().next().unwrap();
    template.versions.get_mut(&1).unwrap().data.insert("ImageId".to_owned(), json!("resolve:ssm:/ami"));
    assert_eq!(refresh(&mut world, "2", json!({ "AutoRollback": "true" })).unwrap_err().code, "ValidationError");
    refresh(&mut world, "2", json!({})).unwrap();
}

#[test]
fn a_suspended_process_does_nothing() {
    let set = |world: &mut super::World, operation: &str, process: &str| {
        let params = json!({ "AutoScalingGroupName": "web", "ScalingProcesses": [process] });
        call(world, Service::AutoScaling, operation, params).unwrap();
    };
    for process in ["Launch", "Terminate", "InstanceRefresh"] {
        let mut world = world(3);
        set(&mut world, "SuspendProcesses", process);
        refresh(&mut world, "2", json!({})).unwrap();
        pass(&mut world, 300);
        assert!(!group(&world).instances.iter().any(|one| one.image == GOOD), "{process}");
        set(&mut world, "ResumeProcesses", process);
        assert_eq!(course(&mut world, 900), ["InProgress", "Successful"], "{process}");
    }
    let mut world = world(3);
    set(&mut world, "SuspendProcesses", "HealthCheck");
    refresh(&mut world, "3", json!({})).unwrap();
    assert_eq!(course(&mut world, 900), ["Pending", "InProgress", "Successful"], "nobody sees that they are unhealthy");
    let params = json!({ "AutoScalingGroupName": "web", "ScalingProcesses": ["Sleep"] });
    let error = call(&mut world, Service::AutoScaling, "SuspendProcesses", params).unwrap_err();
    assert_eq!(error.code, "ValidationError");
}

#[test]
fn an_image_needs_its_architecture() {
    let mut world = world(2);
    world.region_mut(ACCOUNT, REGION).images.get_mut(GOOD).unwrap().architecture = "arm64".to_owned();
    refresh(&mut world, "2", json!({ "AutoRollback": "true" })).unwrap();
    assert_eq!(course(&mut world, 1200), ["Pending", "InProgress", "RollbackInProgress", "RollbackSuccessful"]);
    assert!(world.log.iter().any(|event| event.event.contains("does not match the architecture 'arm64'")));
}

#[test]
fn standby_is_entered_and_left() {
    let mut world = world(3);
    let id = group(&world).instances[0].id.clone();
    let params = |more: serde_json::Value| {
        let mut params = json!({ "AutoScalingGroupName": "web", "InstanceIds": [id] });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let decrement = json!({ "ShouldDecrementDesiredCapacity": "true" });
    call(&mut world, Service::AutoScaling, "EnterStandby", params(decrement)).unwrap();
    assert_eq!((group(&world).desired, in_service(&world)), (2, 2));
    refresh(&mut world, "2", json!({})).unwrap();
    pass(&mut world, 300);
    assert_eq!(shown(&mut world)["Status"], "InProgress", "it waits for the one in standby");
    call(&mut world, Service::AutoScaling, "ExitStandby", params(json!({}))).unwrap();
    assert_eq!(group(&world).desired, 3);
    assert_eq!(course(&mut world, 600), ["InProgress", "Successful"]);
    assert!(group(&world).instances.iter().all(|one| one.image == GOOD));
    let error = call(&mut world, Service::AutoScaling, "ExitStandby", params(json!({}))).unwrap_err();
    assert_eq!(error.code, "ValidationError");
}

#[test]
fn root_volumes_are_replaced_only_where_aws_does() {
    let start = |world: &mut super::World, policy: Option<serde_json::Value>| {
        let desired =
            policy.map_or(json!({ "LaunchTemplate": { "LaunchTemplateName": "web", "Version": "2" } }), |all| {
                let specification = json!({ "LaunchTemplateName": "web", "Version": "2" });
                json!({ "MixedInstancesPolicy": {
                "LaunchTemplate": { "LaunchTemplateSpecification": specification, "Overrides": all }
            } })
            });
        let params = json!({
            "AutoScalingGroupName": "web", "Strategy": "ReplaceRootVolume", "DesiredConfiguration": desired,
        });
        call(world, Service::AutoScaling, "StartInstanceRefresh", params).map_err(|error| error.code)
    };
    let named = json!([{ "InstanceType": "t3.small", "ImageId": GOOD }]);
    let half = json!([{ "InstanceType": "t3.small", "ImageId": GOOD }, { "InstanceType": "t3.large" }]);
    let refused = Err("ValidationError".to_owned());
    for (name, group, policy) in [
        ("no policy", "", None),
        ("an override without an image", "", Some(half)),
        ("no overrides", "", Some(json!([]))),
        ("behind a load balancer", "target_groups = [\"arn:tg\"]", Some(named.clone())),
    ] {
        assert_eq!(start(&mut world_with(2, group, "{}"), policy).map(drop), refused, "{name}");
    }
    let mut world = world(2);
    start(&mut world, Some(named.clone())).unwrap();
    let images = |world: &mut super::World| {
        let answer = call(world, Service::AutoScaling, "DescribeAutoScalingGroups", json!({})).unwrap();
        let instances = answer["AutoScalingGroups"][0]["Instances"].as_array().unwrap().clone();
        instances.iter().map(|one| one.get("ImageId").cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(images(&mut world), [json!(null), json!(null)], "the template's image isn't said");
    pass(&mut world, 1500);
    assert_eq!(images(&mut world), [json!(GOOD), json!(GOOD)]);
    assert!(group(&world).instances.iter().all(|one| one.image == GOOD));
    // What has the image already is skipped; what has another one isn't.
    for (image, replaced) in [(GOOD, 0), (BAD, 2)] {
        let overrides = json!([{ "InstanceType": "t3.small", "ImageId": image }]);
        let specification = json!({ "LaunchTemplateName": "web", "Version": "2" });
        let launch = json!({ "LaunchTemplateSpecification": specification, "Overrides": overrides });
        let params = json!({
            "AutoScalingGroupName": "web", "Preferences": { "SkipMatching": true },
            "DesiredConfiguration": { "MixedInstancesPolicy": { "LaunchTemplate": launch } },
        });
        call(&mut world, Service::AutoScaling, "StartInstanceRefresh", params).unwrap();
        pass(&mut world, 10);
        assert_eq!(group(&world).refreshes.last().unwrap().total, replaced, "{image}");
    }
}

#[test]
fn what_was_attached_by_hand_has_no_template_and_is_replaced() {
    let mut world = world_with(3, "attached = 1", "{}");
    let read = |world: &mut super::World| {
        let answer = call(world, Service::AutoScaling, "DescribeAutoScalingGroups", json!({})).unwrap();
        let instances = answer["AutoScalingGroups"][0]["Instances"].as_array().unwrap().clone();
        instances.iter().filter(|one| one["LaunchTemplate"].is_null()).count()
    };
    assert_eq!(read(&mut world), 1);
    refresh(&mut world, "1", json!({ "SkipMatching": "true" })).unwrap();
    assert_eq!(shown(&mut world)["Status"], "Pending");
    pass(&mut world, 10);
    assert_eq!(shown(&mut world)["InstancesToUpdate"], 1, "it matches no template");
    pass(&mut world, 900);
    assert_eq!((shown(&mut world)["Status"].clone(), read(&mut world)), (json!("Successful"), 0));
}

#[test]
fn a_new_version_is_what_groups_on_latest_launch_next() {
    let mut world = world(2);
    let create = |world: &mut super::World, image: &str| {
        let data = json!({ "ImageId": image });
        let params = json!({ "LaunchTemplateName": "web", "SourceVersion": "1", "LaunchTemplateData": data });
        call(world, Service::Ec2, "CreateLaunchTemplateVersion", params).unwrap();
    };
    create(&mut world, "ami-00000001");
    let latest = json!({ "LaunchTemplateName": "web", "Version": "$Latest" });
    let params = json!({ "AutoScalingGroupName": "web", "LaunchTemplate": latest });
    call(&mut world, Service::AutoScaling, "UpdateAutoScalingGroup", params).unwrap();
    create(&mut world, GOOD);
    let params = json!({ "AutoScalingGroupName": "web", "DesiredCapacity": "3" });
    call(&mut world, Service::AutoScaling, "SetDesiredCapacity", params).unwrap();
    pass(&mut world, 60);
    assert_eq!(group(&world).instances.iter().filter(|one| one.image == GOOD).count(), 1);
}

#[test]
fn snapshots_are_inherited_only_if_they_are_sent_again() {
    let mut world = world(1);
    let mapping = |snapshot: bool| {
        let mut ebs = json!({ "VolumeSize": "30" });
        if snapshot {
            ebs["SnapshotId"] = "snap-1".into();
        }
        json!([{ "DeviceName": "/dev/sdf", "Ebs": ebs }])
    };
    let mut create = |source: &str, data: serde_json::Value| {
        let params = json!({ "LaunchTemplateName": "web", "SourceVersion": source, "LaunchTemplateData": data });
        let answer = call(&mut world, Service::Ec2, "CreateLaunchTemplateVersion", params).unwrap();
        let version = &answer["launchTemplateVersion"];
        let device = &version["launchTemplateData"]["blockDeviceMappingSet"][0]["ebs"];
        (version["versionNumber"].to_string(), device["volumeSize"].clone(), device["snapshotId"].clone())
    };
    let (first, ..) = create("1", json!({ "BlockDeviceMapping": mapping(true) }));
    let (_, size, snapshot) = create(&first, json!({ "ImageId": GOOD }));
    assert_eq!((size, snapshot), (json!("30"), json!(null)), "all but the snapshot");
    let (.., snapshot) = create(&first, json!({ "ImageId": GOOD, "BlockDeviceMapping": mapping(true) }));
    assert_eq!(snapshot, "snap-1");
}
