//! JSON values to XML in the EC2 and Query protocols' shapes.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use serde_json::{Value, json};

use super::ApiError;

type Sink = Writer<Vec<u8>>;

/// An answer of EC2.
pub(super) fn ec2(operation: &str, namespace: &str, value: &Value, request_id: &str) -> io::Result<String> {
    document(&format!("{operation}Response"), Some(namespace), |sink| {
        element(sink, "requestId", &json!(request_id), "item")?;
        members(sink, value, "item")
    })
}

/// An answer of a Query service.
pub(super) fn query(operation: &str, namespace: &str, value: &Value, request_id: &str) -> io::Result<String> {
    document(&format!("{operation}Response"), Some(namespace), |sink| {
        element(sink, &format!("{operation}Result"), value, "member")?;
        element(sink, "ResponseMetadata", &json!({ "RequestId": request_id }), "member")
    })
}

/// An error of EC2.
pub(super) fn ec2_error(error: &ApiError, request_id: &str) -> io::Result<String> {
    document("Response", None, |sink| {
        let inner = json!({ "Error": { "Code": error.code, "Message": error.message } });
        element(sink, "Errors", &inner, "item")?;
        element(sink, "RequestID", &json!(request_id), "item")
    })
}

/// An error of a Query service.
pub(super) fn query_error(error: &ApiError, namespace: &str, request_id: &str) -> io::Result<String> {
    let side = if error.status >= 500 { "Receiver" } else { "Sender" };
    document("ErrorResponse", Some(namespace), |sink| {
        let inner = json!({ "Type": side, "Code": error.code, "Message": error.message });
        element(sink, "Error", &inner, "member")?;
        element(sink, "RequestId", &json!(request_id), "member")
    })
}

fn document(
    root: &str,
    namespace: Option<&str>,
    content: impl FnOnce(&mut Sink) -> io::Result<()>,
) -> io::Result<String> {
    let mut sink = Writer::new(Vec::new());
    let mut start = BytesStart::new(root);
    if let Some(namespace) = namespace {
        start.push_attribute(("xmlns", namespace));
    }
    sink.write_event(Event::Start(start))?;
    content(&mut sink)?;
    sink.write_event(Event::End(BytesEnd::new(root)))?;
    let body = String::from_utf8(sink.into_inner()).map_err(io::Error::other)?;
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}"))
}

fn members(sink: &mut Sink, value: &Value, item: &str) -> io::Result<()> {
    if let Value::Object(map) = value {
        for (name, value) in map {
            element(sink, name, value, item)?;
        }
    }
    Ok(())
}

/// One element; nothing for null.
fn element(sink: &mut Sink, name: &str, value: &Value, item: &str) -> io::Result<()> {
    if value.is_null() {
        return Ok(());
    }
    sink.write_event(Event::Start(BytesStart::new(name)))?;
    match value {
        Value::Object(_) => members(sink, value, item)?,
        Value::Array(all) => {
            for one in all {
                // EC2 names the plain group ids of a network interface by what they are.
                let tag = if name == "groupSet" && one.is_string() { "groupId" } else { item };
                element(sink, tag, one, item)?;
            }
        }
        Value::String(text) => sink.write_event(Event::Text(BytesText::new(text)))?,
        other => sink.write_event(Event::Text(BytesText::new(&other.to_string())))?,
    }
    sink.write_event(Event::End(BytesEnd::new(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ec2, query};

    #[test]
    fn lists_are_wrapped_and_text_is_escaped() {
        let value = json!({ "tagSet": [{ "key": "a", "value": "<&>" }], "none": null, "yes": true, "empty": [] });
        let body = ec2("DescribeX", "urn:x", &value, "r-1").unwrap();
        assert!(body.contains("<tagSet><item><key>a</key><value>&lt;&amp;&gt;</value></item></tagSet>"), "{body}");
        assert!(body.contains("<yes>true</yes>") && !body.contains("none") && body.contains("<empty></empty>"));
        let body = query("DoX", "urn:x", &json!({ "Names": ["a"] }), "r-1").unwrap();
        assert!(body.contains("<DoXResult><Names><member>a</member></Names></DoXResult>"), "{body}");
    }
}
