//! Whether a broker takes a connection, asked once.

use std::time::Duration;

use super::params::BrokerParams;
use super::refusal::ProbeError;
use super::{v5, v311};
use hepalert_study::protocol::Protocol;

/// Whether a broker takes a connection with these parameters, within `patience`. The broker
/// sees another client id, so that a running daemon is not thrown out, and no last will
/// speaks of it.
///
/// # Errors
/// [`ProbeError`] with the broker's or the system's words.
pub fn probe(params: &BrokerParams, patience: Duration) -> Result<(), ProbeError> {
    let setup = |error: &dyn std::fmt::Display| ProbeError::Setup(error.to_string());
    params.check().map_err(|error| setup(&error))?;
    let mut params = params.clone();
    params.client_id = format!("{}-probe-{}", params.client_id, std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| setup(&error))?.block_on(async {
        let greeted = async {
            match params.protocol {
                Protocol::V5 => v5::greet(&params).await,
                Protocol::V311 => v311::greet(&params).await,
            }
        };
        let answered = tokio::time::timeout(patience, greeted);
        answered.await.unwrap_or(Err(ProbeError::Silent(patience.as_secs())))
    })
}
