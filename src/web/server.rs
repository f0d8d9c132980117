//! The thread that serves: a current-thread runtime, a listener, TLS where it is configured.
//!
//! Owns connections: how long one may take to say what it wants. Each is served as a task of its own,
//! so that a slow one holds up nobody; how many there may be is [`super::connections`]'s.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use log::{info, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::access::Peer;
use super::connections::{Place, Places};
use super::events;
use super::page_state::PageState;
use super::router::router;
use crate::config::Web;
use crate::pem::{PemError, certificates, private_key};

/// Time to say who one is, over TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time for the head of a request.
const HEAD: Duration = Duration::from_secs(15);
/// Threads for work that blocks.
const WORKERS: usize = 4;
/// What the serving threads yield to the others: the analysis comes first.
const NICE: i32 = 10;

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address.
    #[error("web.address {address}: {reason}; name another one, or stop what listens there")]
    Address {
        /// As configured.
        address: String,
        /// The system's words.
        reason: io::Error,
    },
    /// The certificate or its key.
    #[error("web.certificate: {0}")]
    Certificate(#[from] PemError),
    /// The system refuses a thread or a runtime.
    #[error("the page cannot be served: {0}")]
    System(#[from] io::Error),
}

/// The serving thread, from outside.
pub struct Handle {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
    address: SocketAddr,
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// False once the thread has ended.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends it; connections that are open are closed. False if the thread had panicked.
    pub fn stop(self) -> bool {
        // Nobody listens once the thread is gone.
        let _ = self.stop.send(true);
        self.thread.join().is_ok()
    }
}

/// Listens, and serves from a thread of its own.
///
/// # Errors
/// [`ServeError`].
pub fn start(site: PageState) -> Result<Handle, ServeError> {
    let web = site.config.web.clone();
    let tls = encryption(&web)?;
    let refused = |reason| ServeError::Address { address: web.address.clone(), reason };
    let listener = std::net::TcpListener::bind(&web.address).map_err(refused)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(WORKERS)
        .thread_name("web-work")
        .on_thread_start(yield_to_others)
        .build()?;
    let (stop, stopped) = watch::channel(false);
    let scheme = if tls.is_some() { "https" } else { "http" };
    info!("the page is at {scheme}://{address}/");
    let thread = std::thread::Builder::new().name("web".to_owned()).spawn(move || {
        yield_to_others();
        runtime.block_on(serve(listener, tls, Arc::new(site), stopped));
        // Work under way is of no use to anybody any more.
        runtime.shutdown_background();
    })?;
    Ok(Handle { thread, stop, address })
}

/// The calling thread runs when nobody else wants to.
fn yield_to_others() {
    let this = rustix::thread::gettid();
    // Where it is not allowed the page is as fast as everything else.
    let _ = rustix::process::setpriority_process(Some(this), NICE);
}

/// Whether certificate and key can be read and belong together; nothing where there are none.
///
/// # Errors
/// [`ServeError::Certificate`].
pub fn check_certificate(web: &Web) -> Result<(), ServeError> {
    encryption(web).map(drop)
}

fn encryption(web: &Web) -> Result<Option<TlsAcceptor>, ServeError> {
    match (&web.certificate, &web.certificate_key) {
        (Some(certificate), Some(key)) => acceptor(certificate, key).map(Some),
        _ => Ok(None),
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|error| PemError::new(certificate, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    site: Arc<PageState>,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let places = Places::default();
    let router = router(Arc::clone(&site));
    tokio::spawn(events::watch_queue(site));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, most likely: others end.
                warn!("the page: a connection was not taken: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let Some(place) = places.take(peer.ip()) else { continue };
        let (router, tls) = (router.clone(), tls.clone());
        tokio::spawn(async move {
            // What a browser breaks off is nobody's fault.
            tokio::select! {
                _ = connection(stream, (Peer(peer), &place), tls, router) => {}
                () = place.lost() => {}
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    (peer, place): (Peer, &Place),
    tls: Option<TlsAcceptor>,
    router: axum::Router,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let answering = place.begins();
        let answer = routes.call(request);
        async move { answer.await.map(|answer| answer.map(|body| answering.with(body))) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 << 10);
    match tls {
        Some(tls) => {
            let stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await??;
            http.serve_connection(TokioIo::new(stream), service).await?;
        }
        None => http.serve_connection(TokioIo::new(stream), service).await?,
    }
    Ok(())
}
