//! 3D Slicer at the same cases: the calls of its MONAI Label module, carried over HTTP.
//!
//! Owns which paths these are and how much a client may send. What they answer is
//! `hepalert_labels::monai`'s. Its clients know no cookies of ours: where people log in, it is closed.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::access::Principal;
use super::attached::disposition;
use super::images::heavily;
use super::labels::{bench, reader_of};
use super::problem::Problem;
use super::site::Site;
use hepalert_labels::monai::{self, Request, Service};

/// Where its calls begin; none is a path of the page.
pub const ROUTES: [&str; 9] = [
    "/auth/",
    "/info/",
    "/activelearning/{strategy}",
    "/datastore",
    "/datastore/",
    "/datastore/{what}",
    "/infer/{model}",
    "/train/",
    "/session/",
];
/// Most that a client sends: a label map that is not compressed.
const MAX_BODY: usize = 256 << 20;

/// Answers a call.
pub async fn answer(
    State(site): State<Arc<Site>>,
    principal: Option<Extension<Principal>>,
    method: Method,
    uri: Uri,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Some(Extension(who)) = principal else { return Err(Problem::unauthenticated()) };
    let reader = reader_of(&who)?;
    let body = to_bytes(body, MAX_BODY).await;
    let body = body.map_err(|_| Problem::bad("the body broke off or is too large"))?;
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let told = heavily(&site, move |site| {
        let bench = bench(site)?;
        let folder = bench.folder()?;
        let service = Service {
            folder: &folder,
            reader: &reader,
            models: bench.models(),
            version: env!("CARGO_PKG_VERSION"),
            now: Timestamp::now(),
        };
        let request = Request {
            method: method.as_str(),
            path: uri.path(),
            query: &query,
            content_type: &kind,
            body: &body,
        };
        Ok(service.answer(&request, &mut |_, case, image| bench.infer(case, image)))
    });
    sent(told.await?)
}

fn sent(told: monai::Response) -> Result<Response, Problem> {
    let status = StatusCode::from_u16(told.status).map_err(Problem::fault)?;
    let mut response = (status, told.body).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_str(&told.content_type).map_err(Problem::fault)?;
    headers.insert(CONTENT_TYPE, kind);
    if let Some(name) = told.file_name {
        headers.insert(CONTENT_DISPOSITION, disposition(&name)?);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_as_forms_are() {
        let uri = Uri::from_static("/infer/m?image=a%20b+c%40vp&tag=&x&bad=%zz%4");
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("image", "a b c@vp"), ("tag", ""), ("x", ""), ("bad", "%zz%4")]);
    }
}
