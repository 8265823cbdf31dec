//! A small good repository, and ways to change it.

use std::collections::BTreeMap;

use pinion_core::manifest::{self, Loaded};

pub(crate) use super::files::{ENVIRONMENT, PINS};

/// Files of a repository.
#[derive(Default)]
pub(crate) struct Repository(pub(crate) BTreeMap<String, Vec<u8>>);

impl Repository {
    /// One good environment, `prod`.
    pub(crate) fn prod() -> Self {
        Self::default().with("prod/environment.toml", ENVIRONMENT).with("prod/pins.toml", PINS)
    }

    /// With this file, a path below `environments/`.
    pub(crate) fn with(mut self, path: &str, text: impl AsRef<[u8]>) -> Self {
        self.0.insert(format!("environments/{path}"), text.as_ref().to_vec());
        self
    }

    pub(crate) fn without(mut self, path: &str) -> Self {
        self.0.remove(&format!("environments/{path}")).unwrap();
        self
    }

    /// With `prod`'s `environment.toml` changed.
    pub(crate) fn edit(self, from: &str, to: &str) -> Self {
        let text = String::from_utf8(self.0["environments/prod/environment.toml"].clone()).unwrap();
        assert!(text.contains(from), "{from}");
        self.with("prod/environment.toml", text.replace(from, to))
    }

    /// With this at the end of `prod`'s `environment.toml`.
    pub(crate) fn append(self, more: &str) -> Self {
        let text = String::from_utf8(self.0["environments/prod/environment.toml"].clone()).unwrap();
        self.with("prod/environment.toml", text + more)
    }

    pub(crate) fn pins(self, text: &str) -> Self {
        self.with("prod/pins.toml", text)
    }

    pub(crate) fn load(&self) -> Loaded {
        manifest::load(&self.0)
    }

    /// All findings, one a line.
    pub(crate) fn findings(&self) -> String {
        manifest::render::plain(&self.load().all_findings())
    }
}

/// A table of small changes to a good repository and the findings that each makes.
macro_rules! findings {
    ($($name:ident: $repository:expr => @$expected:literal;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!($repository.findings(), @$expected);
        }
    )*};
}
pub(super) use findings;
