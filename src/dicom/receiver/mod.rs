//! The receiver: listens, lets in whom it may, one thread per association.
//!
//! Owns who may send and how many at once. Refuses to look at images beyond whether they are whole.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{info, warn};
use serde::{Deserialize, Serialize};

use super::target::Target;
use super::tls::{ServerTls, TlsError};
use super::wire::{Line, Wire};
use reports::Reports;
use spool::Spool;
pub use spool::received;

mod association;
mod commitment;
mod negotiation;
mod owed_reports;
mod reports;
mod spool;

/// An association needs a buffer and a few kilobytes of stack.
const STACK_BYTES: usize = 256 << 10;
/// So many peers above the limit are still told that there are too many; the others are cut off.
const REFUSALS: usize = 64;
/// After an accept that failed: too many open files, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where and from whom is received.
#[derive(Debug, Clone)]
pub struct ReceiverParams {
    /// Address and port.
    pub listen: SocketAddr,
    /// What this device is called.
    pub ae_title: String,
    /// Titles that may send; all if there is none.
    pub allow_ae: Vec<String>,
    /// Where they may be; anywhere if there is none.
    pub allow_address: Vec<Network>,
    /// Most associations at once.
    pub max_associations: usize,
    /// Largest object.
    pub max_instance_bytes: u64,
    /// Longest silence, and longest time for one PDU.
    pub patience: Duration,
    /// How lines are encrypted; none where they are not.
    pub tls: Option<ServerTls>,
    /// Folder of what is not whole yet, on the disk of the spool.
    pub incoming: PathBuf,
    /// Folder that the intake watches.
    pub spool: PathBuf,
    /// Answer requests for storage commitment.
    pub storage_commitment: bool,
    /// Folder of those that are not answered yet.
    pub commitments: PathBuf,
    /// Nothing is taken when less is free there.
    pub min_free_bytes: u64,
    /// Where those who asked for storage commitment are told of it once they have hung up.
    pub peers: Vec<Target>,
}

/// Addresses that share their first bits, as `10.1.0.0/16` or `192.168.1.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = || format!("{text:?} is no address and no network such as 10.1.0.0/16");
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Network { address, bits }) }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    /// Whether an address is one of these.
    pub fn holds(&self, other: IpAddr) -> bool {
        // What came over a socket for both families.
        let other = other.to_canonical();
        let (ours, theirs, width) = match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u128::from(a.to_bits()), u128::from(b.to_bits()), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            _ => return false,
        };
        let behind = width - u32::from(self.bits);
        behind == 128 || ours >> behind == theirs >> behind
    }
}

/// Why nothing can be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The address is taken or not ours.
    #[error("dicom.listen: {0} cannot be listened on: {1}; is another program there?")]
    Listen(SocketAddr, io::Error),
    /// A folder cannot be made.
    #[error("{}: {reason}; check free space and permissions", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system refuses a thread.
    #[error("the system refuses a thread: {0}")]
    Thread(io::Error),
}

/// What all associations share.
struct House {
    params: ReceiverParams,
    tls: Option<Arc<rustls::ServerConfig>>,
    spool: Spool,
    reports: Reports,
    at_once: AtomicUsize,
    stop: AtomicBool,
}

/// A receiver at work; dropping it ends it.
pub struct Receiver {
    house: Arc<House>,
    address: SocketAddr,
    listener: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn start(params: ReceiverParams) -> Result<Receiver, ReceiveError> {
        let tls = params.tls.as_ref().map(ServerTls::config).transpose()?;
        let spool = Spool::open(&params.incoming, &params.spool)
            .map_err(|(path, reason)| ReceiveError::Folder { path, reason })?;
        let failed = |error| ReceiveError::Listen(params.listen, error);
        let reports = Reports::start(&params.spool, &params.commitments, &params.peers);
        let reports = reports
            .map_err(|reason| ReceiveError::Folder { path: params.commitments.clone(), reason })?;
        let listener = TcpListener::bind(params.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        info!("receiving DICOM as {} on {address}", params.ae_title);
        let house = Arc::new(House {
            params,
            tls,
            spool,
            reports,
            at_once: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&house);
        let listen = move || listen(&listener, &shared);
        let builder = thread::Builder::new().name("dicom".to_owned());
        let listener = builder.spawn(listen).map_err(ReceiveError::Thread)?;
        Ok(Receiver { house, address, listener: Some(listener) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it still listens.
    pub fn is_alive(&self) -> bool {
        self.listener.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.house.stop.store(true, Ordering::Release);
        // Wakes the listener; where it is unreachable it has ended already.
        let wake = if self.address.ip().is_unspecified() {
            SocketAddr::new(IpAddr::from([127, 0, 0, 1]), self.address.port())
        } else {
            self.address
        };
        let woken = TcpStream::connect_timeout(&wake, Duration::from_secs(1)).is_ok();
        if let Some(listener) = self.listener.take().filter(|_| woken) {
            let _ = listener.join();
        }
    }
}

fn listen(listener: &TcpListener, house: &Arc<House>) {
    while !house.stop.load(Ordering::Acquire) {
        let (line, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("a DICOM peer cannot be let in: {error}");
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if house.stop.load(Ordering::Acquire) {
            return;
        }
        let allowed = &house.params.allow_address;
        if !allowed.is_empty() && !allowed.iter().any(|network| network.holds(peer.ip())) {
            warn!("{}: not in dicom.allow_address, turned away", peer.ip());
            continue;
        }
        let seat = Seat::take(house);
        if seat.number > house.params.max_associations + REFUSALS {
            warn!("{}: far more associations than dicom.max_associations", peer.ip());
            continue;
        }
        let builder = thread::Builder::new().name("dicom peer".to_owned()).stack_size(STACK_BYTES);
        let began = builder.spawn(move || serve(line, seat));
        if let Err(error) = began {
            warn!("a DICOM peer cannot be served: {error}");
        }
    }
}

/// A place among the associations; given back when it goes.
struct Seat {
    house: Arc<House>,
    number: usize,
}

impl Seat {
    fn take(house: &Arc<House>) -> Seat {
        let number = house.at_once.fetch_add(1, Ordering::AcqRel) + 1;
        Seat { house: Arc::clone(house), number }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.house.at_once.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(socket: TcpStream, seat: Seat) {
    let house = &seat.house;
    let patience = house.params.patience;
    let line: Box<dyn Line> = match &house.tls {
        None => Box::new(socket),
        Some(config) => match rustls::ServerConnection::new(Arc::clone(config)) {
            Ok(tls) => Box::new(rustls::StreamOwned::new(tls, socket)),
            Err(error) => return warn!("TLS cannot be spoken: {error}"),
        },
    };
    let outcome = Wire::over(line, patience).and_then(|mut wire| {
        let full = seat.number > house.params.max_associations;
        association::run(house, &mut wire, full)
    });
    if let Err(error) = outcome {
        warn!("a DICOM association ended early: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("10.1.0.0/16").holds(address("10.1.200.3")));
        assert!(!network("10.1.0.0/16").holds(address("10.2.0.1")));
        assert!(network("127.0.0.1").holds(address("::ffff:127.0.0.1")));
        assert!(network("0.0.0.0/0").holds(address("8.8.8.8")));
        assert!(
            network("::/0").holds(address("fe80::1"))
                && network("fe80::/10").holds(address("fe80::1"))
        );
        assert!(!network("::/0").holds(address("8.8.8.8")));
        for wrong in ["", "10.1", "10.1.0.0/33", "10.1.0.0/x", "host"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
