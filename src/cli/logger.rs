//! Where log lines go: the journal where systemd is listening, standard error elsewhere.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record, kv};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Installs the logger. Journal lines carry STUDY_KEY and JOB_ID as fields.
///
/// # Errors
/// If there is a logger already.
pub(crate) fn install() -> Result<(), log::SetLoggerError> {
    let journal = if connected_to_journal() { JournalLog::new().ok() } else { None };
    match journal {
        Some(journal) => {
            let journal = journal.with_syslog_identifier("hepalert".to_owned());
            log::set_boxed_logger(Box::new(Told(journal)))?;
        }
        None => log::set_boxed_logger(Box::new(Told(StandardError)))?,
    }
    log::set_max_level(LevelFilter::Info);
    Ok(())
}

/// All that is to be told.
struct Told<T>(T);

impl<T: Log> Log for Told<T> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_told(metadata) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_told(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// The crate that watches folders hears of each that goes twice, from itself and from the one above it, and
/// warns that it no longer knows it the second time: with its path, which may be a patient's name.
fn is_told(metadata: &Metadata<'_>) -> bool {
    metadata.target() != "notify::inotify" || metadata.level() <= Level::Error
}

/// One line per record: time, level, message, fields.
struct StandardError;

impl Log for StandardError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut fields = Fields(String::new());
        // Writing into a string does not fail.
        let _ = record.key_values().visit(&mut fields);
        let now = jiff::Timestamp::now();
        let Fields(fields) = fields;
        let line = format!("{now:.3} {:5} {}{fields}\n", record.level(), record.args());
        // Nobody is left to be told that standard error is closed.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

struct Fields(String);

impl<'kvs> kv::VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push_str(&format!(" {key}={value}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_folder_that_went_is_not_told_and_all_else_is() {
        let is_told =
            |target, level| is_told(&Metadata::builder().target(target).level(level).build());
        assert!(!is_told("notify::inotify", Level::Warn));
        assert!(is_told("notify::inotify", Level::Error) && is_told("notify", Level::Warn));
        assert!(is_told("hepalert::intake::folder::watch", Level::Warn));
    }
}
