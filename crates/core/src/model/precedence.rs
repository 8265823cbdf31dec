//! Which of two versions comes first, where that is known.

use std::cmp::Ordering;

use semver::Version as Semantic;

use super::Version;

impl Version {
    /// Compares by semantic versioning's precedence: build metadata doesn't count, and a leading `v` is no part of the
    /// version. `None` unless both are semantic versions; other tags have no order that anybody could know.
    #[must_use]
    pub fn precedence(&self, other: &str) -> Option<Ordering> {
        Some(semantic(self.as_str())?.cmp_precedence(&semantic(other)?))
    }
}

fn semantic(text: &str) -> Option<Semantic> {
    Semantic::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_semantic_versions_have_an_order() {
        let compare = |one: &str, other: &str| Version::try_from(one).unwrap().precedence(other);
        assert_eq!(compare("1.9.0", "1.10.0"), Some(Ordering::Less));
        assert_eq!(compare("1.0.0", "1.0.0-rc.1"), Some(Ordering::Greater));
        assert_eq!(compare("v1.2.3", "1.2.3+build.7"), Some(Ordering::Equal));
        assert_eq!(compare("1.2", "1.2.0"), None);
        assert_eq!(compare("backend.0.0.1_dev1", "backend.0.0.2"), None);
        assert_eq!(compare("1.2.3", "ami-0123456789"), None);
    }
}
