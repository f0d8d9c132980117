//! Logging in and out, and who one is.
//!
//! Owns the cookie. Refuses to say whether a name exists: a wrong name and a wrong password are
//! answered alike, in the same time.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use jiff::Timestamp;
use log::{info, warn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::{Peer, Principal, cookie_name, token};
use super::page_state::{PageState, blocking};
use super::problem::Problem;
use crate::config::Role;

/// Who is logged in.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Session {
    /// The user; none where nobody is logged in.
    user: Option<String>,
    /// What they may do.
    role: Option<Role>,
    /// Whether one can log in and out here.
    login: bool,
    /// Whether there is a device with a queue; else there are cases to label alone.
    has_device: bool,
    /// Whether there are cases to label.
    has_cases: bool,
    /// The device's name.
    device: String,
    /// The program's version.
    version: String,
}

/// What is sent to log in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The user's name.
    pub name: String,
    /// The password.
    pub password: String,
}

fn of(site: &PageState, principal: Option<&Principal>) -> Session {
    Session {
        user: principal.map(|found| found.name.clone()),
        role: principal.map(|found| found.role),
        login: site.config.web.login,
        has_device: site.has_device,
        has_cases: site.bench.is_some(),
        device: site.config.device.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// `GET /api/v1/session`.
pub(super) async fn show(
    State(site): State<Arc<PageState>>,
    principal: Option<Extension<Principal>>,
) -> Json<Session> {
    Json(of(&site, principal.as_deref()))
}

/// `POST /api/v1/session`.
pub(super) async fn log_in(
    State(site): State<Arc<PageState>>,
    Extension(Peer(peer)): Extension<Peer>,
    Json(sent): Json<Login>,
) -> Result<Response, Problem> {
    let (principal, token) = begin(&site, peer, sent).await?;
    let seconds = i64::from(site.config.web.session_hours) * 3600;
    let cookie = cookie(&site, &token, seconds);
    let body = Json(of(&site, Some(&principal)));
    Ok((AppendHeaders([(SET_COOKIE, cookie)]), body).into_response())
}

/// Begins a session for a name and a password: who it is, and the session's text.
///
/// # Errors
/// [`Problem`] if they are wrong, or it was tried too often.
pub(super) async fn begin(
    site: &Arc<PageState>,
    peer: SocketAddr,
    sent: Login,
) -> Result<(Principal, String), Problem> {
    if !site.config.web.login {
        return Err(Problem::bad("nobody logs in here: web.login is false"));
    }
    let now = site.began.elapsed();
    let named: String = sent.name.chars().take(64).collect();
    {
        let throttle = site.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = throttle.wait(&named, peer.ip(), now) {
            return Err(Problem::too_many(wait.as_secs().max(1)));
        }
    }
    let shared = Arc::clone(site);
    let Login { name, password } = sent;
    let hours = site.config.web.session_hours;
    // One at a time: hashing a password takes a core.
    let permit = site.logins.acquire().await.map_err(Problem::fault)?;
    let checked = blocking(move || {
        let role = shared.accounts.check(&name, &password).map_err(Problem::fault)?;
        let Some(role) = role else { return Ok(None) };
        let token = shared.accounts.begin(&name, hours, Timestamp::now());
        Ok(Some((Principal { name, role }, token.map_err(Problem::fault)?)))
    });
    let checked = checked.await?;
    drop(permit);
    let mut throttle = site.throttle.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((principal, token)) = checked else {
        throttle.failed(&named, peer.ip(), site.began.elapsed());
        warn!("the page: a login from {} was refused", peer.ip());
        let next = "look at the name and the password; `hepalert web user add` sets another one";
        let message = "name or password is wrong";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "login_refused", message, next));
    };
    throttle.passed(&named, peer.ip(), site.began.elapsed());
    drop(throttle);
    info!("the page: {} has logged in as {}", principal.name, principal.role.name());
    Ok((principal, token))
}

/// `DELETE /api/v1/session`.
pub(super) async fn log_out(
    State(site): State<Arc<PageState>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(token) = token(&site, &headers) {
        let shared = Arc::clone(&site);
        blocking(move || shared.accounts.end(&token).map_err(Problem::fault)).await?;
    }
    let gone = cookie(&site, "", 0);
    Ok((AppendHeaders([(SET_COOKIE, gone)]), Json(of(&site, None))).into_response())
}

fn cookie(site: &PageState, token: &str, seconds: i64) -> String {
    let secure = if site.config.web.certificate.is_some() { "; Secure" } else { "" };
    let name = cookie_name(site);
    format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}
