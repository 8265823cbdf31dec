//! What a change changes of a target.

use crate::manifest::Draft;
use crate::model::LocalRef;

/// What of a target differs from before, in the words of [`TargetReport::changed`](super::report::TargetReport::changed).
pub(super) fn changed(now: &Draft, then: Option<&Draft>, local: &LocalRef) -> Vec<&'static str> {
    let new = now.targets.get(local);
    let old = then.and_then(|then| Some((then, then.targets.get(local)?)));
    let (Some(new), Some((then, old))) = (new, old) else { return vec!["new"] };
    let pinned = now.pin_value(&new.component) != then.pin_value(&old.component);
    let parts = [
        ("account", (&now.account.id, &now.account.region) != (&then.account.id, &then.account.region)),
        // Another version is found elsewhere by itself.
        ("target", new.component != old.component || (new.spec != old.spec && !pinned)),
        ("base_revision", new.base != old.base),
        ("pin", pinned),
        ("rollout", new.rollout != old.rollout),
        ("after", new.after != old.after),
        // So is a URL that has the version in it.
        ("verify", new.verify != old.verify && !pinned),
        ("suspend", new.suspend != old.suspend),
        ("promotion", now.promotion != then.promotion),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
}
