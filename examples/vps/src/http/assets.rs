//! The web client, built by Vite and embedded in the binary, and the pages shown in its place.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

/// Whether the web client was built before this binary was.
pub fn present() -> bool {
    Dist::get("index.html").is_some()
}

/// How to get the web client, in one sentence.
pub const MISSING: &str = "The web client is missing from this build: install Node 20 or newer and run `cargo xtask up` again; the APIs work without it.";

/// The file at `path`, the page for `/`, or 404.
pub fn serve(path: &str) -> Response {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    match Dist::get(path) {
        Some(file) => {
            let kind = HeaderValue::from_static(content_type(path));
            // Vite puts a content hash in the names of everything under assets/.
            let cache =
                if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
            let headers =
                [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, HeaderValue::from_static(cache))];
            (headers, file.data).into_response()
        }
        None if path == "index.html" => page(StatusCode::OK, "Web client missing", MISSING),
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

/// A small page with a heading and a sentence. The texts are the server's own, never a visitor's.
pub fn page(status: StatusCode, title: &'static str, sentence: &'static str) -> Response {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <link rel=icon href=\"data:,\">\
         <title>LivOS: {title}</title><main><h1>{title}</h1><p>{sentence}</p></main></html>\n"
    );
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))], html)
        .into_response()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" | "webmanifest" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        _ => "application/octet-stream",
    }
}
