//! The control API under `/_sim/`: to look at the world from outside AWS's protocols, and to meddle with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::FASTEST;
use super::engine::asg;
use super::faults::Fault;
use super::file::{ContainerImageFile, ImageFile};
use super::http::{Inner, Simulator};
use super::world::{AlarmState, Group, Parameter, Service, World};

/// The routes.
pub(crate) fn router() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/_sim/state", get(state))
        .route("/_sim/fleet", get(fleet))
        .route("/_sim/journal", get(journal))
        .route("/_sim/log", get(log))
        .route("/_sim/advance", post(advance))
        .route("/_sim/speed", post(set_speed))
        .route("/_sim/images", post(add_image))
        .route("/_sim/ecr", post(push_image))
        .route("/_sim/parameters", post(put_parameter))
        .route("/_sim/terminate-instance", post(terminate_instance))
        .route("/_sim/alarms", post(set_alarm))
        .route("/_sim/hooks", post(set_hook))
        .route("/_sim/faults", get(list_faults).post(add_fault).delete(remove_faults))
        .route("/_sim/held", get(held))
        .route("/_sim/release", post(release))
}

type Shared = State<Arc<Simulator>>;

fn unknown(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": format!("there is no {what}") }))).into_response()
}

fn place(world: &World, region: Option<String>) -> String {
    region.unwrap_or_else(|| world.default_region.clone())
}

async fn state(State(stand): Shared) -> Response {
    Json(&stand.lock().world).into_response()
}

async fn log(State(stand): Shared) -> Response {
    Json(json!({ "events": stand.lock().world.log })).into_response()
}

async fn fleet(State(stand): Shared) -> Response {
    Json(view(&stand.lock().world)).into_response()
}

/// What runs where, in short.
pub(crate) fn view(world: &World) -> Value {
    let accounts: BTreeMap<&String, Value> = world
        .accounts
        .iter()
        .map(|(id, account)| {
            let regions: BTreeMap<&String, Value> = account
                .regions
                .iter()
                .map(|(name, region)| {
                    let groups: BTreeMap<&String, Value> =
                        region.groups.iter().map(|(name, group)| (name, view_group(group))).collect();
                    let services: BTreeMap<String, Value> = region
                        .clusters
                        .values()
                        .flat_map(|cluster| cluster.services.values())
                        .map(|service| (format!("{}/{}", service.cluster, service.name), view_service(service)))
                        .collect();
                    (name, json!({ "groups": groups, "services": services }))
                })
                .collect();
            (id, json!({ "name": account.name, "regions": regions }))
        })
        .collect();
    json!({ "engine_seconds": world.now / 1000, "accounts": accounts })
}

fn view_group(group: &Group) -> Value {
    let instances: Vec<Value> = group
        .instances
        .iter()
        .map(|instance| {
            json!({
                "id": instance.id,
                "ami": instance.image,
                "template_version": instance.template.as_ref().map(|template| &template.version),
                "lifecycle": instance.lifecycle.name(),
                "health": if instance.healthy { "Healthy" } else { "Unhealthy" },
            })
        })
        .collect();
    let refreshes: Vec<Value> = group
        .refreshes
        .iter()
        .map(|refresh| json!({ "id": refresh.id, "status": refresh.status.name(), "percentage": refresh.percentage }))
        .collect();
    json!({
        "desired": group.desired,
        "template": group.source.template(),
        "instances": instances,
        "refreshes": refreshes,
    })
}

