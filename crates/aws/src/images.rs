//! Machine images: by name, tags, SSM parameter or id. Exactly one available image is an answer; everything else is said
//! in words that tell what to do.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, Image};
use aws_sdk_ssm::types::Parameter;
use jiff::Timestamp;

use super::connection::Connection;
use super::operation::Operation;
use super::resolve::Resolved;
use pinion_core::model::{AccountId, AmiQuery, Artifact, ErrorClass, PortError, ResolveError};

/// AWS's limits for the values of one filter and the parameters of one call.
const VALUES: usize = 200;
pub(super) const PARAMETERS: usize = 10;

impl Connection {
    /// Resolves queries for machine images.
    pub(super) async fn machine_images(&self, queries: &BTreeSet<AmiQuery>) -> Resolved<AmiQuery> {
        let mut resolved = BTreeMap::new();
        let mut names: BTreeMap<Option<AccountId>, Vec<&AmiQuery>> = BTreeMap::new();
        let mut parameters = Vec::new();
        // The id that each query comes down to, for those that name one or lead to one.
        let mut ids: BTreeMap<&AmiQuery, String> = BTreeMap::new();
        for query in queries {
            match query {
                AmiQuery::Name { owner, .. } => names.entry(owner.clone()).or_default().push(query),
                AmiQuery::Tags { tags, owner } => {
                    let filters = tags.iter().map(|(key, value)| filter(&format!("tag:{key}"), vec![literal(value)]));
                    let images = self.describe_images(owner.as_ref(), filters.collect()).await;
                    resolved.insert(query.clone(), self.choose(query, None, images.as_deref()));
                }
                AmiQuery::Parameter { parameter } => parameters.push((query, parameter.clone())),
                AmiQuery::Id { id } => drop(ids.insert(query, id.clone())),
            }
        }
        for (owner, queries) in names {
            for batch in queries.chunks(VALUES) {
                let values = batch.iter().filter_map(|query| match query {
                    AmiQuery::Name { name, .. } => Some(literal(name)),
                    AmiQuery::Tags { .. } | AmiQuery::Parameter { .. } | AmiQuery::Id { .. } => None,
                });
                let images = self.describe_images(owner.as_ref(), vec![filter("name", values.collect())]).await;
                for query in batch {
                    resolved.insert((*query).clone(), self.choose(query, None, images.as_deref()));
                }
            }
        }
        for batch in parameters.chunks(PARAMETERS) {
            let names: Vec<String> = batch.iter().map(|(_, name)| name.clone()).collect();
            let values = self.parameters(&names).await;
            for (query, name) in batch {
                match values.get(name) {
                    Some(Ok(value)) if is_image_id(value) => drop(ids.insert(query, value.clone())),
                    Some(Ok(value)) => {
                        let text = format!(
                            "SSM parameter {name} holds `{value}`, which isn't the id of an AMI (ami-…); correct the \
                             parameter's value, or the name in environment.toml"
                        );
                        resolved.insert((*query).clone(), Err(ResolveError::Unusable(text)));
                    }
                    Some(Err(error)) => drop(resolved.insert((*query).clone(), Err(error.clone().into()))),
                    None => {
                        let text = format!(
                            "there is no SSM parameter {name} in {} of account {}; check its name, version and \
                             region, and that a parameter of another account is named by its full ARN",
                            self.account.region, self.account.id
                        );
                        resolved.insert((*query).clone(), Err(ResolveError::Unusable(text)));
                    }
                }
            }
        }
        let ids: Vec<(&AmiQuery, String)> = ids.into_iter().collect();
        for batch in ids.chunks(VALUES) {
            let images = self.images_by_id(&batch.iter().map(|(_, id)| id.clone()).collect()).await;
            for (query, id) in batch {
                resolved.insert((*query).clone(), self.choose(query, Some(id), images.as_deref()));
            }
        }
        resolved
    }

    /// AMIs by id. Those that aren't there are missing in the answer.
    pub(super) async fn images_by_id(&self, ids: &BTreeSet<String>) -> Result<Vec<Image>, PortError> {
        let ids: Vec<&String> = ids.iter().collect();
        let mut images = Vec::new();
        for batch in ids.chunks(VALUES) {
            // As a filter: an unknown id among `ImageIds` would fail the whole call.
            let filters = vec![filter("image-id", batch.iter().map(|id| literal(id)).collect())];
            images.extend(self.describe_images(None, filters).await?);
        }
        Ok(images)
    }

