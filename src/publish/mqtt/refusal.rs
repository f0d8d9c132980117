//! Why a broker does not take a connection, whichever MQTT is spoken.

/// Why a broker does not take a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// A name that cannot be a topic, or a file that cannot be read.
    #[error("{0}")]
    Setup(String),
    /// No connection.
    #[error("{0}")]
    Network(String),
    /// The line is there, but nobody answers.
    #[error("no answer within {0} s")]
    Silent(u64),
    /// No agreement on TLS: certificates, names, or the other side speaks none.
    #[error("{0}")]
    Tls(String),
    /// The broker does not let this user in.
    #[error("the broker refuses user and password ({0})")]
    Credentials(String),
    /// The broker answers something else.
    #[error("{0}")]
    Protocol(String),
}

impl ProbeError {
    /// No agreement on TLS, without the names of the library's layers.
    pub fn tls(said: &str) -> ProbeError {
        let reason = said.trim_start_matches("TLS: ").trim_start_matches("I/O: ");
        let plain = crate::pem::plain_tls(reason);
        ProbeError::Tls(format!("TLS: {plain}"))
    }
}
