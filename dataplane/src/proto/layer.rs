//! What the layers between a connection's octets and its frames have in common.

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing can be sent through it yet.
    Handshaking,
    /// Octets go both ways.
    Open,
    /// The far end said that nothing more comes from it.
    Ended,
}

/// The far end broke the layer's protocol, or has nothing in common with us. What it is to be told
/// of that is in the [`Output`]; the connection must be closed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure;

/// Where a layer's octets go; a worker has one, and clears it.
#[derive(Debug, Default)]
pub struct Output {
    /// What the far end sent.
    pub plain: Vec<u8>,
    /// What is to be written to the wire: handshakes, alerts, pongs.
    pub wire: Vec<u8>,
}

impl Output {
    /// Empties it.
    pub fn clear(&mut self) {
        self.plain.clear();
        self.wire.clear();
    }
}
