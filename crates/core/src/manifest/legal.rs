//! What AWS takes: the grammars of what templates make once their placeholders are filled in.

use crate::model::ImageReference;

/// The rule that was broken.
pub(crate) type Rule = &'static str;

fn only(text: &str, extra: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

/// An AMI's name. Also keeps wildcards out of a filter by name.
pub(crate) fn ami_name(text: &str) -> Result<(), Rule> {
    ((3..=128).contains(&text.len()) && only(text, "()[] ./-'@_"))
        .then_some(())
        .ok_or("an AMI's name has 3 to 128 of letters, digits, spaces and ( ) [ ] . / - ' @ _")
}

/// An AMI's id.
pub(crate) fn ami_id(text: &str) -> Result<(), Rule> {
    let digits = text.strip_prefix("ami-").unwrap_or_default();
    let good = matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    good.then_some(()).ok_or("an AMI's id is `ami-` and 8 or 17 hexadecimal digits")
}

/// The value of a tag. EC2 reads `*`, `?` and `\` in a filter's value as wildcards, so none of them may come in.
pub(crate) fn tag_value(text: &str) -> Result<(), Rule> {
    (text.chars().count() <= 256 && !text.contains(['*', '?', '\\']))
        .then_some(())
        .ok_or("a tag's value has at most 256 characters, and none of * ? \\ here")
}

/// The key of a tag, which becomes part of a filter's name.
pub(crate) fn tag_key(text: &str) -> Result<(), Rule> {
    let good = (1..=127).contains(&text.chars().count()) && !text.contains(['*', '?', '\\']);
    let good = good && !text.chars().any(char::is_control);
    good.then_some(()).ok_or("a tag's key has 1 to 127 characters, and none of * ? \\ here")
}

/// The name of an SSM parameter, or the ARN of a shared one, with a version or label.
pub(crate) fn parameter(text: &str) -> Result<(), Rule> {
    const RULE: Rule = "it looks like `/path/name:version` or `/path/name:label`, of letters, digits and . - _ /";
    let name = match text.strip_prefix("arn:") {
        Some(arn) => arn.splitn(5, ':').nth(4).and_then(|rest| rest.strip_prefix("parameter")).ok_or(RULE)?,
        None => text,
    };
    let (name, selector) = name.split_once(':').map_or((name, None), |(name, selector)| (name, Some(selector)));
    let good = (1..=1011).contains(&name.len()) && only(name, "._-/");
    let good = good && selector.is_none_or(|label| (1..=100).contains(&label.len()) && only(label, "._-"));
    good.then_some(()).ok_or(RULE)
}

/// A container image's reference with a tag.
pub(crate) fn image(text: &str) -> Result<(), Rule> {
    const RULE: Rule = "it looks like `registry.example.com/repository:tag`";
    const SHORT: Rule = "it looks like `registry.example.com/repository:tag`; Docker Hub's short names are written out: \
                         `docker.io/library/nginx:tag` for `nginx`, `docker.io/team/name:tag` for `team/name`";
    if text.contains("://") {
        return Err(
            "an image has no scheme: it begins with the registry's host, such as `registry.example.com/repository:tag`",
        );
    }
    let is_host = |host: &str| host.contains(['.', ':']) || host == "localhost";
    if !text.split_once('/').is_some_and(|(first, _)| is_host(first)) {
        // What a task definition may say without a host is on Docker Hub.
        return Err(if only(text, "._-/:") && !text.is_empty() { SHORT } else { RULE });
    }
    let reference = ImageReference::parse(text).ok_or(RULE)?;
    let (host, port) = reference.registry.split_once(':').unwrap_or((&reference.registry, "443"));
    if !only(host, ".-") || host.is_empty() || port.parse::<u16>().is_err() || !only(&reference.repository, "._-/") {
        return Err(RULE);
    }
    let tag = &reference.tag;
    let good = tag.len() <= 128 && only(tag, "_.-") && !tag.starts_with(['.', '-']);
    good.then_some(())
        .ok_or("an image's tag has at most 128 of letters, digits and _ . -, and starts with a letter, a digit or _")
}

/// The URL of a probe.
pub(crate) fn probe(text: &str) -> Result<(), Rule> {
    let url = url::Url::parse(text).map_err(|_| "it looks like `https://app.example.com/health`")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("a probe asks over http or https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold credentials: this repository is no place for secrets");
    }
    Ok(())
}

