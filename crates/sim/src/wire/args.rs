//! Typed reading of a call's parameters, and paging.

use jiff::Timestamp;
use serde_json::Value;

use super::{ApiError, Service};

/// The largest step between a paging token and the position it stands for; makes tokens look opaque.
const TOKEN_BASE: usize = 0x5eed_0000;

/// Parameters of a call, or a structure within them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Args<'a> {
    pub(crate) service: Service,
    pub(crate) value: &'a Value,
}

/// A scalar as text, whatever its JSON type.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// An integer, also from text.
pub(crate) fn as_int(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Wall-clock milliseconds as the XML protocols write them.
pub(crate) fn iso(wall: i64) -> Value {
    Timestamp::from_millisecond(wall).map_or(Value::Null, |at| Value::String(format!("{at:.3}")))
}

/// Wall-clock milliseconds as the JSON protocols write them.
pub(crate) fn epoch(wall: i64) -> Value {
    Value::from(wall as f64 / 1000.0)
}

impl<'a> Args<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A structure within.
    pub(crate) fn at(self, name: &str) -> Option<Self> {
        self.get(name).map(|value| Self { service: self.service, value })
    }

    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    pub(crate) fn required(self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| ApiError::missing(self.service, name))
    }

    /// An integer, which has 32 bits in AWS's models.
    pub(crate) fn int(self, name: &str) -> Result<Option<i64>, ApiError> {
        let malformed = || ApiError::invalid(self.service, format!("Invalid value for parameter {name}."));
        let short = |value: &i64| i32::try_from(*value).is_ok();
        self.get(name).map(|value| as_int(value).filter(short).ok_or_else(malformed)).transpose()
    }

    /// An integer within limits.
    pub(crate) fn bounded(self, name: &str, least: i64, most: i64) -> Result<Option<i64>, ApiError> {
        let value = self.int(name)?;
        match value {
            Some(value) if value < least || value > most => Err(ApiError::invalid(
                self.service,
                format!("Value ({value}) for parameter {name} is invalid. It must be between {least} and {most}."),
            )),
            value => Ok(value),
        }
    }

    pub(crate) fn flag(self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        value.as_bool().or_else(|| value.as_str().map(|text| text == "true"))
    }

    /// A list; empty if it isn't there.
    pub(crate) fn list(self, name: &str) -> &'a [Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// A list of strings.
    pub(crate) fn texts(self, name: &str) -> Vec<String> {
        self.list(name).iter().filter_map(as_text).collect()
    }
}

/// Cuts a page out of `all`. `default` is the size without one asked for, `most` the largest.
pub(crate) fn page<T>(
    all: Vec<T>,
    args: Args<'_>,
    size_name: &str,
    token_name: &str,
    default: usize,
    most: usize,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let most_asked = i64::try_from(most).unwrap_or(i64::MAX);
    let size = args.bounded(size_name, 1, most_asked)?.and_then(|size| usize::try_from(size).ok()).unwrap_or(default);
    let start = match args.text(token_name).filter(|token| !token.is_empty()) {
        None => 0,
        Some(token) => usize::from_str_radix(token, 16)
            .ok()
            .and_then(|token| token.checked_sub(TOKEN_BASE))
            .ok_or_else(|| match args.service {
                Service::AutoScaling => ApiError::bad("InvalidNextToken", "The token is not valid."),
                service => ApiError::invalid(service, "Invalid token."),
            })?,
    };
    let end = start.saturating_add(size);
    let next = (all.len() > end).then(|| format!("{:x}", end + TOKEN_BASE));
    Ok((all.into_iter().skip(start).take(size).collect(), next))
}
