//! What is told when something is refused: a code, a sentence, the next step.
//!
//! Owns the words and the HTTP status of each. Refuses to tell paths or what the system said: that
//! is for the log.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use log::error;
use schemars::JsonSchema;
use serde::Serialize;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    body: ProblemBody,
    retry_after_s: Option<u64>,
}

/// A refusal as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct ProblemBody {
    /// A name for scripts.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub next: String,
}

impl Problem {
    /// A refusal with this status.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>, next: &str) -> Problem {
        let body =
            ProblemBody { code: code.to_owned(), message: message.into(), next: next.to_owned() };
        Problem { status, body, retry_after_s: None }
    }

    /// Nobody is logged in.
    pub fn unauthenticated() -> Problem {
        let next = "log in; a session ends after some hours and when a password is changed";
        Problem::new(StatusCode::UNAUTHORIZED, "not_logged_in", "nobody is logged in", next)
    }

    /// The role is not enough.
    pub fn forbidden(needed: &str) -> Problem {
        let message = format!("this needs the role {needed}");
        let next = "ask an administrator: `hepalert web user add` gives a role";
        Problem::new(StatusCode::FORBIDDEN, "role_too_low", message, next)
    }

    /// The request comes from another site's page.
    pub fn wrong_origin() -> Problem {
        let next = "open the page under its own address, or name it in web.origins";
        let message = "the request was made by another page";
        Problem::new(StatusCode::FORBIDDEN, "wrong_origin", message, next)
    }

    /// The page was asked for by a name that is none of its own.
    pub fn unknown_host() -> Problem {
        let next = "open it by the device's address, or name what stands in the browser's address \
                    bar in web.origins, as https://ct-1.hospital:8443";
        let message = "this page is not known by that name";
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message, next)
    }

    /// There is no such thing.
    pub fn not_found(what: &str) -> Problem {
        let next = "go back to the list; what is older than store.keep_days is removed";
        Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"), next)
    }

    /// What was sent makes no sense.
    pub fn bad(message: impl Into<String>) -> Problem {
        let next = "/api/openapi.json says what is expected";
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", message, next)
    }

    /// Another state than this step needs.
    pub fn conflict(code: &str, message: impl Into<String>, next: &str) -> Problem {
        Problem::new(StatusCode::CONFLICT, code, message, next)
    }

    /// Too many tries.
    pub fn too_many(seconds: u64) -> Problem {
        let next = "wait, then try again";
        let message = format!("too many tries; the next one is taken in {seconds} s");
        let status = StatusCode::TOO_MANY_REQUESTS;
        Problem {
            retry_after_s: Some(seconds),
            ..Problem::new(status, "too_many_tries", message, next)
        }
    }

    /// This program or its machine failed; the reason goes to the log.
    pub fn fault(reason: impl std::fmt::Display) -> Problem {
        error!("the page: {reason}");
        let next = "see the daemon's log, then try again";
        let message = "the device could not answer";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "device_failed", message, next)
    }
}

impl From<crate::store::StoreError> for Problem {
    fn from(error: crate::store::StoreError) -> Problem {
        Problem::fault(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
