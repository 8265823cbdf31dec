//! When a policy ends: the moment from which on its conditions can't hold any more, read off the policy itself. Freezes have
//! one; most guardrails have none.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;

use cedar_policy::Policy;

use super::zone;

/// The moment after which a policy can't forbid anything any more; `None` if there is no such moment, or none that can be
/// told. A bound is an upper bound of `context.now`, or a date of a [`Zone`](zone) that is asked for.
pub(super) fn of(policy: &Policy) -> Option<Timestamp> {
    let policy = policy.to_json().ok()?;
    let conditions = policy.get("conditions")?.as_array()?;
    // All of them have to hold, so that the first to end ends the policy.
    let ends = conditions.iter().filter_map(|condition| {
        let wanted = condition.get("kind").and_then(Value::as_str)? == "when";
        end(condition.get("body")?, wanted)
    });
    ends.min()
}

/// From when on an expression can't come to `wanted` any more.
fn end(expression: &Value, wanted: bool) -> Option<Timestamp> {
    let (operator, operands) = expression.as_object()?.iter().next()?;
    if operator == "!" {
        return end(operands.get("arg")?, !wanted);
    }
    let (left, right) = (operands.get("left")?, operands.get("right")?);
    match (operator.as_str(), wanted) {
        // Both sides have to come to it.
        ("&&", true) | ("||", false) => [end(left, wanted), end(right, wanted)].into_iter().flatten().min(),
        // One side is enough.
        ("||", true) | ("&&", false) => Some(end(left, wanted)?.max(end(right, wanted)?)),
        ("<" | "<=", _) => bound(left, right, wanted),
        (">" | ">=", _) => bound(right, left, wanted),
        ("==", true) => date(left, right).or_else(|| date(right, left)),
        ("contains", true) => {
            let dates = left.get("Set")?.as_array()?.iter();
            dates.map(|text| date(right, text)).collect::<Option<Vec<_>>>()?.into_iter().max()
        }
        _ => None,
    }
}

/// The bound of `small < large`, if that is wanted and the time is the small one, or isn't wanted and it is the large one.
fn bound(small: &Value, large: &Value, wanted: bool) -> Option<Timestamp> {
    let (time, bound) = if wanted { (small, large) } else { (large, small) };
    is_now(time).then(|| literal(bound)).flatten()
}

/// `context.now`.
fn is_now(expression: &Value) -> bool {
    let Some(access) = expression.get(".") else { return false };
    access.get("attr").and_then(Value::as_str) == Some("now")
        && access.get("left").and_then(|left| left.get("Var")).and_then(Value::as_str) == Some("context")
}

/// `datetime("…")`, in the forms that Cedar takes.
fn literal(expression: &Value) -> Option<Timestamp> {
    let text = expression.get("datetime")?.as_array()?.first()?.get("Value")?.as_str()?;
    match text.parse::<Timestamp>() {
        Ok(at) => Some(at),
        // A date alone is its first moment in UTC.
        Err(_) => text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp()),
    }
}

/// The end of a day, where `Zone::"…".date` is compared with a text.
fn date(clock: &Value, day: &Value) -> Option<Timestamp> {
    let access = clock.get(".").filter(|access| access.get("attr").and_then(Value::as_str) == Some("date"))?;
    let entity = access.get("left")?.get("Value")?.get("__entity")?;
    let name = entity.get("id").filter(|_| entity.get("type").and_then(Value::as_str) == Some("Zone"))?.as_str()?;
    let day: Date = day.get("Value")?.as_str()?.parse().ok()?;
    Some(day.checked_add(1.day()).ok()?.to_zoned(zone::find(name)?).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(conditions: &str) -> Option<String> {
        let text = format!("forbid (principal, action, resource) {conditions};");
        of(&Policy::parse(None, text).unwrap()).map(|end| end.to_string())
    }

    #[test]
    fn a_policy_ends_where_its_conditions_say_so() {
        for (conditions, expected) in [
            (r#"when { context.now < datetime("2027-01-04T08:00:00+0100") }"#, "2027-01-04T07:00:00Z"),
            (r#"when { context.now <= datetime("2027-01-04") }"#, "2027-01-04T00:00:00Z"),
            (r#"when { datetime("2027-01-04T08:00:00.500Z") > context.now }"#, "2027-01-04T08:00:00.5Z"),
            (r#"when { datetime("2027-01-04T08:00:00.000+0130") >= context["now"] }"#, "2027-01-04T06:30:00Z"),
            (r#"unless { context.now >= datetime("2027-01-04") }"#, "2027-01-04T00:00:00Z"),
            (r#"unless { datetime("2027-01-04") < context.now }"#, "2027-01-04T00:00:00Z"),
            (r#"when { !(context.now > datetime("2027-01-04")) }"#, "2027-01-04T00:00:00Z"),
            // The first bound of several that all have to hold, the last of several of which one is enough.
            (
                r#"when { context.now < datetime("2027-01-05") && context.now < datetime("2027-01-04") }
                   when { context.now < datetime("2027-01-06") } unless { context.commit.signed }"#,
                "2027-01-04T00:00:00Z",
            ),
            (
                r#"when { context.now < datetime("2026-01-04") ||
                          (context.now > datetime("2026-12-23") && context.now < datetime("2027-01-04")) }"#,
                "2027-01-04T00:00:00Z",
            ),
            (
                r#"unless { context.now < datetime("2026-12-23") || context.now > datetime("2027-01-04") }"#,
                "2027-01-04T00:00:00Z",
            ),
            (
                r#"unless { context.now >= datetime("2027-01-05") && context.now >= datetime("2027-01-04") }"#,
                "2027-01-05T00:00:00Z",
            ),
            // Days of a place end there.
            (r#"when { Zone::"Europe/Berlin".date == "2026-12-24" }"#, "2026-12-24T23:00:00Z"),
            (r#"when { "2026-12-24" == Zone::"UTC".date }"#, "2026-12-25T00:00:00Z"),
            (
                r#"when { ["2026-12-31", "2026-12-24"].contains(Zone::"America/New_York".date) }"#,
                "2027-01-01T05:00:00Z",
            ),
        ] {
            assert_eq!(end_of(conditions).as_deref(), Some(expected), "{conditions}");
        }
    }

    #[test]
    fn a_policy_that_may_forbid_for_ever_has_no_end() {
        for conditions in [
            "",
            r#"when { context.now >= datetime("2027-01-04") }"#,
            r#"when { datetime("2027-01-04") < context.now }"#,
            r#"unless { context.now < datetime("2027-01-04") }"#,
            r#"when { context.now < datetime("2027-01-04") || context.commit.signed }"#,
            r#"unless { context.now >= datetime("2027-01-04") && context.commit.signed }"#,
            r#"when { context.commit.time < datetime("2027-01-04") }"#,
            r#"when { Zone::"Europe/Berlin".date != "2026-12-24" }"#,
            r#"unless { Zone::"Europe/Berlin".date == "2026-12-24" }"#,
            r#"when { Zone::"Europe/Berlin".weekday == "2026-12-24" }"#,
            r#"when { ["2026-12-24", context.commit.subject].contains(Zone::"UTC".date) }"#,
            r#"when { context.rolling.all > 3 && Zone::"UTC".hour < 9 }"#,
            r#"when { if context.commit.signed then context.now < datetime("2027-01-04") else true }"#,
        ] {
            assert_eq!(end_of(conditions), None, "{conditions}");
        }
    }
}
