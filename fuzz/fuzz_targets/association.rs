//! What a DICOM peer may say: first bare, then within an association that was agreed on.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use hepalert::dicom::Receiver;
use hepalert::dicom::receiver::ReceiverParams;
use libfuzzer_sys::fuzz_target;

struct House {
    folder: tempfile::TempDir,
    receiver: Receiver,
}

static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let params = ReceiverParams {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ae_title: "HEPALERT".to_owned(),
        allow_ae: Vec::new(),
        allow_address: Vec::new(),
        max_associations: 4,
        max_instance_bytes: 1 << 20,
        patience: Duration::from_secs(2),
        tls: None,
        incoming: folder.path().join("incoming"),
        spool: folder.path().join("spool"),
        storage_commitment: true,
        commitments: folder.path().join("commitments"),
        min_free_bytes: 0,
        peers: Vec::new(),
    };
    let receiver = Receiver::start(params).unwrap();
    House { folder, receiver }
});

/// A request for CT Image Storage and commitment in explicit VR.
fn request() -> Vec<u8> {
    let item = |kind: u8, body: &[u8]| {
        let mut bytes = vec![kind, 0];
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    };
    let mut body = vec![0, 1, 0, 0];
    body.extend(b"HEPALERT        FUZZ            ");
    body.extend([0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (id, class) in [(1, &b"1.2.840.10008.5.1.4.1.1.2"[..]), (3, b"1.2.840.10008.1.20.1")] {
        let mut context = vec![id, 0, 0, 0];
        context.extend(item(0x30, class));
        context.extend(item(0x40, b"1.2.840.10008.1.2.1"));
        body.extend(item(0x20, &context));
    }
    body.extend(item(0x50, &item(0x51, &16384u32.to_be_bytes())));
    let mut pdu = vec![1, 0];
    pdu.extend((body.len() as u32).to_be_bytes());
    pdu.extend(body);
    pdu
}

fn say(bytes: &[u8]) {
    let mut line = TcpStream::connect(HOUSE.receiver.address()).expect("it listens");
    let _ = line.set_read_timeout(Some(Duration::from_secs(4)));
    let _ = line.write_all(bytes);
    let _ = line.shutdown(Shutdown::Write);
    let _ = line.read_to_end(&mut Vec::new());
}

fuzz_target!(|bytes: &[u8]| {
    say(bytes);
    say(&[&request()[..], bytes].concat());
    assert!(HOUSE.receiver.is_alive());
    let beside = std::fs::read_dir(HOUSE.folder.path()).unwrap().count();
    assert_eq!(beside, 2, "nothing outside of the two folders");
});