    async fn describe_images(&self, owner: Option<&AccountId>, filters: Vec<Filter>) -> Result<Vec<Image>, PortError> {
        let mut images = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .call(Operation::DescribeMachineImages, || {
                    self.ec2
                        .describe_images()
                        .set_owners(owner.map(|owner| vec![owner.to_string()]))
                        .set_filters(Some(filters.clone()))
                        .include_deprecated(true)
                        .include_disabled(true)
                        .set_next_token(token.clone())
                        .send()
                })
                .await?;
            images.extend(page.images.unwrap_or_default());
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(images);
            }
        }
    }

    /// The values of parameters by the name that was asked for. Those that don't exist are missing in the answer.
    async fn parameters(&self, names: &[String]) -> BTreeMap<String, Result<String, PortError>> {
        let mut values = BTreeMap::new();
        match self.get_parameters(names.to_vec()).await {
            Ok(parameters) => values.extend(match_parameters(names, &parameters)),
            // One name that isn't well-formed fails them all.
            Err(error) if error.class == ErrorClass::Invalid && names.len() > 1 => {
                for name in names {
                    match self.get_parameters(vec![name.clone()]).await {
                        Ok(parameters) => values.extend(match_parameters(std::slice::from_ref(name), &parameters)),
                        Err(error) => drop(values.insert(name.clone(), Err(error))),
                    }
                }
            }
            Err(error) => values.extend(names.iter().map(|name| (name.clone(), Err(error.clone())))),
        }
        values
    }

    pub(super) async fn get_parameters(&self, names: Vec<String>) -> Result<Vec<Parameter>, PortError> {
        let answer = self
            .call(Operation::GetParameters, || self.ssm.get_parameters().set_names(Some(names.clone())).send())
            .await?;
        Ok(answer.parameters.unwrap_or_default())
    }

    fn choose(
        &self,
        query: &AmiQuery,
        id: Option<&str>,
        images: Result<&[Image], &PortError>,
    ) -> Result<Artifact, ResolveError> {
        let images = images.map_err(|error| ResolveError::Call(error.clone()))?;
        let matching: Vec<&Image> = images.iter().filter(|image| matches(query, id, image)).collect();
        choose(query, id, &matching, &self.account.id, self.account.region.as_str(), self.now())
            .map_err(ResolveError::Unusable)
    }
}

/// The parameter that answers each name: a name may carry a version or label, or be an ARN.
fn match_parameters(names: &[String], parameters: &[Parameter]) -> BTreeMap<String, Result<String, PortError>> {
    let answers = |parameter: &Parameter, name: &str| {
        let selector = parameter.selector.as_deref().unwrap_or_default().trim_start_matches(':');
        [&parameter.name, &parameter.arn].into_iter().flatten().any(|known| match name.strip_prefix(known.as_str()) {
            Some("") => selector.is_empty(),
            // A version or label is given back as it was asked for, by AWS; a version's number does as well.
            Some(rest) => rest.strip_prefix(':').is_some_and(|asked| {
                asked == selector || (selector.is_empty() && asked == parameter.version.to_string())
            }),
            None => false,
        })
    };
    names
        .iter()
        .filter_map(|name| {
            let parameter = parameters.iter().find(|parameter| answers(parameter, name))?;
            Some((name.clone(), Ok(parameter.value.clone()?.trim().to_owned())))
        })
        .collect()
}

/// Whether an image is what a query asks for. AWS's filters only narrow the search: names may hold its wildcards.
fn matches(query: &AmiQuery, id: Option<&str>, image: &Image) -> bool {
    match query {
        AmiQuery::Name { name, .. } => image.name.as_deref() == Some(name),
        AmiQuery::Tags { tags, .. } => tags.iter().all(|(key, value)| {
            image.tags().iter().any(|tag| tag.key.as_deref() == Some(key) && tag.value.as_deref() == Some(value))
        }),
        AmiQuery::Parameter { .. } | AmiQuery::Id { .. } => image.image_id.as_deref() == id,
    }
}

