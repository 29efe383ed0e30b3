//! The three codecs, and how bytes tell which one they are.

use std::fmt;

use super::{Accept, DecodeError, EncodeError, json, msgpack, pickle};
use crate::jobs::value::Value;

/// How jobs and results are serialized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// arq's default.
    Pickle,
    MsgPack,
    Json,
}

impl Codec {
    pub const ALL: [Self; 3] = [Self::Pickle, Self::MsgPack, Self::Json];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Pickle => "pickle",
            Self::MsgPack => "msgpack",
            Self::Json => "json",
        }
    }

    /// The codec of a serialized map with at least one entry. Nothing that one of them begins a map with is the
    /// beginning of a map in another.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x80, 2..=5, ..] => Some(Self::Pickle),
            // Protocols 0 and 1 have no header: `(d` and `}` begin a dict.
            [b'(' | b'}', ..] => Some(Self::Pickle),
            [0x81..=0x8f | 0xde | 0xdf, ..] => Some(Self::MsgPack),
            _ => match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'{') => Some(Self::Json),
                _ => None,
            },
        }
    }

    pub(super) fn accepted(bytes: &[u8], accept: &Accept) -> Result<Self, DecodeError> {
        let unknown = || DecodeError::UnknownCodec {
            start: bytes
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        };
        let found = Self::sniff(bytes).ok_or_else(unknown)?;
        match accept.codec {
            Some(wanted) if wanted != found => Err(DecodeError::CodecRefused { found, wanted }),
            _ => Ok(found),
        }
    }

    pub(super) fn decode(
        self,
        bytes: &[u8],
        objects: Objects,
        accept: &Accept,
    ) -> Result<Value, DecodeError> {
        if bytes.len() > accept.max_bytes {
            return Err(DecodeError::TooLarge {
                size: bytes.len(),
                limit: accept.max_bytes,
            });
        }
        match self {
            Self::Pickle => pickle::decode(bytes, objects, accept),
            Self::MsgPack => msgpack::decode(bytes, accept),
            Self::Json => json::decode(bytes, accept),
        }
    }

    /// Appends the value.
    pub(super) fn put(self, out: &mut Vec<u8>, value: &Value) -> Result<(), EncodeError> {
        match self {
            Self::Pickle => pickle::put(out, value),
            Self::MsgPack => msgpack::put(out, value),
            Self::Json => json::put(out, value),
        }
    }

    pub(super) fn put_text(self, out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
        match self {
            Self::Pickle => pickle::put_text(out, text),
            Self::MsgPack => return msgpack::put_text(out, text),
            Self::Json => json::put_text(out, text),
        }
        Ok(())
    }
}

/// What becomes of objects that are no plain values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objects {
    Refuse,
    /// They become inert records.
    Record,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_codec() {
        let cases: [(&[u8], Option<Codec>); 12] = [
            (b"\x80\x02}", Some(Codec::Pickle)),
            (b"\x80\x05\x95", Some(Codec::Pickle)),
            (b"(dp0\n", Some(Codec::Pickle)),
            (b"}q\x00(", Some(Codec::Pickle)),
            (b"\x85\xa1t", Some(Codec::MsgPack)),
            (b"\xde\x00\x05", Some(Codec::MsgPack)),
            (b"\xdf\x00\x00\x00\x05", Some(Codec::MsgPack)),
            (b"{\"t\"", Some(Codec::Json)),
            (b" \n\t{", Some(Codec::Json)),
            (b"\x80", None),
            (b"\xc1\xff\x00garbage", None),
            (b"", None),
        ];
        for (bytes, codec) in cases {
            assert_eq!(Codec::sniff(bytes), codec, "{bytes:?}");
        }
    }
}
