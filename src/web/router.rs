//! The routes: the interface by its table, the page's own files, and the gate before both.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};

use super::access::{TOKEN, gate};
use super::api::{Api, api};
use super::page_state::PageState;
use super::problem::Problem;
use super::{assets, monai, openapi};

/// Most that is told on of an answer of axum's own, which names the place of a fault.
const MAX_SAID: usize = 1 << 10;

/// All of them.
pub(super) fn router(site: Arc<PageState>) -> Router {
    let Api { router, .. } = api();
    let router =
        monai::ROUTES.iter().fold(router, |router, path| router.route(path, any(monai::answer)));
    router
        .route("/auth/", get(monai::auth))
        .route("/auth/token/valid", get(monai::auth))
        .route(TOKEN, post(monai::token))
        .route("/api/openapi.json", get(openapi::serve))
        .fallback(get(assets::serve))
        .layer(from_fn(in_our_words))
        .layer(from_fn_with_state(Arc::clone(&site), gate))
        .with_state(site)
}

/// Answers of axum's own (a wrong method, a body that is no JSON) are told as ours are.
async fn in_our_words(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let plain = response
        .headers()
        .get(CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !status.is_client_error() || !plain {
        return response;
    }
    let next = "/api/openapi.json says what is expected";
    let said = to_bytes(response.into_body(), MAX_SAID).await.unwrap_or_default();
    let message = match str::from_utf8(&said) {
        Ok(said) if !said.is_empty() => said.to_owned(),
        _ => status.canonical_reason().unwrap_or("refused").to_lowercase(),
    };
    Problem::new(status, "bad_request", message, next).into_response()
}
