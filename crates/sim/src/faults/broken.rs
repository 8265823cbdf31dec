//! Answers that don't arrive as they were meant.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, StreamExt as _};

use super::{Fault, Kind};

/// In how many pieces a slow answer comes.
const PIECES: usize = 8;
/// Long enough for what was written to have left, so that the other end sees half of an answer and not none.
const FLUSH: Duration = Duration::from_millis(5);

/// Sends an answer, or what a fault makes of it.
pub(crate) fn deliver(status: StatusCode, body: String, fault: Option<&Fault>) -> Response {
    let Some(fault) = fault else { return (status, body).into_response() };
    let body = Bytes::from(body);
    let half = body.slice(..body.len() / 2);
    let given = fault.status.and_then(|status| StatusCode::from_u16(status).ok());
    match fault.kind {
        // A body that breaks off before anything of it is there: not even the head is sent.
        Kind::Drop => Body::from_stream(stream::iter([Err::<Bytes, _>(broken())])).into_response(),
        Kind::Cut => {
            let end = stream::once(async {
                tokio::time::sleep(FLUSH).await;
                Err(broken())
            });
            (status, Body::from_stream(stream::iter([Ok(half)]).chain(end))).into_response()
        }
        Kind::Stall => {
            let start = stream::iter([Ok::<_, Infallible>(half)]);
            (status, Body::from_stream(start.chain(stream::pending()))).into_response()
        }
        Kind::Slow => {
            let pause = Duration::from_millis(fault.millis) / u32::try_from(PIECES).unwrap_or(1);
            let size = body.len().div_ceil(PIECES).max(1);
            let pieces: Vec<Bytes> = body.chunks(size).map(Bytes::copy_from_slice).collect();
            let slowly = stream::iter(pieces).then(move |piece| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Infallible>(piece)
            });
            (status, Body::from_stream(slowly)).into_response()
        }
        Kind::Garbage => (given.unwrap_or(StatusCode::OK), "\u{1}<{[ this is no answer \u{fffd}").into_response(),
        Kind::Gateway => {
            let status = given.unwrap_or(StatusCode::BAD_GATEWAY);
            let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
            let page = format!(
                "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
                 </body>\r\n</html>\r\n"
            );
            (status, page).into_response()
        }
        _ => (status, body).into_response(),
    }
}

/// Marks an answer as what its protocol says, unless a gateway has sent it.
pub(crate) fn label(response: &mut Response, content_type: &'static str, request_id: &str, fault: Option<&Fault>) {
    let gateway = fault.is_some_and(|fault| fault.kind == Kind::Gateway);
    let headers = response.headers_mut();
    let content_type = if gateway { "text/html" } else { content_type };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(request_id)
        && !gateway
    {
        headers.insert("x-amzn-requestid", id.clone());
        headers.insert("x-amz-request-id", id);
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the fault wants the connection closed here")
}
