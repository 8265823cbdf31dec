//! From a world file's roles, users, keys and policies to those of a world.

use std::path::Path;

use serde_json::Value;

use super::super::iam::{Policy, PolicyError};
use super::super::service::role_id;
use super::super::wire::Caller;
use super::super::world::{Role, World, stable_hex};
use super::{AccountFile, KeyFile, PolicyFile, WorldError};

impl World {
    /// Adds roles, users and keys, and the policies of repositories that are there already.
    pub(super) fn add_identities(&mut self, file: &AccountFile, folder: &Path) -> Result<(), WorldError> {
        let id = file.id.as_str();
        let all = |policies: &Option<Vec<PolicyFile>>, place: &str| -> Result<Option<Vec<Policy>>, WorldError> {
            let read = |policies: &Vec<PolicyFile>| policies.iter().map(|one| policy(one, folder, place)).collect();
            policies.as_ref().map(read).transpose()
        };
        let (mut roles, mut users) = (Vec::new(), Vec::new());
        for role in &file.role {
            let place = format!("role {} of account {id}", role.name);
            let held = Role {
                name: role.name.clone(),
                external_id: role.external_id.clone(),
                max_session: role.max_session,
                trust: role.trust.as_ref().map(|trust| policy(trust, folder, &place)).transpose()?,
                policies: all(&role.policies, &place)?,
            };
            roles.push((role.name.clone(), held));
        }
        for user in &file.user {
            let policies = all(&user.policies, &format!("user {} of account {id}", user.name))?;
            users.push((user.name.clone(), policies));
        }
        for key in &file.key {
            let known = match (&key.user, &key.role) {
                (Some(name), None) => file.user.iter().any(|user| user.name == *name),
                (None, Some(name)) => file.role.iter().any(|role| role.name == *name),
                _ => false,
            };
            if !known {
                let what = "no user or role, or not exactly one that this account has,".to_owned();
                return Err(WorldError::Missing { what, place: format!("{id}/{}", key.id) });
            }
            self.keys.insert(key.id.clone(), holder(id, key));
        }
        let account = self.accounts.entry(id.to_owned()).or_default();
        account.roles.extend(roles);
        account.users.extend(users);
        for repository in &file.repository {
            let Some(given) = &repository.policy else { continue };
            let read = policy(given, folder, &format!("repository {} of account {id}", repository.name))?;
            let region = repository.region.as_deref().unwrap_or(&self.default_region).to_owned();
            if let Some(held) = self.region_mut(id, &region).repositories.get_mut(&repository.name) {
                held.policy = Some(read);
            }
        }
        Ok(())
    }
}

/// Who holds a key.
fn holder(account: &str, key: &KeyFile) -> Caller {
    match &key.role {
        Some(role) => Caller {
            account: account.to_owned(),
            arn: format!("arn:aws:sts::{account}:assumed-role/{role}/{}", key.id),
            user_id: format!("{}:{}", role_id(account, role), key.id),
            is_session: true,
            transitive: key.tags.keys().cloned().collect(),
            tags: key.tags.clone(),
        },
        None => Caller {
            account: account.to_owned(),
            arn: format!("arn:aws:iam::{account}:user/{}", key.user.as_deref().unwrap_or_default()),
            user_id: format!("AIDA{}", stable_hex(&["user", account, &key.id], 17).to_ascii_uppercase()),
            ..Caller::default()
        },
    }
}

fn policy(given: &PolicyFile, folder: &Path, place: &str) -> Result<Policy, WorldError> {
    let failed = |source| WorldError::Policy { place: place.to_owned(), source };
    let document = match given {
        PolicyFile::Table(table) => Value::Object(table.clone()),
        PolicyFile::Text(text) => {
            let text = if text.trim_start().starts_with('{') {
                text.clone()
            } else {
                let path = folder.join(text);
                std::fs::read_to_string(&path).map_err(|source| WorldError::Read { path, source })?
            };
            serde_json::from_str(&text)
                .map_err(|error| failed(PolicyError::new(&format!("it is not JSON: {error}"))))?
        }
    };
    Policy::try_from(document).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(account: &str) -> Result<World, String> {
        let text =
            format!("controller = \"1\"\nregion = \"us-west-1\"\n[[account]]\nid = \"1\"\nname = \"dev\"\n{account}\n");
        World::parse(&text).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {source}")
        })
    }

    #[test]
    fn policies_are_tables_texts_or_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.json");
        let json = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
        std::fs::write(&path, json).unwrap();
        let table =
            "{ Version = \"2012-10-17\", Statement = [{ Effect = \"Allow\", Action = \"*\", Resource = \"*\" }] }";
        for given in [table.to_owned(), format!("'{json}'"), format!("'{}'", path.display())] {
            let world = world(&format!("role = [{{ name = \"pinion\", policies = [{given}] }}]")).unwrap();
            let policies = world.accounts["1"].roles["pinion"].policies.as_ref().unwrap();
            assert_eq!(policies[0].statements.len(), 1, "{given}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let role = |policy: &str| format!("role = [{{ name = \"pinion\", policies = [{policy}] }}]");
        let cases = [
            (role("'{'"), "role pinion of account 1"),
            (role("'{}'"), "no Version"),
            (role("'nowhere.json'"), "nowhere.json"),
            ("key = [{ id = \"AKIA\", user = \"nobody\" }]".to_owned(), "1/AKIA"),
            ("key = [{ id = \"AKIA\" }]".to_owned(), "1/AKIA"),
        ];
        for (account, said) in cases {
            let error = world(&account).unwrap_err();
            assert!(error.contains(said), "{account}: {error}");
        }
    }
}
