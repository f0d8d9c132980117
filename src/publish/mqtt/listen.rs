//! A look at a broker: what it keeps of some topics, and what comes while one listens.
//!
//! Owns the listening of a client that only listens, under a name of its own. Refuses to publish.

use std::time::Duration;

use super::heard::Heard;
use super::params::BrokerParams;
use super::refusal::ProbeError;
use super::{v5, v311};
use hepalert_study::protocol::Protocol;

/// Listens to topics for so long; `take` is told of each message.
///
/// # Errors
/// [`ProbeError`] if the broker cannot be reached or ends the connection.
pub fn listen(
    params: &BrokerParams,
    filters: &[String],
    span: Duration,
    take: &mut dyn FnMut(Heard),
) -> Result<(), ProbeError> {
    let setup = |error: &dyn std::fmt::Display| ProbeError::Setup(error.to_string());
    let mut params = params.clone();
    params.client_id = format!("{}-fleet-{}", params.client_id, std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| setup(&error))?.block_on(async {
        let mut greeted = false;
        let listening = async {
            match params.protocol {
                Protocol::V5 => v5::hear(&params, filters, &mut greeted, take).await,
                Protocol::V311 => v311::hear(&params, filters, &mut greeted, take).await,
            }
        };
        match tokio::time::timeout(span, listening).await {
            Ok(ended) => ended,
            Err(_) if greeted => Ok(()),
            Err(_) => Err(ProbeError::Silent(span.as_secs())),
        }
    })
}
