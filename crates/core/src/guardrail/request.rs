//! From a proposal to what Cedar is asked: principal, action, resource, context and entities, as the schema has them.

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fleet::Counts;
use super::{Proposal, zone};
use crate::model::{Environment, Provenance, ShapeChange};

/// Why a request can't be made: Cedar's words.
pub(super) type Unaskable = Box<dyn std::error::Error + Send + Sync>;

type Fields = Vec<(String, RestrictedExpression)>;

/// What Cedar is asked about a proposal; the zones are those that policies name.
pub(super) fn request(
    proposal: Proposal<'_>,
    zones: &BTreeMap<String, TimeZone>,
    schema: &Schema,
) -> Result<(Request, Entities), Unaskable> {
    let Proposal { environment, target, pin, .. } = proposal;
    let commit = &pin.provenance;
    let reference = target.reference.to_string();
    let (author, resource) = (uid("Author", &commit.email)?, uid("Target", &reference)?);
    let (home, commit_uid) = (uid("Environment", environment.name.as_str())?, uid("Commit", commit.commit.as_str())?);

    let mut entities = vec![
        Entity::new(
            author.clone(),
            fields([("email", text(&commit.email)), ("name", text(&commit.author))]).into_iter().collect(),
            HashSet::new(),
        )?,
        Entity::new(
            resource.clone(),
            fields([
                ("environment", RestrictedExpression::new_entity_uid(home.clone())),
                ("kind", text(target.reference.local.kind.as_str())),
                ("name", text(&target.reference.local.name)),
                ("component", text(target.component.as_str())),
            ])
            .into_iter()
            .collect(),
            HashSet::from([home.clone()]),
        )?,
        environment_entity(home, environment)?,
        commit_entity(commit_uid.clone(), commit)?,
    ];
    for (name, zone) in zones {
        entities.push(zone_entity(name, zone, proposal.now)?);
    }
    let entities = Entities::from_entities(entities, Some(schema))?;
    let context = Context::from_pairs(context(proposal, commit_uid)?)?;
    let request = Request::new(author, uid("Action", "rollout")?, resource, context, Some(schema))?;
    Ok((request, entities))
}

fn context(proposal: Proposal<'_>, commit: EntityUid) -> Result<Fields, Unaskable> {
    let Proposal { environment, target, pin, running, heals, shape, image, fleet, now } = proposal;
    let mut version = fields([("to", text(pin.version.as_str()))]);
    if let Some(running) = running {
        version.push(("from".to_owned(), text(running)));
        if let Some(order) = pin.version.precedence(running) {
            version.push(("downgrade".to_owned(), RestrictedExpression::new_bool(order.is_lt())));
        }
    }
    let (rolling, quarantined) = (fleet.rolling(&target.reference, pin), fleet.quarantined(&target.reference, pin));
    let mut context = fields([
        ("now", datetime(now)),
        ("commit", RestrictedExpression::new_entity_uid(commit)),
        ("version", record(version)?),
        ("drift", RestrictedExpression::new_bool(heals)),
        ("rolling", record(counts(rolling))?),
        ("shape", shape_record(shape, image)?),
    ]);
    let mut quarantines = counts(quarantined);
    quarantines.push(("this_version".to_owned(), long(quarantined.this_version)));
    context.push(("quarantined".to_owned(), record(quarantines)?));
    if let Some(promotion) = &environment.promotion {
        let since = fleet.in_sync_since(&promotion.from, pin);
        let hours = since.map_or(0, |since| now.duration_since(since).as_hours().max(0));
        let promotion = fields([
            ("from", text(promotion.from.as_str())),
            ("pinned", RestrictedExpression::new_bool(fleet.may_have(&promotion.from, &target.component))),
            ("in_sync", RestrictedExpression::new_bool(since.is_some())),
            ("hours", RestrictedExpression::new_long(hours)),
        ]);
        context.push(("promotion".to_owned(), record(promotion)?));
    }
    Ok(context)
}

fn shape_record(shape: Option<&ShapeChange>, image: bool) -> Result<RestrictedExpression, Unaskable> {
    let changes = shape.into_iter().flat_map(|change| &change.changes).map(|change| text(change));
    let mut members = fields([
        ("changed", RestrictedExpression::new_bool(shape.is_some())),
        ("image", RestrictedExpression::new_bool(image)),
        ("changes", RestrictedExpression::new_set(changes)),
    ]);
    if let Some(by) = shape.and_then(|change| change.by.as_deref()) {
        members.push(("by".to_owned(), text(by)));
    }
    record(members)
}

fn counts(counts: Counts) -> Fields {
    fields([("environment", long(counts.environment)), ("all", long(counts.all))])
}

fn environment_entity(uid: EntityUid, environment: &Environment) -> Result<Entity, Unaskable> {
    let attributes = fields([
        ("name", text(environment.name.as_str())),
        ("account", text(environment.account.id.as_str())),
        ("region", text(environment.account.region.as_str())),
    ]);
    Ok(Entity::new(uid, attributes.into_iter().collect(), HashSet::new())?)
}

fn commit_entity(uid: EntityUid, commit: &Provenance) -> Result<Entity, Unaskable> {
    let attributes = fields([
        ("id", text(commit.commit.as_str())),
        ("email", text(&commit.email)),
        ("name", text(&commit.author)),
        ("time", datetime(commit.time)),
        ("subject", text(&commit.subject)),
        ("signed", RestrictedExpression::new_bool(commit.signer.is_some())),
    ]);
    let signer = commit.signer.iter().flat_map(|signer| [("signer", &signer.identity), ("key", &signer.key)]);
    let signer = signer.map(|(name, value)| (name.to_owned(), text(value)));
    let attributes = attributes.into_iter().chain(signer).collect::<HashMap<_, _>>();
    let trailers = commit.trailers.iter().map(|(key, value)| (key.clone(), text(value)));
    Ok(Entity::new_with_tags(uid, attributes, [], trailers)?)
}

fn zone_entity(name: &str, zone: &TimeZone, now: Timestamp) -> Result<Entity, Unaskable> {
    let clocks = zone::clocks(zone, now);
    let attributes = fields([
        ("year", RestrictedExpression::new_long(clocks.year)),
        ("month", RestrictedExpression::new_long(clocks.month)),
        ("day", RestrictedExpression::new_long(clocks.day)),
        ("hour", RestrictedExpression::new_long(clocks.hour)),
        ("minute", RestrictedExpression::new_long(clocks.minute)),
        ("weekday", text(clocks.weekday)),
        ("weekend", RestrictedExpression::new_bool(clocks.weekend)),
        ("date", text(&clocks.date)),
    ]);
    Ok(Entity::new(uid("Zone", name)?, attributes.into_iter().collect(), HashSet::new())?)
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, Unaskable> {
    Ok(EntityUid::from_type_name_and_id(kind.parse::<EntityTypeName>()?, EntityId::new(id)))
}

fn fields<const N: usize>(fields: [(&str, RestrictedExpression); N]) -> Fields {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn record(fields: Fields) -> Result<RestrictedExpression, Unaskable> {
    Ok(RestrictedExpression::new_record(fields)?)
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn long(number: u32) -> RestrictedExpression {
    RestrictedExpression::new_long(number.into())
}

/// To the second: the form that Cedar's `datetime` takes.
fn datetime(at: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_datetime(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
