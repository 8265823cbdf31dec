//! The credential scope of a signed request. The signature itself is not verified.

/// What a signature's credential says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) access_key: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// Reads `Credential=AKID/date/region/service/aws4_request` from an `Authorization` header.
pub(crate) fn read_scope(authorization: &str) -> Option<Scope> {
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256")?;
    let credential = rest.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
    let mut parts = credential.rsplit('/');
    let (terminator, service, region, _date, access_key) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (terminator == "aws4_request").then(|| Scope {
        access_key: access_key.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Scope, read_scope};

    #[test]
    fn a_scope_is_read() {
        let header =
            "AWS4-HMAC-SHA256 Credential=AKIDX/20260101/eu-west-1/ecs/aws4_request, SignedHeaders=host, Signature=0";
        let expected = Scope { access_key: "AKIDX".into(), region: "eu-west-1".into(), service: "ecs".into() };
        assert_eq!(read_scope(header), Some(expected));
        assert_eq!(read_scope("Basic Zm9v"), None);
        assert_eq!(read_scope("AWS4-HMAC-SHA256 Credential=nonsense"), None);
    }
}
