//! The daemon as the page asks for it: how it is now, and what `doctor` finds.
//!
//! Owns putting the two together. What `doctor` finds is handed in by who starts the daemon, since
//! its checks look at the daemon too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::health::{Health, Monitor};
use super::liveness::Stop;
use super::site::Site;
use crate::publish::LinkState;
use crate::web::{
    self, Check, Device, Engine, Handle, Line, Pulse, Receiving, ServeError, Step, Tested,
};

/// Looks at a device as `doctor` does, by its configuration's file.
pub(super) type Checks = Arc<dyn Fn(&Path) -> Vec<Check> + Send + Sync>;

/// What the page needs beside the daemon itself.
#[derive(Clone)]
pub struct Page {
    /// The file that the configuration was read from.
    pub config_file: PathBuf,
    /// Runs the checks of `doctor`, the networks excepted.
    pub checks: Checks,
}

struct Told {
    site: Arc<Site>,
    monitor: Monitor,
    stop: Stop,
    line: Arc<dyn Fn() -> LinkState + Send + Sync>,
    page: Page,
}

impl Device for Told {
    fn pulse(&self) -> Pulse {
        let health = self.monitor.now();
        let status = health.status(self.stop.is_set(), self.site.boot);
        let line = (self.line)();
        let now = Timestamp::now();
        let step = health.step().map(|at| Step {
            stage: at.stage.clone(),
            done: at.done,
            total: at.total,
            left_s: at.left_s(now).map(f64::round),
        });
        let engine = |used: &crate::publish::findings::EngineUsed| Engine {
            role: used.role.as_str().to_owned(),
            id: used.id.clone(),
            version: used.version.clone(),
            sha256: used.sha256.clone(),
        };
        Pulse {
            state: status.state,
            reasons: status.reasons.iter().map(|code| code.as_str().to_owned()).collect(),
            since: status.since.0,
            step,
            receiving: receiving(&health),
            moving_files: health.incoming().map(|one| one.moving_files).sum(),
            engines: health.engines().iter().map(engine).collect(),
            self_test: health.self_test().map(|t| Tested { at: t.at.0, passed: t.passed }),
            broker: Line {
                connected: line.connected,
                last_error: line.last_error,
                accepted: line.accepted,
            },
            boot: self.site.boot,
        }
    }

    fn checks(&self) -> Vec<Check> {
        (self.page.checks)(&self.page.config_file)
    }
}

/// Studies that come into any folder, the newest first.
fn receiving(health: &Health) -> Vec<Receiving> {
    let all = health.incoming().flat_map(|one| &one.studies);
    let mut lines: Vec<Receiving> = all
        .map(|(arriving, since)| Receiving {
            study_key: arriving.key.as_str().to_owned(),
            since: *since,
            files: arriving.files,
            series: arriving.series,
        })
        .collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.since));
    lines
}

/// Serves the page, if it is enabled.
///
/// # Errors
/// [`ServeError`]: an address that is taken, a certificate that cannot be read.
pub(super) fn serve(
    site: &Arc<Site>,
    (monitor, stop): (&Monitor, &Stop),
    line: Arc<dyn Fn() -> LinkState + Send + Sync>,
    page: Page,
) -> Result<Option<Handle>, ServeError> {
    if !site.config.web.enabled {
        return Ok(None);
    }
    let config_file = page.config_file.clone();
    let told =
        Told { site: Arc::clone(site), monitor: monitor.clone(), stop: stop.clone(), line, page };
    let (config, store) = (site.config.clone(), site.store.clone());
    let shared = web::PageState::new(config, &config_file, store, Arc::new(told));
    let shared = shared.map_err(|error| ServeError::System(std::io::Error::other(error)))?;
    web::start(shared).map(Some)
}
