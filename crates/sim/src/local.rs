//! The simulator without a socket, for tests that make thousands of them in one process.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, Response};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::http::Simulator;
use super::{Options, SimError, World, http, router, stand};

/// A simulator that is handed requests by function. Its time passes by the clock in its options and only when it is
/// asked something.
#[derive(Debug)]
pub struct Local {
    stand: Arc<Simulator>,
    control: TowerToHyperService<axum::Router>,
}

impl Local {
    /// Sets one up. `listen` in the options means nothing to it.
    ///
    /// # Errors
    ///
    /// If its state file can't be used.
    pub fn new(world: World, options: Options) -> Result<Self, SimError> {
        let stand = stand(world, options)?;
        let control = TowerToHyperService::new(router(&stand));
        Ok(Self { stand, control })
    }

    /// Answers one request: an AWS call at `/`, or one of the control API. A body that ends with an error stands for a
    /// connection that broke there.
    pub async fn call(&self, request: Request<Bytes>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        if parts.uri.path() == "/" {
            return http::serve(State(Arc::clone(&self.stand)), parts.headers, body).await;
        }
        match self.control.call(Request::from_parts(parts, Body::from(body))).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
