//! Who is asking, and whether they may: sessions, the trusted proxy, origins, roles.
//!
//! Owns the one gate that every request of the interface passes. It must be asked for by a name of
//! the page's own (its `Host` says so), and a request that changes something must come from the
//! page itself (its `Origin` says so), whatever cookie it carries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::accounts::is_name;
use super::assets;
use super::page_state::{PageState, blocking};
use super::problem::Problem;
use crate::config::Role;
use hepalert_study::digest::Digest;

/// Where a program logs in: what it is given is no cookie.
pub(crate) const TOKEN: &str = "/auth/token";

/// From where a connection comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub SocketAddr);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// The user's name; `local` where nobody logs in.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// Whether the request came by way of the page's own address.
fn same_origin(site: &PageState, headers: &HeaderMap) -> bool {
    let Some(origin) = text(headers, ORIGIN.as_str()) else { return false };
    let scheme = if site.config.web.certificate.is_some() { "https" } else { "http" };
    let own = text(headers, HOST.as_str()).map(|host| format!("{scheme}://{host}"));
    own.as_deref() == Some(origin) || site.config.web.origins.iter().any(|known| known == origin)
}

/// Whether the page was asked for by a name of its own. A name that leads here is not enough:
/// another site's could be made to, and its pages would be of one origin with this one. Nobody can
/// do that to an address.
fn is_own_host(site: &PageState, headers: &HeaderMap) -> bool {
    let host = text(headers, HOST.as_str()).unwrap_or_default().to_ascii_lowercase();
    let end = host.rfind(']').map_or(0, |end| end + 1);
    let name = host[end..].find(':').map_or(host.as_str(), |colon| &host[..end + colon]);
    if ["localhost", "127.0.0.1", "[::1]"].contains(&name) {
        return true;
    }
    // Where nobody logs in, nobody has come from another machine.
    if !site.config.web.login {
        return false;
    }
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let is_named = |origin: &String| {
        let known = origin.split_once("://").map_or("", |(_, known)| known);
        known.eq_ignore_ascii_case(&host) || known.eq_ignore_ascii_case(name)
    };
    address.parse::<IpAddr>().is_ok()
        || site.host_name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
        || site.config.web.origins.iter().any(is_named)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The name of the session's cookie.
pub(crate) fn cookie_name(site: &PageState) -> &'static str {
    // `__Host-` binds it to this very host; browsers take that over TLS alone.
    if site.config.web.certificate.is_some() { "__Host-hepalert" } else { "hepalert" }
}

/// The session's text out of the cookies.
pub(crate) fn token(site: &PageState, headers: &HeaderMap) -> Option<String> {
    let name = cookie_name(site);
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|line| line.split(';')).filter_map(|p| p.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// The session's text that a program sends as a word of its own: no browser does so unasked, so that
/// no other site's page can.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    text(headers, AUTHORIZATION.as_str())?.strip_prefix("Bearer ")
}

/// The user whom a proxy has let in, if it knows the secret.
fn by_proxy(site: &PageState, headers: &HeaderMap) -> Option<Principal> {
    let secret = site.proxy_secret.as_ref()?;
    let said = text(headers, "x-hepalert-proxy-secret")?;
    // Digests are compared, so that time tells nothing of the secret.
    if Digest::of(said.as_bytes()) != Digest::of(secret.as_bytes()) {
        return None;
    }
    let name = text(headers, "x-hepalert-user").filter(|name| is_name(name))?;
    let role = text(headers, "x-hepalert-role").unwrap_or("viewer").parse().ok()?;
    Some(Principal { name: name.to_owned(), role })
}

/// Who asks, where no proxy says so.
///
/// # Errors
/// [`Problem`] if the accounts cannot be read.
pub(crate) async fn who(
    site: &Arc<PageState>,
    headers: &HeaderMap,
) -> Result<Option<Principal>, Problem> {
    if !site.config.web.login {
        // Where the page is one person's, edits are kept under that name.
        let name = if site.has_device { "local" } else { &site.config.device.name };
        let local = Principal { name: name.to_owned(), role: site.config.web.open_role };
        return Ok(Some(local));
    }
    let sent = bearer(headers).map(str::to_owned).or_else(|| token(site, headers));
    let Some(token) = sent else { return Ok(None) };
    let site = Arc::clone(site);
    let found =
        blocking(move || site.accounts.session(&token, Timestamp::now()).map_err(Problem::fault));
    Ok(found.await?.map(|(name, role)| Principal { name, role }))
}

/// The gate: finds out who asks, and turns away what other sites' pages send.
pub(crate) async fn gate(
    State(site): State<Arc<PageState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let changes = ![Method::GET, Method::HEAD].contains(request.method());
    let from_elsewhere = request.headers().contains_key(ORIGIN);
    let own = same_origin(&site, request.headers());
    let trusted = by_proxy(&site, request.headers());
    // Programs send no Origin, browsers always do; where a session's cookie counts, it must be there.
    let says_who = bearer(request.headers()).is_some() || request.uri().path() == TOKEN;
    let program = !from_elsewhere && (!site.config.web.login || says_who);
    let sent_here = own || trusted.is_some() || program;
    // Signs of life tell nothing: whoever watches may know the device by any name.
    let is_sign = ["/healthz", "/readyz"].contains(&request.uri().path());
    let is_own = is_sign || trusted.is_some() || is_own_host(&site, request.headers());
    let mut response = if !is_own {
        Problem::unknown_host().into_response()
    } else if (changes && !sent_here) || (from_elsewhere && !own) {
        Problem::wrong_origin().into_response()
    } else {
        let found = match trusted {
            Some(principal) => Ok(Some(principal)),
            None => who(&site, request.headers()).await,
        };
        match found {
            Ok(found) => {
                if let Some(principal) = found {
                    request.extensions_mut().insert(principal);
                }
                next.run(request).await
            }
            Err(problem) => problem.into_response(),
        }
    };
    assets::secure(response.headers_mut());
    response
}

/// Lets through who has at least this role.
pub(crate) async fn require(State(role): State<Role>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Principal>() {
        None => Problem::unauthenticated().into_response(),
        Some(principal) if principal.role < role => Problem::forbidden(role.name()).into_response(),
        Some(_) => next.run(request).await,
    }
}
