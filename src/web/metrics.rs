//! What machines ask: whether the program lives, whether it works, and its figures.
//!
//! Owns the names of the figures, which do not change between versions. None carries a label that
//! names a study.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::access::Principal;
use super::device::Pulse;
use super::page_state::{PageState, blocking};
use super::problem::Problem;
use super::queue::counts;
use super::queue_lines::Counts;
use crate::publish::messages::State as DeviceState;
use crate::system;

/// `GET /healthz`.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`.
pub(super) async fn readyz(State(site): State<Arc<PageState>>) -> Response {
    let pulse = site.device.pulse();
    if pulse.state == DeviceState::Online {
        return "ready\n".into_response();
    }
    let text = format!("{}: {}\n", pulse.state.name(), pulse.reasons.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// `GET /metrics`.
pub(super) async fn metrics(
    State(site): State<Arc<PageState>>,
    principal: Option<Extension<Principal>>,
) -> Result<Response, Problem> {
    if principal.is_none() && !site.config.web.open_metrics {
        return Err(Problem::unauthenticated());
    }
    let text = blocking(move || {
        let counts = counts(site.reader()?)?;
        let oldest = site.reader()?.backlog()?.oldest_unsent;
        let free = system::free_mib(&site.config.store.folder);
        Ok(figures(&site.device.pulse(), &counts, oldest, free, Timestamp::now()))
    })
    .await?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// The figures in Prometheus' text format.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP hepalert_{name} {help}\n# TYPE hepalert_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.0, "hepalert_{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// A label's value: nothing in it may end the quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}

fn figures(
    pulse: &Pulse,
    counts: &Counts,
    oldest_unsent: Option<Timestamp>,
    free_mib: Option<u64>,
    now: Timestamp,
) -> String {
    let mut text = Text(String::new());
    text.head("build_info", "gauge", "The program's version.");
    text.line("build_info", &format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0);
    text.one(
        "online",
        "gauge",
        "1 while nothing is wrong.",
        flag(pulse.state == DeviceState::Online),
    );
    text.head("degraded_reason", "gauge", "1 for each thing that is wrong.");
    for reason in &pulse.reasons {
        text.line("degraded_reason", &format!("{{reason=\"{}\"}}", quoted(reason)), 1.0);
    }
    text.head("studies", "gauge", "Studies in the store by the state of their jobs.");
    let states = [
        ("queued", counts.queued),
        ("running", counts.running),
        ("done", counts.done),
        ("rejected", counts.refused),
        ("dead", counts.dead),
        ("superseded", counts.superseded),
    ];
    for (state, count) in states {
        text.line("studies", &format!("{{state=\"{state}\"}}"), count as f64);
    }
    let open = counts.open_alerts as f64;
    text.one("open_alerts", "gauge", "Alerts that nobody has acknowledged.", open);
    let unsent = counts.unsent as f64;
    text.one("outbox_messages", "gauge", "Messages that the broker has not taken yet.", unsent);
    let age = oldest_unsent.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
    text.one("outbox_oldest_seconds", "gauge", "Age of the oldest of them.", age);
    let connected = flag(pulse.broker.connected);
    text.one("broker_connected", "gauge", "1 while the broker holds the connection.", connected);
    let taken = pulse.broker.accepted as f64;
    text.one("broker_messages_total", "counter", "Messages taken by the broker.", taken);
    if let Some(free) = free_mib {
        let bytes = free as f64 * 1_048_576.0;
        text.one("disk_free_bytes", "gauge", "Free space in the store.", bytes);
    }
    if let Some(test) = &pulse.self_test {
        let passed = flag(test.passed);
        text.one("selftest_passed", "gauge", "1 if the engine's last self-test passed.", passed);
        let at = test.at.as_second() as f64;
        text.one("selftest_timestamp_seconds", "gauge", "When that was.", at);
    }
    if !pulse.engines.is_empty() {
        text.head("engine_info", "gauge", "The networks in use.");
    }
    for used in &pulse.engines {
        let labels = format!(
            "{{role=\"{}\",id=\"{}\",version=\"{}\"}}",
            quoted(&used.role),
            quoted(&used.id),
            quoted(&used.version)
        );
        text.line("engine_info", &labels, 1.0);
    }
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::device::{AtRest, Device};

    #[test]
    fn every_figure_has_a_help_a_type_and_safe_labels() {
        let pulse = Pulse {
            state: DeviceState::Degraded,
            reasons: vec!["disk\"full\n".to_owned()],
            boot: 1,
            ..AtRest(Timestamp::UNIX_EPOCH).pulse()
        };
        let text = figures(&pulse, &Counts::default(), None, Some(1), Timestamp::UNIX_EPOCH);
        assert!(text.contains("hepalert_degraded_reason{reason=\"disk\\\"full \"} 1\n"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
            assert!(text.contains(&format!("# HELP {name} ")), "{line}");
        }
    }
}
