//! The TOML of a fleet: many accounts alike.

use super::super::world::stable_hex;
use super::FleetFile;

/// The TOML of a fleet: artifacts in the controller's account, and accounts that all look alike.
pub(super) fn text(fleet: &FleetFile, controller: &str, region: &str) -> String {
    use std::fmt::Write as _;
    let ids: Vec<String> = (1..=fleet.accounts).map(|number| format!("{number:012}")).collect();
    let quoted: Vec<String> = ids.iter().map(|id| format!("{id:?}")).collect();
    let shared = quoted.join(", ");
    let mut text = format!(
        "controller = {controller:?}\nregion = {region:?}\n[[account]]\nid = {controller:?}\nname = \"tools\"\n\
         [[account.repository]]\nname = \"backend\"\nallowed = [{shared}]\nimage = [{{ tags = [\"1.0.0\"] }}, \
         {{ tags = [\"1.1.0\"] }}, {{ tags = [\"1.1.1\"], behaviour = \"exits\" }}]\n"
    );
    let image = |version: &str| {
        format!("ami-0{}", stable_hex(&["ami", controller, region, &format!("frontend-{version}")], 16))
    };
    for (version, healthy) in [("1.0.0", true), ("1.1.0", true), ("1.1.1", false)] {
        let _ = writeln!(
            text,
            "[[account.image]]\nname = \"frontend-{version}\"\nhealthy = {healthy}\nshared_with = [{shared}]\ntags = \
             {{ role = \"frontend\", version = \"{version}\" }}"
        );
    }
    for id in &ids {
        let _ = writeln!(text, "[[account]]\nid = \"{id}\"\nname = \"fleet-{id}\"\nrole = [{{ name = \"pinion\" }}]");
        for number in 0..fleet.groups {
            let _ = writeln!(
                text,
                "[[account.launch_template]]\nname = \"group-{number}\"\nversion = [{{ data = {{ ImageId = \"{}\", \
                 InstanceType = \"t3.small\" }} }}]\n[[account.group]]\nname = \"group-{number}\"\nlaunch_template \
                 = \"group-{number}\"\ndesired = {}\nwarmup = 30",
                image("1.0.0"),
                fleet.instances
            );
        }
        for number in 0..fleet.services {
            let _ = writeln!(
                text,
                "[[account.task_definition]]\n[account.task_definition.definition]\nfamily = \
                 \"service-{number}\"\nnetworkMode = \"awsvpc\"\nrequiresCompatibilities = [\"FARGATE\"]\ncpu = \
                 \"256\"\nmemory = \"512\"\ncontainerDefinitions = [{{ name = \"app\", essential = true, image = \
                 \"{controller}.dkr.ecr.{region}.amazonaws.com/backend:1.0.0\" }}]"
            );
        }
        let _ = writeln!(text, "[[account.cluster]]\nname = \"app\"");
        for number in 0..fleet.services {
            let _ = writeln!(
                text,
                "[[account.cluster.service]]\nname = \"service-{number}\"\ntask_definition = \
                 \"service-{number}\"\ndesired = {}\nconfiguration = {{ deploymentCircuitBreaker = {{ enable = true, \
                 rollback = true }} }}",
                fleet.tasks
            );
        }
    }
    text
}
