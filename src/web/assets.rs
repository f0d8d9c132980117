//! What the page consists of: files packed into the program when it was built, sent as they are.
//!
//! Owns their headers: nothing from elsewhere is loaded, and no page of another site may frame this
//! one. Refuses every name that is not in the table, so that no path can lead out of it.

use std::io::Read;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// One file of the page.
struct Asset {
    name: &'static str,
    tag: &'static str,
    gzip: &'static [u8],
}

/// By name; `build.rs` writes it.
const PAGE: &[Asset] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The viewer draws letters from a picture in its own code: `data:` is for that alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
                      data: blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Headers of every answer.
pub(super) const SAFE: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Puts the headers of every answer in.
pub(super) fn secure(headers: &mut HeaderMap) {
    for (name, value) in SAFE {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// A file of the page by the path of a request.
pub(super) async fn serve(uri: Uri, headers: HeaderMap) -> Response {
    let name = match uri.path() {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    match PAGE.iter().find(|asset| asset.name == name) {
        Some(asset) => asset.response(&headers),
        None => Problem::not_found("page").into_response(),
    }
}

impl Asset {
    fn response(&self, asked: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.tag);
        let known = asked.get(IF_NONE_MATCH).is_some_and(|had| had.as_bytes() == tag.as_bytes());
        let mut response = match known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => self.body(asked),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(ETAG, tag);
        }
        response
    }

    fn body(&self, asked: &HeaderMap) -> Response {
        let takes_gzip = asked
            .get(ACCEPT_ENCODING)
            .and_then(|accepts| accepts.to_str().ok())
            .is_some_and(|accepts| accepts.contains("gzip"));
        let kind = match self.name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        };
        let kind = (CONTENT_TYPE, HeaderValue::from_static(kind));
        if takes_gzip {
            let gzip = (CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            return ([kind, gzip], Body::from(self.gzip)).into_response();
        }
        let mut plain = Vec::new();
        match flate2::read::GzDecoder::new(self.gzip).read_to_end(&mut plain) {
            Ok(_) => ([kind], plain).into_response(),
            Err(error) => Problem::fault(error).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
        assert!(PAGE.iter().any(|asset| asset.name == "index.html"));
        let mut total = 0;
        for asset in PAGE {
            let mut text = String::new();
            flate2::read::GzDecoder::new(asset.gzip).read_to_string(&mut text).unwrap();
            total += asset.gzip.len();
            if asset.name.starts_with("vendor/") {
                continue;
            }
            for elsewhere in ["http://", "https://", "//cdn", "@import", "style=\"", "onclick="] {
                let own = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!own.contains(elsewhere), "{}: {elsewhere}", asset.name);
            }
        }
        assert!(total < 700_000, "the page takes {total} bytes of the program");
    }
}
