//! Section `[dicom]`: what is received, which objects are made, where they go.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::unset;

/// Section `[dicom]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dicom {
    /// Address and port that images are received on; nothing is received if unset.
    #[serde(with = "unset")]
    pub listen: Option<String>,
    /// What this device is called, to senders and to archives.
    pub ae_title: String,
    /// AE titles that may send; all if there is none.
    pub allow_ae: Vec<String>,
    /// Addresses and networks that may send; all if there is none.
    pub allow_address: Vec<String>,
    /// Most associations at once.
    pub max_associations: usize,
    /// Largest object that is received, in MiB.
    pub max_instance_mib: u64,
    /// Longest silence of a peer, in s.
    pub timeout_s: u64,
    /// This device's certificate, PEM; what is received is then encrypted.
    #[serde(with = "unset")]
    pub server_cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(with = "unset")]
    pub server_key_file: Option<PathBuf>,
    /// Authority of senders' certificates, PEM; they need none if unset.
    #[serde(with = "unset")]
    pub client_ca_file: Option<PathBuf>,
    /// Answer requests for storage commitment.
    pub storage_commitment: bool,
    /// Hours that received images are kept at least, also once their report is stored; 0: until then.
    pub spool_keep_h: u32,
    /// Make key images.
    pub key_images: bool,
    /// Make an encapsulated PDF.
    pub pdf: bool,
    /// Segment all organs, and not the liver alone.
    pub organs: bool,
    /// Where results are sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<DicomTarget>,
}

/// One of `[[dicom.target]]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DicomTarget {
    /// Its name on the command line and in messages.
    pub name: String,
    /// C-STORE: name or address.
    #[serde(with = "unset")]
    pub host: Option<String>,
    /// C-STORE: port.
    pub port: u16,
    /// C-STORE: what the archive is called.
    #[serde(with = "unset")]
    pub ae_title: Option<String>,
    /// C-STORE: encrypt.
    pub tls: bool,
    /// Results do not go there: it sends images, and is told of storage commitment.
    pub commitment_only: bool,
    /// STOW-RS: as `https://pacs/dicom-web`.
    #[serde(with = "unset")]
    pub url: Option<String>,
    /// STOW-RS: file that holds the bearer token.
    #[serde(with = "unset")]
    pub token_file: Option<PathBuf>,
    /// Authority of the archive's certificate, PEM.
    #[serde(with = "unset")]
    pub ca_file: Option<PathBuf>,
    /// This device's certificate for it, PEM.
    #[serde(with = "unset")]
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(with = "unset")]
    pub key_file: Option<PathBuf>,
}

impl Default for Dicom {
    fn default() -> Dicom {
        Dicom {
            listen: None,
            ae_title: "HEPALERT".to_owned(),
            allow_ae: Vec::new(),
            allow_address: Vec::new(),
            max_associations: 20,
            max_instance_mib: 512,
            timeout_s: 30,
            server_cert_file: None,
            server_key_file: None,
            client_ca_file: None,
            storage_commitment: true,
            spool_keep_h: 24,
            key_images: true,
            pdf: false,
            organs: false,
            target: Vec::new(),
        }
    }
}

impl Dicom {
    /// The targets that results are sent to.
    pub fn archives(&self) -> impl Iterator<Item = &DicomTarget> {
        self.target.iter().filter(|target| !target.commitment_only)
    }

    /// The names of all targets.
    pub fn target_names(&self) -> Vec<&str> {
        self.target.iter().map(|target| target.name.as_str()).collect()
    }

    /// The target of a name.
    pub fn target(&self, name: &str) -> Option<&DicomTarget> {
        self.target.iter().find(|target| target.name == name)
    }
}
