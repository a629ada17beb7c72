//! What a failed request says, and whether it may have been received.

use std::{error::Error, io};

/// An error and its causes as one text. A cause that its parent repeats is left out.
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1) {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}

/// True if no connection was made, so the request cannot have been received and may be repeated
/// safely. Recognises a refused connection, and with the feature `tls` every connect error of
/// hyper's client; of other errors it says false, because the request may have been received.
pub fn never_left(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let refused = cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        refused || is_connect_error(cause)
    })
}

#[cfg(feature = "tls")]
fn is_connect_error(error: &(dyn Error + 'static)) -> bool {
    use hyper_util::client::legacy;
    error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
}

#[cfg(not(feature = "tls"))]
fn is_connect_error(_: &(dyn Error + 'static)) -> bool {
    false
}

/// The error, its cause, the cause of that, and so on.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the request failed")]
    struct Failed(#[source] io::Error);

    #[test]
    fn a_failure_is_told_with_its_causes() {
        let failed = Failed(io::Error::other("the cable is cut"));
        assert_eq!(describe(&failed), "the request failed: the cable is cut");
        assert_eq!(describe(&io::Error::other("the cable is cut")), "the cable is cut");
    }

    #[test]
    fn only_a_request_without_a_connection_never_left() {
        assert!(never_left(&Failed(io::ErrorKind::ConnectionRefused.into())));
        assert!(!never_left(&Failed(io::ErrorKind::ConnectionReset.into())));
        assert!(!never_left(&Failed(io::ErrorKind::TimedOut.into())));
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn a_request_whose_tls_handshake_failed_never_left() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let client = crate::http::HttpClient::over_tls().unwrap();
        let request = http::Request::get(address).body(bytes::Bytes::new()).unwrap();
        let error = client.send(request).await.unwrap_err();
        assert!(never_left(error.as_ref()), "{}", describe(error.as_ref()));
    }
}
