//! A line to an archive, plain or encrypted.
//!
//! Owns how long is waited for it. Knows nothing of what is said on it.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::target::{SendError, Target};
use super::tls::ClientTls;

/// A line to a host, by any of its addresses.
pub(super) fn dial(target: &Target, host: &str, port: u16) -> Result<TcpStream, SendError> {
    let unreachable = |error: &dyn std::fmt::Display| SendError::unreachable(target, error);
    let addresses = (host, port).to_socket_addrs().map_err(|error| unreachable(&error))?;
    let mut last = unreachable(&"its name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, target.patience) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = unreachable(&error),
        }
    }
    Err(last)
}

/// The same line, encrypted.
pub(super) fn encrypted(
    host: &str,
    socket: TcpStream,
    tls: &ClientTls,
) -> Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>, SendError> {
    let local = |error: &dyn std::fmt::Display| SendError::Local(error.to_string());
    let config = tls.config().map_err(|error| local(&error))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| local(&error))?;
    let connection = rustls::ClientConnection::new(Arc::clone(&config), name);
    Ok(rustls::StreamOwned::new(connection.map_err(|error| local(&error))?, socket))
}
