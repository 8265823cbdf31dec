//! One file per AWS service: parameters in, results out.

mod autoscaling;
mod cloudwatch;
mod ec2;
mod ecr;
mod ecs;
mod ssm;
mod sts;

pub(crate) use sts::role_id;

use serde_json::Value;

use super::iam;
use super::wire::{ApiError, Call, Service};
use super::world::World;

/// Carries out a call.
pub(crate) fn dispatch(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    iam::check(world, call)?;
    match call.service {
        Service::Sts => sts::call(world, call),
        Service::Ec2 => ec2::call(world, call),
        Service::AutoScaling => autoscaling::call(world, call),
        Service::Ecs => ecs::call(world, call),
        Service::Ecr => ecr::call(world, call),
        Service::Ssm => ssm::call(world, call),
        Service::CloudWatch => cloudwatch::call(world, call),
    }
}

/// Whether an operation changes anything of an account's resources.
pub(crate) fn is_write(service: Service, operation: &str) -> bool {
    let reads = ["Describe", "List", "Get", "BatchGet"].iter().any(|verb| operation.starts_with(verb));
    service != Service::Sts && !reads
}

/// Whether `pattern`, with `*` and `?`, matches all of `text`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    fn go(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|skip| go(rest, text.get(skip..).unwrap_or_default())),
            (['?', rest @ ..], [_, tail @ ..]) => go(rest, tail),
            ([one, rest @ ..], [head, tail @ ..]) if one == head => go(rest, tail),
            _ => false,
        }
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    go(&pattern, &text)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("frontend-*", "frontend-1.4.0", true),
            ("frontend-1.?.0", "frontend-1.4.0", true),
            ("frontend-1.?.0", "frontend-1.40.0", false),
            ("*", "", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
