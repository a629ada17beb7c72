//! Verifies a delivery as GitHub signs it: `cargo run -p livos-integrations --example verify`.

use std::io::Write;

use bytes::Bytes;
use http::Request;
use livos_core::{
    secret::Secret,
    time::{Clock, SystemClock},
};
use livos_integrations::webhook::{GitHub, Verifier};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let github = GitHub::new([Secret::new("It's a Secret to Everybody")])?;
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let request = Request::post("/hooks/github").header("x-hub-signature-256", signature);
    let (head, ()) =
        request.header("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958").body(())?.into_parts();
    for body in ["Hello, World!", "Hello, Mallory!"] {
        let answer = match github.verify(SystemClock.now(), &head, Bytes::from_static(body.as_bytes())).await
        {
            Ok(delivery) => format!("verified delivery {}", delivery.id()),
            Err(error) => format!("refused with {}: {error}", github.policy().refusal(&error)),
        };
        writeln!(std::io::stdout(), "{body} {answer}")?;
    }
    Ok(())
}