/// The one image that can be used, or why there is none.
fn choose(
    query: &AmiQuery,
    id: Option<&str>,
    images: &[&Image],
    account: &AccountId,
    region: &str,
    now: Timestamp,
) -> Result<Artifact, String> {
    let sought = sought(query, id);
    let by_owner = matches!(query, AmiQuery::Name { owner: None, .. } | AmiQuery::Tags { owner: None, .. });
    // Anybody can publish an image under any name: one that is public counts only if its owner is named.
    let is_strange =
        |image: &Image| by_owner && image.public == Some(true) && image.owner_id.as_deref() != Some(account.as_str());
    let (strange, images): (Vec<&Image>, Vec<&Image>) = images.iter().copied().partition(|image| is_strange(image));
    let available: Vec<&Image> = images.iter().copied().filter(|image| state_of(image) == "available").collect();
    if let [image] = available.as_slice()
        && let Some(id) = image.image_id.clone().filter(|id| !id.is_empty())
    {
        return Ok(Artifact::Ami {
            id,
            name: image.name.clone().filter(|name| !name.is_empty()),
            architecture: image.architecture.as_ref().map(|architecture| architecture.as_str().to_owned()),
            deprecated: is_deprecated(image, now),
            root_device: image.root_device_name.clone().filter(|device| !device.is_empty()),
        });
    }
    if available.len() > 1 {
        return Err(format!(
            "{} AMIs {sought} are available in {region}: {}; Pinion doesn't choose: deregister all but one, or name more \
             of what tells it apart (owner, tags)",
            available.len(),
            ids_of(&available)
        ));
    }
    if let Some(image) = images.first() {
        let what = match state_of(image) {
            "pending" | "transient" => "it isn't finished; it is looked for again in each pass",
            "disabled" => "enable it, or pin another version",
            "deregistered" => "pin another version, or build this one again",
            _ => "build it again",
        };
        return Err(format!("AMI {} {sought} in {region} is {}: {what}", ids_of(&[*image]), state_of(image)));
    }
    if let Some(image) = strange.first() {
        return Err(format!(
            "the only AMI {sought} in {region} is {}, a public one of account {}; if it is meant, name that account as \
             `owner`",
            ids_of(&[*image]),
            image.owner_id.as_deref().unwrap_or("unknown")
        ));
    }
    let mut text = format!(
        "there is no AMI {sought} in {region}; check that it was built and copied there, and that it is shared with \
         account {account}"
    );
    if let AmiQuery::Tags { owner, .. } = query
        && owner.as_ref() != Some(account)
    {
        text.push_str(" (the tags of a shared AMI show only in its owner's account: look it up by name)");
    }
    Err(text)
}

fn sought(query: &AmiQuery, id: Option<&str>) -> String {
    let of = |owner: &Option<AccountId>| owner.as_ref().map(|owner| format!(" of account {owner}")).unwrap_or_default();
    match query {
        AmiQuery::Name { name, owner } => format!("named `{name}`{}", of(owner)),
        AmiQuery::Tags { tags, owner } => {
            let tags: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("with the tags {}{}", tags.join(", "), of(owner))
        }
        AmiQuery::Parameter { parameter } => {
            format!("{} (from SSM parameter {parameter})", id.unwrap_or_default())
        }
        AmiQuery::Id { id } => format!("with the id {id}"),
    }
}

/// An image's state. One that was deregistered comes back empty for a while.
fn state_of(image: &Image) -> &str {
    image.state.as_ref().map_or("deregistered", |state| state.as_str())
}

/// Whether an image's time is over: an owner may also set one that is yet to come.
fn is_deprecated(image: &Image, now: Timestamp) -> bool {
    let time = image.deprecation_time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
    time.is_some_and(|time| time <= now)
}

fn ids_of(images: &[&Image]) -> String {
    let mut ids: Vec<&str> = images.iter().map(|image| image.image_id.as_deref().unwrap_or("without an id")).collect();
    ids.sort_unstable();
    ids.join(", ")
}

