//! What is asked of AWS.

use super::*;
use pinion_core::model::TemplateVersionSpec;

#[test]
fn client_tokens_differ_with_what_is_made() {
    let device = [("LaunchTemplateData.BlockDeviceMapping.1.DeviceName".to_owned(), "/dev/sdf".to_owned())];
    let token = client_token("lt-1", 7, "ami-1", "a", &[]);
    assert_eq!(token.len(), 64);
    assert_eq!(token, client_token("lt-1", 7, "ami-1", "a", &[]));
    for other in [
        client_token("lt-2", 7, "ami-1", "a", &[]),
        client_token("lt-1", 8, "ami-1", "a", &[]),
        client_token("lt-1", 7, "ami-2", "a", &[]),
        client_token("lt-1", 7, "ami-1", "b", &[]),
        client_token("lt-1", 7, "ami-1", "a", &device),
    ] {
        assert_ne!(token, other);
    }
}

#[test]
fn preferences_say_only_what_was_planned() {
    let preferences = refresh_preferences(&RefreshPreferences { auto_rollback: true, ..Default::default() });
    let expected = Preferences::builder().skip_matching(true).auto_rollback(true).build();
    assert_eq!(preferences, expected);
}

fn said(parameters: &[(String, String)]) -> Vec<String> {
    parameters.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// Each kind of mapping, and a member that this build doesn't know.
#[test]
fn block_devices_are_sent_where_a_snapshot_would_be_lost() {
    let item = |device: &str, more: &str| {
        Element::parse(&format!("<item><deviceName>{device}</deviceName>{more}</item>")).unwrap()
    };
    let root = || item("/dev/xvda", "<ebs><snapshotId>snap-0</snapshotId><volumeSize>8</volumeSize></ebs>");
    let data =
        || item("/dev/sdf", "<ebs><snapshotId>snap-1</snapshotId><encrypted>true</encrypted><future>x</future></ebs>");
    let plain = || item("/dev/sdg", "<ebs><volumeSize>1</volumeSize></ebs>");
    let none = || item("/dev/sdh", "<noDevice/><virtualName>ephemeral0</virtualName>");
    assert_eq!(said(&mappings(vec![plain(), none()], None)), [""; 0], "AWS inherits those");
    assert_eq!(
        said(&mappings(vec![root()], Some("/dev/xvda"))),
        [""; 0],
        "the image's own snapshot goes with the image"
    );
    assert_eq!(
        said(&mappings(vec![root(), data(), plain(), none()], Some("/dev/xvda"))),
        [
            "LaunchTemplateData.BlockDeviceMapping.1.DeviceName=/dev/xvda",
            "LaunchTemplateData.BlockDeviceMapping.1.Ebs.VolumeSize=8",
            "LaunchTemplateData.BlockDeviceMapping.2.DeviceName=/dev/sdf",
            "LaunchTemplateData.BlockDeviceMapping.2.Ebs.SnapshotId=snap-1",
            "LaunchTemplateData.BlockDeviceMapping.2.Ebs.Encrypted=true",
            "LaunchTemplateData.BlockDeviceMapping.2.Ebs.Future=x",
            "LaunchTemplateData.BlockDeviceMapping.3.DeviceName=/dev/sdg",
            "LaunchTemplateData.BlockDeviceMapping.3.Ebs.VolumeSize=1",
            "LaunchTemplateData.BlockDeviceMapping.4.DeviceName=/dev/sdh",
            "LaunchTemplateData.BlockDeviceMapping.4.NoDevice=",
            "LaunchTemplateData.BlockDeviceMapping.4.VirtualName=ephemeral0",
        ]
    );
    assert_eq!(mappings(vec![root()], None).len(), 3, "which device is the image's isn't known");
}

/// A policy is sent back as it came, but for the versions.
#[test]
fn a_policy_keeps_what_this_build_does_not_know() {
    let answer = "<R><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
        <AutoScalingGroupName>web</AutoScalingGroupName><MixedInstancesPolicy><LaunchTemplate>\
        <LaunchTemplateSpecification><LaunchTemplateId>lt-1</LaunchTemplateId><LaunchTemplateName>web</LaunchTemplateName>\
        <Version>$Latest</Version></LaunchTemplateSpecification><Overrides>\
        <member><InstanceType>m7i.large</InstanceType><FutureOverride><Deep>keep</Deep></FutureOverride></member>\
        <member><LaunchTemplateSpecification><LaunchTemplateId>lt-2</LaunchTemplateId><Version>3</Version><Future>keep</Future>\
        </LaunchTemplateSpecification></member></Overrides></LaunchTemplate><FuturePolicy>keep</FuturePolicy>\
        <InstancesDistribution><OnDemandBaseCapacity>0</OnDemandBaseCapacity></InstancesDistribution></MixedInstancesPolicy>\
        </member></AutoScalingGroups></DescribeAutoScalingGroupsResult></R>";
    let policy = policy_of(&Element::parse(answer).unwrap(), &GroupName::try_from("web").unwrap()).unwrap();
    let to =
        |id: &str, from, to| VersionMove { template: TemplateRef { id: id.to_owned(), name: String::new() }, from, to };
    let moves = [to("lt-1", TemplateVersionSpec::Latest, 4), to("lt-2", TemplateVersionSpec::Number(3), 5)];
    let moved = move_versions(policy.clone(), &moves).unwrap();
    assert_eq!(
        said(&moved.parameters("P", QUERY)),
        [
            "P.LaunchTemplate.LaunchTemplateSpecification.LaunchTemplateId=lt-1",
            "P.LaunchTemplate.LaunchTemplateSpecification.Version=4",
            "P.LaunchTemplate.Overrides.member.1.InstanceType=m7i.large",
            "P.LaunchTemplate.Overrides.member.1.FutureOverride.Deep=keep",
            "P.LaunchTemplate.Overrides.member.2.LaunchTemplateSpecification.LaunchTemplateId=lt-2",
            "P.LaunchTemplate.Overrides.member.2.LaunchTemplateSpecification.Future=keep",
            "P.LaunchTemplate.Overrides.member.2.LaunchTemplateSpecification.Version=5",
            "P.FuturePolicy=keep",
            "P.InstancesDistribution.OnDemandBaseCapacity=0",
        ]
    );
    assert_eq!(move_versions(policy, &moves[..1]), None, "it names a version that wasn't planned with");
}
