//! A text frame for a client, encoded once and shared by all who get it.

use bytes::Bytes;

/// First byte of a text frame that is a whole message.
const FINAL_TEXT: u8 = 0x81;

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

    /// Appends the frame as it travels to a client: header, unmasked as a server's frames are, and text
    /// (RFC 6455 section 5.2).
    pub fn put_image(&self, out: &mut Vec<u8>) {
        out.push(FINAL_TEXT);
        let length = self.0.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => out.push(short),
            (_, Ok(medium)) => {
                out.push(126);
                out.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                out.push(127);
                // A length in memory always fits 64 bits.
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&self.0);
    }

    /// Length of what [`WireFrame::put_image`] appends, in bytes.
    #[must_use]
    pub fn image_len(&self) -> usize {
        let header = match self.0.len() {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        };
        header + self.0.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_has_the_shortest_header_that_holds_the_length() {
        let cases: [(usize, &[u8]); 6] = [
            (0, &[0x81, 0]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 255, 255]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (70_000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
        ];
        for (length, header) in cases {
            let mut image = vec![7];
            WireFrame::new("x".repeat(length)).put_image(&mut image);
            assert_eq!(&image[1..=header.len()], header, "{length}");
            assert_eq!(image.len(), 1 + header.len() + length);
            assert_eq!(WireFrame::new("x".repeat(length)).image_len(), header.len() + length);
            assert!(image[1 + header.len()..].iter().all(|byte| *byte == b'x'));
        }
    }
}
