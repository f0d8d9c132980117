//! PDUs over a line: whole ones, none larger than was agreed, none that takes for ever.
//!
//! Owns the buffer and the clock of one association. Knows nothing of what is said.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu, read_pdu, write_pdu};

/// The largest PDU that is taken: what dcmtk offers at most, and fast enough for any disk.
pub(super) const MAX_PDU: u32 = 131_072;
/// What a peer that names no limit is sent at most.
pub(super) const USUAL_PDU: u32 = 16_384;
/// Type and length before each PDU.
const HEAD: usize = 6;
/// The heads of a PDU of data and of the value in it.
pub(super) const VALUE_HEADS: usize = 12;

/// A line, encrypted or not.
pub(super) trait Line: Read + Write + Send {
    /// The socket below, for its time-outs and its end.
    fn socket(&self) -> &TcpStream;
}

impl Line for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Line for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

impl Line for rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// Why a line is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The peer is gone.
    #[error("the peer has closed the line")]
    Closed,
    /// The peer says nothing, or too slowly.
    #[error("the peer was silent for too long")]
    Silent,
    /// What came is no PDU, or a larger one than was agreed.
    #[error("the peer does not keep to the protocol: {0}")]
    Nonsense(String),
    /// The system says so.
    #[error("the line has failed: {0}")]
    Io(std::io::Error),
}

impl From<std::io::Error> for WireError {
    fn from(error: std::io::Error) -> WireError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => WireError::Silent,
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => WireError::Closed,
            _ => WireError::Io(error),
        }
    }
}

/// An association's line.
pub(super) struct Wire {
    line: Box<dyn Line>,
    patience: Duration,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Wire {
    /// Over this line; `patience` is the longest that a PDU may take, and a silence.
    ///
    /// # Errors
    /// If the system takes no time-outs.
    pub(super) fn over(line: Box<dyn Line>, patience: Duration) -> Result<Wire, WireError> {
        line.socket().set_read_timeout(Some(patience))?;
        line.socket().set_write_timeout(Some(patience))?;
        line.socket().set_nodelay(true)?;
        Ok(Wire { line, patience, buffer: vec![0; MAX_PDU as usize + HEAD], from: 0, to: 0 })
    }

    /// The next PDU.
    ///
    /// # Errors
    /// [`WireError`]; the line is then of no use.
    pub(super) fn receive(&mut self) -> Result<Pdu, WireError> {
        let began = Instant::now();
        loop {
            let mut waiting = &self.buffer[self.from..self.to];
            let found = read_pdu(&mut waiting, MAX_PDU, true)
                .map_err(|error| WireError::Nonsense(error.to_string()))?;
            if let Some(pdu) = found {
                self.from = self.to - waiting.len();
                return Ok(pdu);
            }
            if began.elapsed() > self.patience {
                return Err(WireError::Silent);
            }
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            match self.line.read(&mut self.buffer[self.to..]) {
                Ok(0) => return Err(WireError::Closed),
                Ok(read) => self.to += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a PDU.
    ///
    /// # Errors
    /// [`WireError`]; the line is then of no use.
    pub(super) fn send(&mut self, pdu: &Pdu) -> Result<(), WireError> {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, pdu).map_err(|error| WireError::Nonsense(error.to_string()))?;
        self.line.write_all(&bytes)?;
        Ok(self.line.flush()?)
    }

    /// Sends a command or a data set in values of at most `most` bytes.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub(super) fn send_values(
        &mut self,
        context: u8,
        kind: PDataValueType,
        bytes: &[u8],
        most: usize,
    ) -> Result<(), WireError> {
        let last = bytes.len().saturating_sub(1) / most;
        for (at, part) in bytes.chunks(most).enumerate() {
            let value = PDataValue {
                presentation_context_id: context,
                value_type: kind.clone(),
                is_last: at == last,
                data: part.to_vec(),
            };
            self.send(&Pdu::PData { data: vec![value] })?;
        }
        Ok(())
    }

    /// Where the peer is.
    pub(super) fn peer(&self) -> String {
        let peer = self.line.socket().peer_addr();
        peer.map_or_else(|_| "unknown".to_owned(), |peer| peer.ip().to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What the receiving end makes of these bytes.
    fn said(bytes: &[u8], close: bool) -> Result<Pdu, WireError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (line, _) = listener.accept().unwrap();
        peer.write_all(bytes).unwrap();
        if close {
            drop(peer);
        }
        Wire::over(Box::new(line), Duration::from_millis(200)).unwrap().receive()
    }

    #[test]
    fn what_is_no_pdu_ends_the_line_and_nothing_is_reserved_for_it() {
        let mut release = vec![5, 0, 0, 0, 0, 4, 0, 0, 0, 0];
        assert!(matches!(said(&release, false), Ok(Pdu::ReleaseRQ)));
        assert!(matches!(said(&release[..7], true), Err(WireError::Closed)));
        assert!(matches!(said(&release[..7], false), Err(WireError::Silent)));
        // Four gigabytes are promised.
        release[2..6].copy_from_slice(&[0xff; 4]);
        assert!(matches!(said(&release, false), Err(WireError::Nonsense(_))));
        assert!(matches!(said(b"GET / HTTP/1.1\r\n\r\n", false), Err(WireError::Nonsense(_))));
    }
}
