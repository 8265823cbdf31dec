//! What is wrong with policies is found offline, with file and line, and makes the whole set forbid everything.

use pinion_core::guardrail::Policies;

use super::case::load;

fn findings(text: &str) -> String {
    let loaded = load(&[("test.cedar", text)], "1.4.2");
    let findings = loaded.all_findings().to_string();
    assert!(findings.is_empty() || (loaded.policies.is_empty() && !loaded.policies.is_none()), "it denies all");
    findings.replace("policies/guardrails/", "")
}

/// A policy of which only the condition may be wrong, on line 4.
fn when(condition: &str) -> String {
    findings(&format!("@id(\"x\")\n@reason(\"y\")\nforbid (principal, action, resource)\nwhen {{ {condition} }};\n"))
}

#[test]
fn a_misspelt_attribute_is_found_with_its_line() {
    insta::assert_snapshot!(when("context.comit.signed"), @r#"test.cedar:4:8: error: x: attribute `comit` in context for Action::"rollout" not found; did you mean `commit`?"#);
    insta::assert_snapshot!(when("resource.compnent == \"web\""), @"test.cedar:4:8: error: x: attribute `compnent` on entity type `Target` not found; did you mean `component`?");
    insta::assert_snapshot!(when("context.version.downgrade"), @r#"test.cedar:4:8: error: x: unable to guarantee safety of access to optional attribute `version.downgrade` in context for Action::"rollout"; try testing for the attribute's presence with `context.version has downgrade && ..`"#);
    insta::assert_snapshot!(when("context.rolling.all > \"3\""), @"test.cedar:4:30: error: x: unexpected type: expected Long but saw String");
    insta::assert_snapshot!(when("context.now > datetime(\"tomorrow\")"), @r#"test.cedar:4:22: error: x: error during extension function argument validation: failed to parse as a datetime value: `"tomorrow"`; valid datetime strings start with `YYYY-MM-DD` and may optionally include `THH:MM:SS` plus `Z`, `.SSSZ`, or an offset like `+0700`"#);
    insta::assert_snapshot!(when("principal in Team::\"web\""), @"test.cedar:4:21: error: x: unrecognized entity type `Team`; did you mean `Zone`?");
}

#[test]
fn what_would_never_be_met_is_found() {
    insta::assert_snapshot!(when("Zone::\"Europe/Berln\".hour < 9"), @"test.cedar:4:8: error: x: there is no time zone `Europe/Berln`; did you mean `Europe/Berlin`?");
    insta::assert_snapshot!(when("Zone::\"berlin\".hour < 9"), @"test.cedar:4:8: error: x: there is no time zone `berlin`; did you mean `Europe/Berlin`?");
    insta::assert_snapshot!(when("context.rolling.all > 3 && false"), @"test.cedar:1:1: error: x: policy is impossible: the policy expression evaluates to false for all valid requests");
    insta::assert_snapshot!(findings(
        "@id(\"a\") @reason(\"b\") forbid (principal, action == Action::\"deploy\", resource);"
    ), @r#"test.cedar:1:52: error: a: unrecognized action `Action::"deploy"`; did you mean `Action::"rollout"`?"#);
}

/// Who renames a target, or removes an environment, that a policy names stops nobody: the policies count as they are.
#[test]
fn a_name_that_nobody_has_is_a_warning() {
    let policy = |condition: &str| {
        format!("@id(\"x\")\n@reason(\"y\")\nforbid (principal, action, resource)\nwhen {{ {condition} }};\n")
    };
    let warned = |condition: &str| {
        let loaded = load(&[("test.cedar", &policy(condition))], "1.4.2");
        assert_eq!(loaded.all_findings().to_string(), "");
        assert_eq!(loaded.policies.len(), 1, "it counts");
        let warnings = pinion_core::manifest::render::warnings(&loaded, jiff::Timestamp::UNIX_EPOCH);
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").replace("policies/guardrails/", "")
    };
    insta::assert_snapshot!(warned("resource in Environment::\"prd\""), @"test.cedar:4: warning: x: there is no environment `prd`; environments: dev, prod");
    insta::assert_snapshot!(warned("resource == Target::\"prod/asg/wbe\""), @"test.cedar:4: warning: x: there is no target `prod/asg/wbe`; it looks like `prod/asg/web` or `prod/fargate/api`");
    // And what is wrong beside it still denies all.
    let both = policy("resource in Environment::\"prd\" && Zone::\"berlin\".hour < 9");
    let loaded = load(&[("test.cedar", &both)], "1.4.2");
    assert_eq!(loaded.policy_findings.len(), 1);
    assert!(loaded.policies.is_empty() && !loaded.policies.is_none(), "it denies all");
}

#[test]
fn syntax_errors_are_found_with_their_lines() {
    insta::assert_snapshot!(findings("@id(\"a\")\n@reason(\"b\")\nforbid (principal, action, resource)\nwhen { 1 < };"), @"test.cedar:4:12: error: unexpected token `}`: expected `!`, `(`, `-`, `[`, `{`, `false`, identifier, `if`, number, `?principal`, `?resource`, string literal, or `true`");
    insta::assert_snapshot!(findings("forbid (principal, action, resource"), @"test.cedar:1:36: error: unexpected end of input: expected `!=`, `)`, `,`, `:`, `<`, `<=`, `==`, `>`, `>=`, `in`, or `is`");
}

#[test]
fn a_policy_has_a_name_and_a_reason_of_its_own() {
    let rest = "forbid (principal, action, resource);";
    insta::assert_snapshot!(findings(rest), @r#"
    test.cedar:1:1: error: this policy has no @id; put `@id("a-short-name")` before the policy: denials and metrics name it
    test.cedar:1:1: error: this policy has no @reason; put `@reason("why, and what to do")` before the policy: people read it where it forbids
    "#);
    insta::assert_snapshot!(findings(&format!("// first\n\n@id(\"a b\")\n@reason(\" \")\n{rest}")), @r#"
    test.cedar:3:1: error: a b: `a b` can't be an @id; letters, digits, `.`, `_` and `-`, 64 at most
    test.cedar:3:1: error: a b: this policy has no @reason; put `@reason("why, and what to do")` before the policy: people read it where it forbids
    "#);
    let two = format!("@id(\"a\") @reason(\"b\") {rest}\n@id(\"a\") @reason(\"b\") {rest}\n");
    insta::assert_snapshot!(findings(&two), @"test.cedar:2:1: error: a: a policy in test.cedar has the @id `a`, too; give each its own");
}

#[test]
fn permits_and_templates_are_not_what_anybody_means() {
    insta::assert_snapshot!(findings("@id(\"a\") @reason(\"b\") permit (principal, action, resource);"), @"test.cedar:1:1: error: a: a permit has no effect: whatever no policy forbids is allowed; write it the other way round: `forbid (…) unless { … }`");
    insta::assert_snapshot!(findings("@id(\"a\") @reason(\"b\")\nforbid (principal == ?principal, action, resource);"), @"test.cedar:1:1: error: this is a template, which nothing fills in; write principal and resource without `?principal` and `?resource`");
}

#[test]
fn all_files_are_checked_at_once_and_one_mistake_denies_all() {
    let good = "@id(\"a\") @reason(\"b\") forbid (principal, action, resource in Environment::\"dev\");";
    let loaded = load(&[("a.cedar", good), ("b.cedar", "forbid"), ("deep/c.cedar", "x"), ("d.txt", "x")], "1.4.2");
    let findings = loaded.policy_findings.to_string();
    assert_eq!(findings.lines().count(), 2, "{findings}");
    assert!(loaded.environments.values().all(Result::is_ok), "environments are none the worse");
    let case = super::case::Case::new("");
    let denials = case.denied_by(&loaded.policies);
    insta::assert_snapshot!(denials, @"pinion:invalid-policies: the policies are invalid (2 findings, the first in policies/guardrails/b.cedar); nothing is rolled out until `pinion validate` finds nothing in them");
}

#[test]
fn no_file_is_no_policy() {
    let (policies, mistakes) = Policies::read(&[].into(), &Default::default());
    assert!(policies.is_none() && mistakes.is_empty());
    assert!(super::case::Case::new("").denied_by(&policies).is_empty());
}

#[test]
fn a_name_in_a_broken_environment_is_given_the_benefit_of_the_doubt() {
    let policy = "@id(\"a\") @reason(\"b\") forbid (principal, action, resource == Target::\"prod/asg/any\");";
    let loaded = load(&[("a.cedar", policy)], "not good here");
    assert!(!loaded.all_findings().is_empty());
    assert_eq!(loaded.policy_findings.to_string(), "");
}
