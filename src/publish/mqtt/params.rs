//! How to reach the broker: names, files and what is read from them at every connect.

use std::fs;
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::contract::{ContractError, VERSION, check_base, check_device};
use hepalert_study::protocol::Protocol;
use hepalert_study::system;

/// How to reach the broker and what to be called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerParams {
    /// Broker's name or address.
    pub host: String,
    /// Broker's port.
    pub port: u16,
    /// Name of this client at the broker; one per device.
    pub client_id: String,
    /// First part of every topic.
    pub base_topic: String,
    /// This device: 1 to 32 of `a-z 0-9 -`.
    pub device: String,
    /// User name.
    pub username: Option<String>,
    /// File with the password; one line end is cut off. Read at every connect.
    pub password_file: Option<PathBuf>,
    /// Speak TLS.
    pub tls: Option<Tls>,
    /// Seconds between two signs of life.
    pub keep_alive_s: u16,
    /// Most messages under way.
    pub inflight: u16,
    /// Seconds between two health messages.
    pub health_s: u64,
    /// Listen to `cmd/{ping,ack,replay,reprocess}`. Off by default.
    pub commands: bool,
    /// Which MQTT is spoken.
    pub protocol: Protocol,
}

/// Files for TLS, all PEM, read at every connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the broker's certificate.
    pub ca_file: PathBuf,
    /// This device's certificate and private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl BrokerParams {
    /// The usual values for a broker and a device.
    pub fn new(host: &str, port: u16, device: &str) -> BrokerParams {
        BrokerParams {
            host: host.to_owned(),
            port,
            client_id: format!("hepalert-{device}"),
            base_topic: "hepalert".to_owned(),
            device: device.to_owned(),
            username: None,
            password_file: None,
            tls: None,
            keep_alive_s: 30,
            inflight: 16,
            health_s: 60,
            commands: false,
            protocol: Protocol::V5,
        }
    }

    /// Checks the names that become topics.
    ///
    /// # Errors
    /// [`ContractError::Name`].
    pub fn check(&self) -> Result<(), ContractError> {
        check_device(&self.device)?;
        check_base(&self.base_topic)
    }

    /// `<base>/v1/<device>`.
    pub fn root(&self) -> String {
        format!("{}/{VERSION}/{}", self.base_topic, self.device)
    }

    /// The topic of the last will.
    pub(super) fn availability(&self) -> String {
        format!("{}/availability", self.root())
    }

    /// The topics of commands, where they are listened to.
    pub(super) fn command_filter(&self) -> Option<String> {
        self.commands.then(|| format!("{}/cmd/+", self.root()))
    }

    /// Room for the window, the retained set and some replies.
    pub(super) fn capacity(&self) -> usize {
        usize::from(self.inflight) + 32
    }

    /// The password and the TLS files as they are now.
    ///
    /// # Errors
    /// The sentence for a file that cannot be read.
    pub(super) fn secrets(&self) -> Result<Secrets, String> {
        let password = match &self.password_file {
            Some(file) => Some(read(file, "mqtt.password_file")?.trim_ascii_end().to_vec()),
            None => None,
        };
        let Some(tls) = &self.tls else { return Ok(Secrets { password, tls: None }) };
        let ca = read(&tls.ca_file, "mqtt.ca_file")?;
        // The library would say it of no file.
        if !matches!(CertificateDer::pem_slice_iter(&ca).next(), Some(Ok(_))) {
            return Err(format!("mqtt.ca_file {}: no certificate in it", tls.ca_file.display()));
        }
        let client = match &tls.client {
            Some((certificate, key)) => {
                Some((read(certificate, "mqtt.cert_file")?, read(key, "mqtt.key_file")?))
            }
            None => None,
        };
        Ok(Secrets { password, tls: Some(TlsFiles { ca, client }) })
    }
}

/// What lies in the files that parameters name.
pub(super) struct Secrets {
    /// Without its line end.
    pub(super) password: Option<Vec<u8>>,
    /// For TLS.
    pub(super) tls: Option<TlsFiles>,
}

/// What lies in the files of [`Tls`].
pub(super) struct TlsFiles {
    /// The authority, PEM.
    pub(super) ca: Vec<u8>,
    /// This device's certificate and key, PEM.
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
}

fn read(file: &PathBuf, what: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| {
        format!("{}: {what} cannot be read: {}", file.display(), system::reason(&error))
    })
}
