//! A text frame for a client, encoded once and shared by all who get it.

use bytes::Bytes;

/// The JSON text of one server frame. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct WireFrame(Bytes);

impl WireFrame {
    /// Takes text that is a whole frame.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Bytes::from(text))
    }

    /// Takes bytes that came from another node, if they are UTF-8 (RFC 6455 section 5.6 asks it of text frames).
    ///
    /// # Errors
    /// The position of the first byte that is not UTF-8.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// The frame's bytes, always UTF-8.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the frame is empty, which no frame of this protocol is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for WireFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WireFrame({} bytes)", self.0.len())
    }
}
