//! Section `[web]`: the page on the device, who may see it, and from where.
//!
//! Owns its keys, their defaults and what cannot go together: what leaves this machine is
//! encrypted, and nobody is let in without a name unless that was asked for and stays here.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::unset;

/// Section `[web]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Serve the page.
    pub enabled: bool,
    /// Address and port.
    pub address: String,
    /// Users and passwords are asked for; without only on this machine itself.
    pub login: bool,
    /// What everybody is where nobody logs in: `viewer`, `annotator` or `admin`.
    pub open_role: Role,
    /// The page's certificate, PEM.
    #[serde(with = "unset")]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(with = "unset")]
    pub certificate_key: Option<PathBuf>,
    /// File with the secret by which a proxy in front is known.
    #[serde(with = "unset")]
    pub proxy_secret_file: Option<PathBuf>,
    /// Other names that a browser may know this page by, as `https://name:port`.
    pub origins: Vec<String>,
    /// Hours after which a user logs in again.
    pub session_hours: u32,
    /// Figures for Prometheus without a login.
    pub open_metrics: bool,
    /// Keep what the page needs to redraw lesions at any gain with every result.
    pub keep_gains: bool,
    /// Folder of cases to be labelled, if any.
    #[serde(with = "unset")]
    pub labels_folder: Option<PathBuf>,
    /// Most space for images made ready for browsers, in MiB.
    pub cache_mib: u64,
}

/// What somebody may do; each may what those before it may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// May look, and change nothing.
    Viewer,
    /// And change labels, and put studies back into the queue.
    Annotator,
    /// And install engines.
    Admin,
}

impl Role {
    /// As it is written.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Default for Web {
    fn default() -> Web {
        Web {
            enabled: false,
            address: "127.0.0.1:8790".to_owned(),
            login: true,
            open_role: Role::Viewer,
            certificate: None,
            certificate_key: None,
            proxy_secret_file: None,
            origins: Vec::new(),
            session_hours: 12,
            open_metrics: false,
            keep_gains: true,
            labels_folder: None,
            cache_mib: 1024,
        }
    }
}

impl Web {
    /// Where it listens; a configuration that was read has an address that is one.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.address.parse().ok()
    }

    /// Whether only this machine itself can reach it.
    pub fn is_local(&self) -> bool {
        self.socket().is_some_and(|at| at.ip().is_loopback())
    }

    /// What cannot work: its key, another key that it does not go together with, and why.
    pub(super) fn fault(&self) -> Option<(&'static str, Option<&'static str>, &'static str)> {
        let tls = self.certificate.is_some();
        let is_origin = |origin: &String| {
            let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '@']))
        };
        let rules = [
            (self.socket().is_some(), "web.address", "an address and a port, as 127.0.0.1:8790"),
            (
                self.login || self.is_local(),
                "web.login",
                "true, since web.address can be reached from other machines",
            ),
            (
                tls || self.is_local() || !self.enabled,
                "web.certificate",
                "the page's certificate, since web.address can be reached from other machines",
            ),
            (
                tls == self.certificate_key.is_some(),
                "web.certificate_key",
                "a certificate needs its key and the other way round",
            ),
            (
                self.origins.iter().all(is_origin),
                "web.origins",
                "origins as a browser sends them: https://name or https://name:port",
            ),
            (
                self.labels_folder.as_ref().is_none_or(|folder| folder.is_absolute()),
                "web.labels_folder",
                "a path from / on: the daemon runs in a folder of its own",
            ),
            ((1..=720).contains(&self.session_hours), "web.session_hours", "1 to 720 h"),
            ((16..=1 << 20).contains(&self.cache_mib), "web.cache_mib", "16 to 1048576 MiB"),
        ];
        let (_, key, reason) = rules.into_iter().find(|(holds, ..)| !holds)?;
        let with = match key {
            "web.login" | "web.certificate" => Some("web.address"),
            "web.certificate_key" => Some("web.certificate"),
            _ => None,
        };
        Some((key, with, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(web: &Web) -> Option<&'static str> {
        web.fault().map(|(key, ..)| key)
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_and_has_a_name() {
        let mut web = Web { enabled: true, ..Web::default() };
        assert_eq!(key(&web), None);
        web.login = false;
        assert_eq!(key(&web), None, "by explicit choice, on this machine");
        web.address = "0.0.0.0:8790".to_owned();
        assert_eq!(key(&web), Some("web.login"));
        web.login = true;
        assert_eq!(key(&web), Some("web.certificate"));
        web.certificate = Some("page.pem".into());
        assert_eq!(key(&web), Some("web.certificate_key"));
        web.certificate_key = Some("page.key".into());
        assert_eq!(key(&web), None);
        web.origins = vec!["https://ct.hospital/page".to_owned()];
        assert_eq!(key(&web), Some("web.origins"));
        web.origins = vec!["https://ct.hospital:8443".to_owned()];
        assert_eq!(key(&web), None);
    }

    #[test]
    fn each_role_may_what_those_before_it_may() {
        assert!(Role::Viewer < Role::Annotator && Role::Annotator < Role::Admin);
        assert_eq!("admin".parse(), Ok(Role::Admin));
        assert!("root".parse::<Role>().is_err());
    }
}
