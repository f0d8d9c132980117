//! Brokers that lie, babble and flood: nothing counts as sent that they did not take, and once
//! they tell the truth everything is theirs.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside a test function")]

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hepalert::publish::BrokerParams;

use crate::publish::{open, params, publisher_process, start, write};
use crate::support::memory_kib;

/// Longest wait for the truth: a line that is always taken away is tried once a minute.
const PATIENCE: Duration = Duration::from_secs(100);
/// For so long it lies.
const LYING: Duration = Duration::from_secs(3);
const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];

/// What a broker does that it should not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    /// Acknowledges numbers that nobody sent.
    OtherNumbers,
    /// Acknowledges everything twice.
    Twice,
    /// Takes everything and refuses it.
    Refuses,
    /// Acknowledges half a packet and hangs up.
    HalfAnAnswer,
    /// Answers with noise.
    Babbles,
    /// Greets, and promises a packet of 256 MB.
    Promises,
    /// Greets, answers rightly, and sends without end what nobody asked for.
    Floods,
    /// Hangs up after each greeting.
    HangsUp,
}

/// A broker that lies until told not to.
struct Liar {
    port: u16,
    honest: Arc<AtomicBool>,
    /// Ids of the events that it took and rightly acknowledged.
    taken: Arc<Mutex<BTreeSet<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Liar {
    fn start(lie: Lie) -> Liar {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (honest, taken) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let connections = Arc::new(AtomicUsize::new(0));
        let liar = Liar {
            port,
            honest: Arc::clone(&honest),
            taken: Arc::clone(&taken),
            connections: Arc::clone(&connections),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (honest, taken) = (Arc::clone(&honest), Arc::clone(&taken));
                std::thread::spawn(move || {
                    // It ends when one of the two hangs up.
                    let _ = serve(stream, lie, &honest, &taken);
                });
            }
        });
        liar
    }
}

/// A packet's first byte and its body.
fn packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let kind = byte[0];
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}

fn serve(
    mut stream: TcpStream,
    lie: Lie,
    honest: &AtomicBool,
    taken: &Mutex<BTreeSet<String>>,
) -> io::Result<()> {
    loop {
        let (kind, body) = packet(&mut stream)?;
        let lie = (!honest.load(Ordering::SeqCst)).then_some(lie);
        match (kind >> 4, lie) {
            (1, Some(Lie::Babbles)) => stream.write_all(&[0xa7; 300])?,
            (1, _) => {
                stream.write_all(&CONNACK)?;
                match lie {
                    Some(Lie::Promises) => stream.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0])?,
                    Some(Lie::HangsUp) => return Ok(()),
                    Some(Lie::Floods) => flood(stream.try_clone()?),
                    _ => {}
                }
            }
            (3, _) => answer(&mut stream, kind, &body, lie, taken)?,
            (12, _) => stream.write_all(&[0xd0, 0])?,
            (8, _) => stream.write_all(&[0x90, 4, body[0], body[1], 0, 1])?,
            (14, _) => return Ok(()),
            _ => {}
        }
    }
}

/// Answers a publish.
fn answer(
    stream: &mut TcpStream,
    kind: u8,
    body: &[u8],
    lie: Option<Lie>,
    taken: &Mutex<BTreeSet<String>>,
) -> io::Result<()> {
    assert_eq!(kind & 0b110, 0b010, "all that is sent wants an answer");
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let [high, low] = [body[2 + topic], body[3 + topic]];
    let right = [0x40, 2, high, low];
    match lie {
        Some(Lie::OtherNumbers) => return stream.write_all(&[0x40, 2, high ^ 0x40, low]),
        Some(Lie::Refuses) => return stream.write_all(&[0x40, 3, high, low, 0x97]),
        Some(Lie::HalfAnAnswer) => {
            stream.write_all(&right[..3])?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Some(Lie::Twice) => stream.write_all(&right)?,
        _ => {}
    }
    if body[2..2 + topic].ends_with(b"/event/study") {
        let text = String::from_utf8_lossy(body);
        let id = text.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next());
        taken.lock().unwrap().insert(id.unwrap().to_owned());
    }
    stream.write_all(&right)
}

/// Commands without end, beside whatever else is said.
fn flood(mut stream: TcpStream) {
    std::thread::spawn(move || {
        let topic = b"hepalert/v1/ct-1/cmd/ping";
        let body = [b'x'; 8000];
        let length = 2 + topic.len() + 1 + body.len();
        let mut bytes = vec![0x30, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
        bytes.extend((topic.len() as u16).to_be_bytes());
        bytes.extend(topic);
        bytes.push(0);
        bytes.extend(body);
        while stream.write_all(&bytes).is_ok() {}
    });
}

/// Three events against a broker that lies, and then does not.
fn play(lie: Lie) {
    let liar = Liar::start(lie);
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let ids: BTreeSet<String> = (0..3).map(|n| write(&store, n)).collect();
    let publisher = start(BrokerParams { commands: true, ..params(liar.port) }, &store);
    let takes = [Lie::Twice, Lie::Floods].contains(&lie);
    let began = Instant::now();
    while began.elapsed() < LYING {
        let unsent = store.backlog().unwrap().unsent;
        assert!(takes || unsent == 3, "{lie:?}: {unsent} left, but it took none");
        std::thread::sleep(Duration::from_millis(50));
    }
    let knocks = liar.connections.load(Ordering::SeqCst);
    assert!(knocks <= 8, "{lie:?}: {knocks} connections in {LYING:?}");
    liar.honest.store(true, Ordering::SeqCst);
    while store.backlog().unwrap().unsent > 0 {
        assert!(began.elapsed() < PATIENCE, "{lie:?}: {:?}", publisher.state());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(*liar.taken.lock().unwrap(), ids, "{lie:?}");
    let before = Instant::now();
    assert!(publisher.stop(Duration::from_secs(2)), "{lie:?}: it panicked");
    assert!(before.elapsed() < Duration::from_secs(5), "{lie:?}: it did not stop");
}

#[test]
fn a_broker_that_lies_is_believed_in_nothing_and_ends_nobody() {
    let lies = [
        Lie::OtherNumbers,
        Lie::Twice,
        Lie::Refuses,
        Lie::HalfAnAnswer,
        Lie::Babbles,
        Lie::Promises,
        Lie::Floods,
        Lie::HangsUp,
    ];
    std::thread::scope(|scope| {
        let all: Vec<_> = lies.map(|lie| scope.spawn(move || play(lie))).into();
        let ended: Vec<bool> = all.into_iter().map(|one| one.join().is_ok()).collect();
        let failed = lies.iter().zip(ended).filter(|(_, well)| !well);
        assert_eq!(failed.map(|(lie, _)| lie).collect::<Vec<_>>(), Vec::<&Lie>::new());
    });
}

#[test]
fn a_broker_that_floods_or_promises_much_takes_no_memory() {
    let most = [Lie::Floods, Lie::Promises].map(|lie| {
        let liar = Liar::start(lie);
        let child = publisher_process(liar.port);
        std::thread::sleep(LYING);
        let most = memory_kib(child.0.id(), "VmHWM");
        assert!(most > 0, "it is gone");
        assert!(liar.connections.load(Ordering::SeqCst) > 0);
        most / 1024
    });
    println!("{most:?} MiB at most");
    assert!(most.iter().all(|mib| *mib < 128), "{most:?} MiB");
}
