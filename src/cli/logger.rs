//! Where log lines go: the journal where systemd is listening, standard error elsewhere.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record, kv};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Installs the logger. Journal lines carry STUDY_KEY and JOB_ID as fields.
///
/// # Errors
/// If there is a logger already.
pub fn install() -> Result<(), log::SetLoggerError> {
    let journal = if connected_to_journal() { JournalLog::new().ok() } else { None };
    match journal {
        Some(journal) => journal.with_syslog_identifier("hepalert".to_owned()).install()?,
        None => log::set_boxed_logger(Box::new(StandardError))?,
    }
    log::set_max_level(LevelFilter::Info);
    Ok(())
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