/// A CloudWatch alarm's name.
pub(crate) fn alarm(text: &str) -> Result<(), Rule> {
    (1..=255).contains(&text.chars().count()).then_some(()).ok_or("an alarm's name has 1 to 255 characters")
}

/// A family of task definitions (`RegisterTaskDefinition`: "up to 255 letters, numbers, underscores, and hyphens").
pub(crate) fn family(text: &str) -> Result<(), Rule> {
    ((1..=255).contains(&text.len()) && only(text, "_-"))
        .then_some(())
        .ok_or("a family has 1 to 255 letters, digits, - and _")
}

/// An external id.
pub(crate) fn external_id(text: &str) -> Result<(), Rule> {
    ((2..=1224).contains(&text.len()) && only(text, "_+=,.@:/-"))
        .then_some(())
        .ok_or("an external id has 2 to 1224 of letters, digits and _ + = , . @ : / -")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_names_and_tags() {
        assert!(ami_id("ami-0123456789abcdef0").is_ok());
        assert!(ami_id("ami-01234567").is_ok());
        for bad in ["", "ami-", "ami-0123", "ami-0123456789ABCDEF0", "0123456789abcdef0"] {
            assert!(ami_id(bad).is_err(), "{bad}");
        }
        assert!(ami_name("frontend-1.4.2 (x86_64)").is_ok());
        for bad in ["", "ab", "frontend-*", "frontend-1.4.2+build"] {
            assert!(ami_name(bad).is_err(), "{bad}");
        }
        assert!(tag_value("").is_ok());
        assert!(tag_value("1.*").is_err());
        assert!(tag_key("").is_err());
    }

    #[test]
    fn parameters() {
        for good in
            ["/App/AmiId", "/App/AmiId:7", "AmiId:blue", "arn:aws:ssm:us-west-1:222222222222:parameter/App/AmiId:7"]
        {
            assert!(parameter(good).is_ok(), "{good}");
        }
        for bad in ["", ":7", "/App/AmiId:", "/App/AmiId:1:2", "/App/Ami Id", "arn:aws:s3:::bucket/App"] {
            assert!(parameter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn images() {
        for good in ["333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:backend.0.0.1_dev1", "localhost:5000/a/b:_x"]
        {
            assert!(image(good).is_ok(), "{good}");
        }
        for short in ["nginx", "nginx:1", "library/nginx:1", "team/api:v0"] {
            assert!(image(short).is_err_and(|rule| rule.contains("docker.io/library/nginx")), "{short}");
        }
        for scheme in ["https://a.b/c:1", "http://a.b/c:1", "docker://a.b/c:1"] {
            assert!(image(scheme).is_err_and(|rule| rule.contains("no scheme")), "{scheme}");
        }
        for bad in [
            "",
            "a.b:/c:1",
            ":443/c:1",
            "a.b:x/c:1",
            "a.b:1:2/c:1",
            "a b/c:1",
            "a.b/c",
            "a.b/c:",
            "a.b/c:.1",
            "a.b/c:1 2",
            "a.b/c:1+2",
        ] {
            assert!(image(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn probes() {
        assert!(probe("http://10.0.0.1:8080/health?full=1").is_ok());
        for bad in ["", "app.example.com/health", "ftp://example.com/", "https://user:word@example.com/", "https://"] {
            assert!(probe(bad).is_err(), "{bad}");
        }
    }
}
