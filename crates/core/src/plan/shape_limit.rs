//! The change limit on shapes. The new shapes that one look at an environment finds are one set; if that is too many at
//! once, all of it waits until a commit's trailer names the set's id. Pure, and the same in every process: the id is made of
//! what AWS has, and acknowledgements are in Git.

use std::collections::BTreeMap;

use super::change_limit::{ChangeLimits, exceeds, ignored_acknowledgement};
use super::{Input, decide};
use crate::model::hex::sha256;
use crate::model::{Bases, ErrorClass, LocalRef, PortError, ShapeLimit, Trailer, words};

/// What stands before the id in the value of the trailer.
const PREFIX: &str = "shapes-";

/// The trailer as people write it.
#[must_use]
pub fn line(id: &str) -> String {
    format!("Pinion-Acknowledge: {PREFIX}{id}")
}

/// The limit of an environment on a branch whose commits have these trailers.
#[must_use]
pub fn limit<'a>(limits: ChangeLimits, trailers: impl IntoIterator<Item = &'a Trailer>) -> ShapeLimit {
    let ChangeLimits { max_percent, always_allowed, .. } = limits;
    let mut limit = ShapeLimit { max_percent, always_allowed, ..ShapeLimit::default() };
    for trailer in trailers {
        let words = trailer.value.lines().map(|line| line.trim().to_ascii_lowercase());
        for id in words.filter_map(|word| word.strip_prefix(PREFIX).map(str::to_owned)) {
            if trailer.honored {
                limit.acknowledged.insert(id);
            } else {
                limit.ignored.entry(id).or_insert_with(|| trailer.commit.clone());
            }
        }
    }
    limit
}

/// Why the new shapes of an environment wait, and what lets them through; `None` where they don't, or there are none.
pub(super) fn held(input: Input<'_>) -> Option<String> {
    let limit = input.desired.shape_limit.as_ref()?;
    let (mut wanted, mut due, mut unread) = (BTreeMap::new(), 0, 0);
    for (local, target) in input.desired.targets.iter().filter(|(_, target)| target.base.rule().is_some()) {
        match looked(input, local) {
            Some(Ok(bases)) => {
                wanted.insert(local, bases.newest.as_ref().map_or(&bases.recorded, |newest| &newest.name));
                due += usize::from(decide::is_to_get_a_shape(input, target));
            }
            Some(Err(error)) => unread += usize::from(is_passing(error)),
            None => {}
        }
    }
    let all = input.desired.targets.len();
    let share = (limit.max_percent, limit.always_allowed);
    if due == 0 || !exceeds(due + unread, all, share) {
        return None;
    }
    let what = format!(
        "held by the blast-radius limit: {due} of {} of {} {} a new shape at once",
        words::count(all, "target"),
        input.desired.name,
        if due == 1 { "gets" } else { "get" }
    );
    // A set of which not all is known has no id that lasts.
    if unread > 0 {
        return Some(format!("{what}, and of {unread} more it couldn't be read just now; they are read in each pass"));
    }
    let id = id(input.desired.name.as_str(), &wanted);
    if limit.acknowledged.contains(&id) {
        return None;
    }
    let ignored = limit.ignored.get(&id).map(|commit| format!("; {}", ignored_acknowledgement(commit.as_str())));
    Some(format!(
        "{what}, more than {} %; if that is meant, push a commit with the trailer `{}`{}",
        limit.max_percent,
        line(&id),
        ignored.unwrap_or_default()
    ))
}

/// What was found of a target's shape; `None` where nothing can be found, and so nothing rolls out.
fn looked<'a>(input: Input<'a>, local: &LocalRef) -> Option<Result<&'a Bases, &'a PortError>> {
    match input.observed.targets.get(local)? {
        Ok(_) => input.observed.bases.get(local).map(Result::as_ref),
        Err(error) => Some(Err(error)),
    }
}

/// Whether an error may be gone in the next pass.
fn is_passing(error: &PortError) -> bool {
    matches!(error.class, ErrorClass::Retry | ErrorClass::Conflict)
}

/// The id of the set: twelve hexadecimal digits that change with what each target's shape is to be. A shape that has been
/// rolled out meanwhile changes nothing, so that an acknowledgement holds for the rest of the set.
fn id(environment: &str, wanted: &BTreeMap<&LocalRef, &String>) -> String {
    let mut text = format!("{environment}\n");
    for (local, base) in wanted {
        text += &format!("{local} {base}\n");
    }
    sha256(text, 12)
}
