//! What the other end of a DICOM line may say, over real sockets: who sends images to the receiver, and
//! the archives that results are sent to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use hepalert::dicom::receiver::ReceiverParams;
use hepalert::dicom::target::{Dimse, Outgoing, Way, Web};
use hepalert::dicom::{Receiver, Target, sender};
use tempfile::TempDir;

/// Longest silence on either end: below what an input may take.
const PATIENCE: Duration = Duration::from_secs(2);

struct House {
    folder: TempDir,
    receiver: Receiver,
    archive: TcpListener,
}

thread_local! {
    static HOUSE: House = House::new();
}

impl House {
    fn new() -> House {
        let folder = TempDir::new().unwrap();
        let params = ReceiverParams {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ae_title: "HEPALERT".to_owned(),
            allow_ae: Vec::new(),
            allow_address: Vec::new(),
            max_associations: 4,
            max_instance_bytes: 1 << 20,
            patience: PATIENCE,
            tls: None,
            incoming: folder.path().join("incoming"),
            spool: folder.path().join("spool"),
            storage_commitment: true,
            commitments: folder.path().join("commitments"),
            min_free_bytes: 0,
            peers: Vec::new(),
        };
        let receiver = Receiver::start(params).unwrap();
        House { folder, receiver, archive: TcpListener::bind("127.0.0.1:0").unwrap() }
    }
}

/// What a DICOM peer may say: first bare, then within an association that was agreed on.
pub(crate) fn association(bytes: &[u8]) {
    HOUSE.with(|house| {
        say(house, bytes);
        say(house, &[&asked()[..], bytes].concat());
        assert!(house.receiver.is_alive());
        let beside = std::fs::read_dir(house.folder.path()).unwrap();
        for name in beside.map(|entry| entry.unwrap().file_name()) {
            let ours = ["incoming", "spool", "commitments"];
            assert!(ours.iter().any(|own| name == *own), "{name:?} is outside of our folders");
        }
    });
}

fn say(house: &House, bytes: &[u8]) {
    let mut line = TcpStream::connect(house.receiver.address()).expect("it listens");
    let _ = line.set_read_timeout(Some(2 * PATIENCE));
    let _ = line.write_all(bytes);
    let _ = line.shutdown(Shutdown::Write);
    let _ = line.read_to_end(&mut Vec::new());
}

/// What an archive may answer when it is sent a result: the first byte says by which way, 0 for
/// STOW-RS, 1 for an association, 2 for what comes behind one that was agreed on.
pub(crate) fn answers(bytes: &[u8]) {
    let Some((first, answer)) = bytes.split_first() else { return };
    HOUSE.with(|house| {
        let port = house.archive.local_addr().unwrap().port();
        let dimse = Dimse {
            host: "127.0.0.1".to_owned(),
            port,
            called_ae: "FUZZ".to_owned(),
            calling_ae: "HEPALERT".to_owned(),
            tls: None,
        };
        let web =
            Web { url: format!("http://127.0.0.1:{port}/dicom-web"), token_file: None, tls: None };
        let (way, said) = match first % 3 {
            0 => (Way::Web(web), answer.to_vec()),
            1 => (Way::Dimse(dimse), answer.to_vec()),
            _ => (Way::Dimse(dimse), [&accepted()[..], answer].concat()),
        };
        let target = Target { name: "fuzz".to_owned(), way, patience: PATIENCE };
        thread::scope(|scope| {
            scope.spawn(|| answer_once(&house.archive, &said));
            let object = object();
            let _ = sender::send(&target, Outgoing { bytes: &object });
        });
    });
}

/// Says it to whoever calls, and reads on until they hang up.
fn answer_once(listener: &TcpListener, said: &[u8]) {
    let (mut line, _) = listener.accept().unwrap();
    let _ = line.set_read_timeout(Some(2 * PATIENCE));
    let _ = line.write_all(said);
    let _ = line.shutdown(Shutdown::Write);
    let _ = line.read_to_end(&mut Vec::new());
}

fn item(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A request for an association, or the word that it is granted, with these contexts.
fn negotiation(kind: u8, contexts: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend(b"HEPALERT        FUZZ            ");
    body.extend([0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    contexts.iter().for_each(|context| body.extend(context));
    body.extend(item(0x50, &item(0x51, &16384u32.to_be_bytes())));
    let mut pdu = vec![kind, 0];
    pdu.extend((body.len() as u32).to_be_bytes());
    pdu.extend(body);
    pdu
}

/// A request for CT Image Storage and commitment in explicit VR.
fn asked() -> Vec<u8> {
    let context = |id: u8, class: &[u8]| {
        let mut context = vec![id, 0, 0, 0];
        context.extend(item(0x30, class));
        context.extend(item(0x40, b"1.2.840.10008.1.2.1"));
        item(0x20, &context)
    };
    negotiation(1, &[context(1, b"1.2.840.10008.5.1.4.1.1.2"), context(3, b"1.2.840.10008.1.20.1")])
}

/// The one context that we ask for is granted in explicit VR.
fn accepted() -> Vec<u8> {
    let mut context = vec![1, 0, 0, 0];
    context.extend(item(0x40, b"1.2.840.10008.1.2.1"));
    negotiation(2, &[item(0x21, &context)])
}

/// A file as small as one can be sent.
fn object() -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    for (group, number, vr, value) in [
        (0x0002u16, 0x0000u16, b"UL", &[92, 0, 0, 0][..]),
        (0x0002, 0x0001, b"OB", &[0, 1]),
        (0x0002, 0x0002, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        (0x0002, 0x0003, b"UI", b"1.2.3.4\0"),
        (0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1\0"),
        (0x0008, 0x0016, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        (0x0008, 0x0018, b"UI", b"1.2.3.4\0"),
    ] {
        bytes.extend(group.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend(vr);
        if vr == b"OB" {
            bytes.extend([0, 0]);
            bytes.extend((value.len() as u32).to_le_bytes());
        } else {
            bytes.extend((value.len() as u16).to_le_bytes());
        }
        bytes.extend(value);
    }
    bytes
}