fn is_image_id(value: &str) -> bool {
    value.strip_prefix("ami-").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn filter(name: &str, values: Vec<String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// A filter's value without wildcards.
pub(super) fn literal(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '*' | '?' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::ImageState;

    use super::*;

    fn image(id: &str, state: &str, owner: &str, public: bool) -> Image {
        Image::builder()
            .image_id(id)
            .name("frontend-1.4.2")
            .state(ImageState::from(state))
            .owner_id(owner)
            .public(public)
            .build()
    }

    fn choose_named(owner: Option<&str>, images: &[Image]) -> Result<Artifact, String> {
        let query = AmiQuery::Name {
            name: "frontend-1.4.2".to_owned(),
            owner: owner.map(|owner| AccountId::try_from(owner).unwrap()),
        };
        let account = AccountId::try_from("222222222222").unwrap();
        choose(&query, None, &images.iter().collect::<Vec<_>>(), &account, "us-west-1", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn one_available_image_is_the_answer() {
        let images =
            [image("ami-1", "deregistered", "333333333333", false), image("ami-2", "available", "333333333333", false)];
        let artifact = Artifact::Ami {
            id: "ami-2".to_owned(),
            name: Some("frontend-1.4.2".to_owned()),
            architecture: None,
            deprecated: false,
            root_device: None,
        };
        assert_eq!(choose_named(None, &images), Ok(artifact));
    }

    #[test]
    fn everything_else_says_what_to_do() {
        let said = [
            choose_named(None, &[]),
            choose_named(Some("333333333333"), &[]),
            choose_named(None, &[image("ami-2", "available", "1", false), image("ami-1", "available", "2", false)]),
            choose_named(None, &[image("ami-1", "pending", "1", false)]),
            choose_named(None, &[image("ami-1", "disabled", "1", false)]),
            choose_named(None, &[Image::builder().name("frontend-1.4.2").build()]),
            choose_named(None, &[image("ami-6", "available", "666666666666", true)]),
        ]
        .map(Result::unwrap_err)
        .join("\n");
        insta::assert_snapshot!(said, @r"
        there is no AMI named `frontend-1.4.2` in us-west-1; check that it was built and copied there, and that it is shared with account 222222222222
        there is no AMI named `frontend-1.4.2` of account 333333333333 in us-west-1; check that it was built and copied there, and that it is shared with account 222222222222
        2 AMIs named `frontend-1.4.2` are available in us-west-1: ami-1, ami-2; Pinion doesn't choose: deregister all but one, or name more of what tells it apart (owner, tags)
        AMI ami-1 named `frontend-1.4.2` in us-west-1 is pending: it isn't finished; it is looked for again in each pass
        AMI ami-1 named `frontend-1.4.2` in us-west-1 is disabled: enable it, or pin another version
        AMI without an id named `frontend-1.4.2` in us-west-1 is deregistered: pin another version, or build this one again
        the only AMI named `frontend-1.4.2` in us-west-1 is ami-6, a public one of account 666666666666; if it is meant, name that account as `owner`
        ");
    }

    #[test]
    fn a_public_image_counts_if_its_owner_is_named_or_ourselves() {
        assert!(choose_named(Some("666666666666"), &[image("ami-6", "available", "666666666666", true)]).is_ok());
        assert!(choose_named(None, &[image("ami-6", "available", "222222222222", true)]).is_ok());
    }

    #[test]
    fn parameters_answer_to_name_version_and_arn() {
        let parameter = |name: &str, selector: Option<&str>, value: &str| {
            Parameter::builder()
                .name(name)
                .arn(format!("arn:aws:ssm:us-west-1:222222222222:parameter{name}"))
                .set_selector(selector.map(str::to_owned))
                .value(value)
                .build()
        };
        let parameters = [parameter("/a", Some(":2"), "ami-2"), parameter("/ab", None, "ami-1")];
        let names = ["/a:2", "/ab", "/a", "arn:aws:ssm:us-west-1:222222222222:parameter/ab"].map(str::to_owned);
        let found = match_parameters(&names, &parameters);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(name, value)| (name.as_str(), value.as_deref().unwrap())).collect();
        assert_eq!(
            found,
            [("/a:2", "ami-2"), ("/ab", "ami-1"), ("arn:aws:ssm:us-west-1:222222222222:parameter/ab", "ami-1")]
        );
    }

    #[test]
    fn filters_take_values_literally() {
        assert_eq!(literal(r"a*b?c\"), r"a\*b\?c\\");
        assert!(is_image_id("ami-0abc") && !is_image_id("ami-") && !is_image_id("lt-1"));
    }
}
