//! The HTTP client that every provider client is given, as one type, with what all of them need:
//! bodies that are read up to a bound, `Retry-After`, and failures as one line of text.
//!
//! A caller brings any tower service from request to response: hyper's client, a stack of layers
//! around it, or a simulated provider in a test. The service must not follow redirects, because it
//! would carry credentials to another server.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use livos_core::http::{HttpClient, ResponseBody};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! // In an application: `HttpClient::over_tls()?` (feature `tls`), or hyper's client.
//! let echo = tower::service_fn(|request: Request<Bytes>| async move {
//!     Ok::<_, Infallible>(Response::new(ResponseBody::from(request.into_body())))
//! });
//! let client = HttpClient::new(echo);
//! let response = client.send(Request::post("https://a.example/").body(Bytes::from("hello"))?).await?;
//! assert_eq!(response.into_body().read(64 * 1024).await?, "hello");
//! # Ok(())
//! # }
//! ```

mod body;
mod client;
mod failure;
mod retry_after;
#[cfg(feature = "tls")]
mod tls;

pub use self::{
    body::{ReadError, ResponseBody},
    client::HttpClient,
    failure::{describe, never_left},
    retry_after::retry_after,
};

/// Any error of a service or a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
