//! Counts the WebSocket frames of a byte stream from a server, wherever the stream is cut.

/// Parses headers, passes over payloads.
#[derive(Debug, Default, Clone)]
pub struct FrameCounter {
    /// Bytes of a header that is not complete.
    header: [u8; 10],
    have: usize,
    /// Payload bytes still to come.
    payload: u64,
    opcode: u8,
}

/// Frames that ended in a piece of the stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// Text frames.
    pub text: u64,
    /// Pings, which have to be answered.
    pub pings: u64,
    /// Close frames: the server has had enough.
    pub closes: u64,
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

impl FrameCounter {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Frames {
        let mut frames = Frames::default();
        loop {
            if self.payload > 0 {
                let take = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[take..];
                self.payload -= take as u64;
                if self.payload > 0 {
                    return frames;
                }
                self.ended(&mut frames);
            }
            let Some((first, rest)) = bytes.split_first() else { return frames };
            self.header[self.have] = *first;
            self.have += 1;
            bytes = rest;
            // RFC 6455 section 5.2; a server does not mask.
            let whole = match self.header[1] & 0x7F {
                _ if self.have < 2 => continue,
                126 => 4,
                127 => 10,
                _ => 2,
            };
            if self.have < whole {
                continue;
            }
            self.opcode = self.header[0] & 0x0F;
            self.payload = match whole {
                2 => u64::from(self.header[1]),
                _ => self.header[2..whole].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            };
            self.have = 0;
            if self.payload == 0 {
                self.ended(&mut frames);
            }
        }
    }

    fn ended(&self, frames: &mut Frames) {
        match self.opcode {
            TEXT => frames.text += 1,
            PING => frames.pings += 1,
            CLOSE => frames.closes += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for length in [0usize, 1, 125, 126, 300, 65_536] {
            stream.push(0x81);
            match length {
                0..=125 => stream.push(u8::try_from(length).unwrap()),
                126..=65_535 => {
                    stream.push(126);
                    stream.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    stream.push(127);
                    stream.extend((length as u64).to_be_bytes());
                }
            }
            stream.extend(std::iter::repeat_n(0x81, length));
        }
        stream.extend([0x89, 0, 0x8A, 1, 7, 0x88, 2, 3, 232]);
        for piece in [1, 2, 3, 7, 100, 70_000] {
            let mut counter = FrameCounter::default();
            let mut sum = Frames::default();
            for bytes in stream.chunks(piece) {
                let frames = counter.feed(bytes);
                sum.text += frames.text;
                sum.pings += frames.pings;
                sum.closes += frames.closes;
            }
            assert_eq!(sum, Frames { text: 6, pings: 1, closes: 1 }, "pieces of {piece}");
        }
    }
}