fn view_service(service: &Service) -> Value {
    let tasks: Vec<Value> = service
        .tasks
        .iter()
        .map(|task| {
            let container = task.containers.first();
            json!({
                "arn": task.arn,
                "deployment": task.deployment,
                "task_definition": task.task_definition,
                "image": container.map(|it| &it.image),
                "digest": container.and_then(|it| it.digest.as_ref()),
                "status": task.phase.name(),
            })
        })
        .collect();
    let deployments: Vec<Value> = service
        .deployments
        .iter()
        .map(|deployment| {
            json!({
                "id": deployment.id,
                "task_definition": deployment.task_definition,
                "rollout_state": deployment.rollout.name(),
            })
        })
        .collect();
    let records: Vec<Value> = service
        .service_deployments
        .iter()
        .map(|one| {
            let stage = one.shift.filter(|_| one.is_active()).map(|shift| shift.stage.name());
            json!({ "arn": one.arn, "status": one.status, "stage": stage })
        })
        .collect();
    json!({
        "desired": service.desired,
        "task_definition": service.task_definition,
        "tasks": tasks,
        "deployments": deployments,
        "service_deployments": records,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    since: u64,
}

async fn journal(State(stand): Shared, Query(query): Query<Since>) -> Response {
    let inner = stand.lock();
    let entries: Vec<_> = inner.journal.since(query.since).collect();
    Json(json!({ "entries": entries, "last": inner.journal.last() })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: u64,
}

/// How far time may be moved at once, in seconds: a year.
const FURTHEST: u64 = 366 * 24 * 3600;

async fn advance(State(stand): Shared, Json(given): Json<Advance>) -> Response {
    if given.seconds > FURTHEST {
        let error = json!({ "error": format!("at most {FURTHEST} seconds at once: each of them is played") });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    stand.lock().jump(given.seconds.saturating_mul(1000));
    stand.save();
    let seconds = stand.lock().world.now / 1000;
    Json(json!({ "engine_seconds": seconds })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Speed {
    speed: f64,
    /// Seconds of engine time that pass with every AWS call.
    #[serde(default)]
    per_call: u64,
}

async fn set_speed(State(stand): Shared, Json(given): Json<Speed>) -> Response {
    if !(0.0..=FASTEST).contains(&given.speed) {
        let error = json!({ "error": format!("speed must be 0 to {FASTEST} seconds per second") });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    {
        let mut inner = stand.lock();
        let wall = inner.world.wall;
        inner.world.anchor(wall, given.speed);
        inner.per_call = given.per_call.min(FURTHEST).saturating_mul(1000);
        inner.dirty = true;
    }
    stand.save();
    Json(json!({})).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewImage {
    account: String,
    image: ImageFile,
}

async fn add_image(State(stand): Shared, Json(given): Json<NewImage>) -> Response {
    let id = {
        let mut inner = stand.lock();
        let region = place(&inner.world, given.image.region.clone());
        let wall = inner.world.wall;
        inner.dirty = true;
        inner.world.add_image(&given.account, &region, given.image, wall)
    };
    stand.save();
    Json(json!({ "id": id })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewContainerImage {
    account: String,
    region: Option<String>,
    repository: String,
    image: ContainerImageFile,
}

async fn push_image(State(stand): Shared, Json(given): Json<NewContainerImage>) -> Response {
    let digest = {
        let mut inner = stand.lock();
        let region = place(&inner.world, given.region);
        let wall = inner.world.wall;
        inner.dirty = true;
        inner.world.add_container_image(&given.account, &region, &given.repository, given.image, wall)
    };
    stand.save();
    Json(json!({ "digest": digest })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewParameter {
    account: String,
    region: Option<String>,
    name: String,
    value: String,
    data_type: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
}

async fn put_parameter(State(stand): Shared, Json(given): Json<NewParameter>) -> Response {
    let version = {
        let mut inner = stand.lock();
        let region = place(&inner.world, given.region);
        let wall = inner.world.wall;
        inner.dirty = true;
        let parameters = &mut inner.world.region_mut(&given.account, &region).parameters;
        let held = parameters.entry(given.name.clone()).or_insert_with(|| Parameter {
            name: given.name,
            kind: "String".to_owned(),
            data_type: "text".to_owned(),
            versions: Vec::new(),
            labels: BTreeMap::new(),
            shared_with: std::collections::BTreeSet::new(),
        });
        held.data_type = given.data_type.unwrap_or_else(|| held.data_type.clone());
        held.versions.push((given.value, wall));
        let version = held.versions.len();
        held.labels.extend(given.labels.into_iter().map(|label| (label, version)));
        version
    };
    stand.save();
    Json(json!({ "version": version })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Doomed {
    account: String,
    region: Option<String>,
    instance: String,
}

async fn terminate_instance(State(stand): Shared, Json(given): Json<Doomed>) -> Response {
    let found = {
        let mut inner = stand.lock();
        let region = place(&inner.world, given.region);
        inner.dirty = true;
        inner.world.with_region(&given.account, &region, |groups, _, scene| {
            for group in groups.values_mut() {
                let doomed = group.instances.iter_mut().find(|one| one.id == given.instance && one.is_live());
                if let Some(instance) = doomed {
                    asg::terminate(instance, scene);
                    scene.tell(&group.name, format!("{} Terminating: by hand", instance.id));
                    return true;
                }
            }
            false
        })
    };
    stand.save();
    if found { Json(json!({})).into_response() } else { unknown("such live instance") }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alarm {
    account: String,
    region: Option<String>,
    name: String,
    /// Whether it is in `ALARM`, or `OK`.
    #[serde(default)]
    raised: bool,
    /// Another state that it is in: `ALARM` or `INSUFFICIENT_DATA`.
    state: Option<AlarmState>,
}

async fn set_alarm(State(stand): Shared, Json(given): Json<Alarm>) -> Response {
    {
        let mut inner = stand.lock();
        let region = place(&inner.world, given.region);
        inner.dirty = true;
        let alarms = &mut inner.world.region_mut(&given.account, &region).alarms;
        match given.state.or(given.raised.then_some(AlarmState::Alarm)) {
            Some(state) => drop(alarms.insert(given.name, state)),
            None => drop(alarms.remove(&given.name)),
        }
    }
    stand.save();
    Json(json!({})).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hook {
    account: String,
    region: Option<String>,
    target: String,
    status: String,
}

async fn set_hook(State(stand): Shared, Json(given): Json<Hook>) -> Response {
    {
        let mut inner = stand.lock();
        let region = place(&inner.world, given.region);
        inner.dirty = true;
        inner.world.region_mut(&given.account, &region).hooks.insert(given.target, given.status);
    }
    stand.save();
    Json(json!({})).into_response()
}

async fn list_faults(State(stand): Shared) -> Response {
    Json(json!({ "faults": stand.lock().faults.all() })).into_response()
}

async fn add_fault(State(stand): Shared, Json(fault): Json<Fault>) -> Response {
    let mut inner = stand.lock();
    let wall = inner.world.wall;
    let id = inner.faults.add(fault, wall);
    let lag = inner.faults.longest_lag();
    let Inner { past, world, .. } = &mut *inner;
    past.note(world, lag);
    Json(json!({ "id": id })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    id: Option<u64>,
}

async fn remove_faults(State(stand): Shared, Query(which): Query<Which>) -> Response {
    stand.lock().faults.remove(which.id);
    Json(json!({})).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    /// How long to wait for the first held call.
    #[serde(default)]
    millis: u64,
}

async fn held(State(stand): Shared, Query(wait): Query<Wait>) -> Response {
    let held = stand.held.wait(Duration::from_millis(wait.millis)).await;
    Json(json!({ "held": held })).into_response()
}

async fn release(State(stand): Shared, Json(which): Json<Which>) -> Response {
    Json(json!({ "released": stand.held.release(which.id) })).into_response()
}
