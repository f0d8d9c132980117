//! 3D Slicer at the same cases: the calls of its MONAI Label module, carried over HTTP.
//!
//! Owns which paths these are and how much a client may send. What they answer is
//! `hepalert_labels::monai`'s. Its clients know no cookies of ours: where people log in, they ask for a
//! token by name and password, which is a session as any other, and send it along.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::access::{Peer, Principal};
use super::download::disposition;
use super::images::heavily;
use super::labels::{bench, reader_of};
use super::page_state::PageState;
use super::problem::Problem;
use super::session::{Login, begin};
use crate::config::Role;
use hepalert_labels::monai::{self, Request, Service};

/// Where its calls begin; none is a path of the page.
pub(super) const ROUTES: [&str; 8] = [
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

/// `POST /auth/token`: a form as of OAuth 2; what else is in it is passed over.
pub(super) async fn token(
    State(site): State<Arc<PageState>>,
    Extension(Peer(peer)): Extension<Peer>,
    body: String,
) -> Result<Json<Value>, Problem> {
    let (_, token) = begin(&site, peer, login(&body)?).await?;
    Ok(Json(json!({"access_token": token, "token_type": "bearer"})))
}

fn login(form: &str) -> Result<Login, Problem> {
    let bad = || Problem::bad("username and password are sent as a form");
    let uri: Uri = format!("/?{form}").parse().map_err(|_| bad())?;
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|_| bad())?;
    let field = |name: &str| {
        let found = pairs.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).ok_or_else(bad)
    };
    Ok(Login { name: field("username")?, password: field("password")? })
}

/// `GET /auth/` and `GET /auth/token/valid`: whether one must log in, and whether one has.
pub(super) async fn auth(
    State(site): State<Arc<PageState>>,
    principal: Option<Extension<Principal>>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    if uri.path() == "/auth/" {
        return Ok(Json(json!({"enabled": site.config.web.login})));
    }
    let Some(Extension(who)) = principal else { return Err(Problem::unauthenticated()) };
    Ok(Json(json!({"username": who.name})))
}

/// Answers a call.
pub(super) async fn answer(
    State(site): State<Arc<PageState>>,
    principal: Option<Extension<Principal>>,
    method: Method,
    uri: Uri,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Some(Extension(who)) = principal else { return Err(Problem::unauthenticated()) };
    let asks = [Method::GET, Method::HEAD].contains(&method);
    if !asks && !uri.path().starts_with("/activelearning/") && who.role < Role::Annotator {
        return Err(Problem::forbidden(Role::Annotator.name()));
    }
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
    fn a_client_logs_in_by_a_form() {
        let Login { name, password } =
            login("grant_type=&username=a.b&password=p%26%20w+x").ok().unwrap();
        assert_eq!((name.as_str(), password.as_str()), ("a.b", "p& w x"));
        for bad in ["", "username=a", "{\"username\": \"a\"}"] {
            assert!(login(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_are_decoded_as_forms_are() {
        let uri = Uri::from_static("/infer/m?image=a%20b+c%40vp&tag=&x&bad=%zz%4");
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("image", "a b c@vp"), ("tag", ""), ("x", ""), ("bad", "%zz%4")]);
    }
}
