//! What policies see, and what becomes of those that can't be evaluated.

use pinion_core::guardrail::{Denial, Effect, Fleet};
use pinion_core::model::State;

use super::case::{Case, environment};

/// A policy that forbids what its condition holds for.
fn forbids_when(condition: &str) -> String {
    format!("@id(\"x\") @reason(\"y\") forbid (principal, action, resource) when {{ {condition} }};")
}

#[test]
fn a_policy_sees_all_that_the_schema_promises() {
    for condition in [
        r#"principal == Author::"ada@example.com" && principal.email == "ada@example.com" && principal.name == "Ada""#,
        r#"action == Action::"rollout" && resource == Target::"prod/asg/web" && resource in Environment::"prod""#,
        r#"resource.kind == "asg" && resource.name == "web" && resource.component == "frontend""#,
        r#"resource.environment.name == "prod" && resource.environment.account == "222222222222""#,
        r#"resource.environment.region == "us-west-1" && resource.environment == Environment::"prod""#,
        r#"context.now == datetime("2026-12-03T12:00:00Z")"#,
        r#"context.commit.id like "aaaaaaaa*" && context.commit.email == principal.email && context.commit.name == "Ada""#,
        r#"context.commit.time == datetime("2026-12-03T11:00:00Z") && context.commit.subject == "frontend 1.4.2""#,
        r#"context.now.durationSince(context.commit.time) == duration("1h")"#,
        r#"!context.commit.signed && !context.commit.hasTag("Rollback")"#,
        r#"context.commit.hasTag("Ticket") && context.commit.getTag("Ticket") like "OPS-*""#,
        r#"context.version.to == "1.4.2" && context.version has from && context.version.from == "1.4.0""#,
        r#"context.version has downgrade && !context.version.downgrade"#,
        r#"context has promotion && context.promotion.from == "dev" && !context.promotion.in_sync"#,
        r#"context has promotion && context.promotion.hours == 0"#,
        r#"context.rolling.environment == 1 && context.rolling.all == 2"#,
        r#"context.quarantined.environment == 0 && context.quarantined.all == 1"#,
        r#"context.quarantined.this_version == 1"#,
        r#"Zone::"America/New_York".hour == 7 && Zone::"UTC".minute == 0 && Zone::"UTC".weekday == "thursday""#,
        r#"Zone::"Asia/Kolkata".minute == 30 && !Zone::"UTC".weekend && Zone::"UTC".date == "2026-12-03""#,
        r#"Zone::"UTC".year == 2026 && Zone::"UTC".month == 12 && Zone::"UTC".day == 3"#,
    ] {
        let case = Case::new(&forbids_when(condition))
            .trailer("Ticket", "OPS-12")
            .other("prod/fargate/api", "1.4.2", State::RollingOut, None)
            .other("dev/asg/a", "1.4.2", State::Overdue, None)
            .other("dev/asg/b", "1.4.2", State::Quarantined, None);
        assert_eq!(case.denials(), "x: y", "{condition}");
    }
}

#[test]
fn without_policies_and_without_a_policy_that_forbids_all_is_allowed() {
    assert_eq!(Case::new("").denials(), "");
    assert_eq!(Case::new("// nothing yet").denials(), "");
    assert_eq!(Case::new(&forbids_when("false && context.version.to == \"9\"").replace("false && ", "")).denials(), "");
}

#[test]
fn a_policy_that_cannot_be_evaluated_forbids_and_is_named() {
    // Only known when it is evaluated: an overflow, and an entity that isn't there.
    for condition in
        ["9223372036854775807 + context.rolling.all + 1 > 0", r#"Environment::"dev".region == "us-west-1" || true"#]
    {
        let case = Case::new(&forbids_when(condition));
        let explanation = case.explain();
        assert!(!explanation.allows());
        assert!(matches!(explanation.opinions[0].verdict, Effect::Fails(_)), "{explanation:?}");
        let denials = case.denials();
        assert!(denials.starts_with("x: it can't be evaluated, and so forbids: "), "{denials}");
    }
}

#[test]
fn nobody_counts_before_all_environments_were_looked_at() {
    let mut case = Case::new(&forbids_when("context.rolling.all > 0"));
    case.fleet.expect(&environment("dev"), [], case.now);
    assert_eq!(case.denials(), "pinion:starting: environment dev hasn't been looked at since the start");
    let patient = case.now;
    case.now = patient + Fleet::TIMEOUT;
    assert_eq!(case.denials(), "", "one account that hangs holds nobody up for long");
    case.now = patient;
    case.fleet.set(&environment("dev"), []);
    assert_eq!(case.denials(), "");
    let mut none = Case::new("");
    none.fleet.expect(&environment("dev"), [], none.now);
    assert_eq!(none.forbidden_by(), [Denial::STARTING], "a file without a policy may be the beginning of one");
}

#[test]
fn untrusted_text_in_a_commit_is_only_ever_data() {
    let nasty = "\"}; permit (principal, action, resource); //\n\u{1b}[2J";
    let mut case = Case::new(&forbids_when("context.commit.subject like \"*permit*\""));
    for pin in case.environment.pins.values_mut() {
        pin.provenance.subject = nasty.to_owned();
        pin.provenance.author = nasty.to_owned();
        pin.provenance.email = nasty.to_owned();
        pin.provenance.trailers.insert(nasty.to_owned(), nasty.to_owned());
    }
    assert_eq!(case.denials(), "x: y");
}

#[test]
fn a_freeze_can_hold_shapes_or_images() {
    const SHAPES: &str =
        "@id(\"shapes\")\n@reason(\"no\")\nforbid (principal, action, resource) when { context.shape.changed };";
    const IMAGES: &str =
        "@id(\"images\")\n@reason(\"no\")\nforbid (principal, action, resource) when { context.shape.image };";
    const TERRAFORM: &str = "@id(\"others\")\n@reason(\"no\")\nforbid (principal, action, resource) when { context.shape.changed } \
                             unless { context.shape has by && context.shape.by like \"*:assumed-role/terraform/*\" && \
                             context.shape.changes.contains(\"user data changed\") };";
    for (policy, plain, both, only) in [(SHAPES, 0, 1, 1), (IMAGES, 1, 1, 0), (TERRAFORM, 0, 0, 0)] {
        let denied = |case: Case| case.forbidden_by().len();
        assert_eq!(denied(Case::new(policy)), plain, "{policy}");
        assert_eq!(denied(Case::new(policy).with_a_new_shape(true)), both, "{policy}");
        assert_eq!(denied(Case::new(policy).with_a_new_shape(false)), only, "{policy}");
    }
}
