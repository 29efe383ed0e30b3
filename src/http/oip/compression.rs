//! gzip and deflate of whole bodies; deflate is the zlib format, as HTTP has it.

use std::io::{Read, Write};

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::types::oip::Error;

/// A shorter answer fits into a packet or two anyway.
pub(super) const WORTH_WHILE: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Deflate]
            .into_iter()
            .find(|encoding| name.trim().eq_ignore_ascii_case(encoding.name()))
    }

    /// What the request's body is compressed with.
    pub(super) fn of_body(headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let Some(value) = headers.get(CONTENT_ENCODING) else {
            return Ok(None);
        };
        let text = value.to_str().unwrap_or("?").trim();
        if text.is_empty() || text.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        match Self::from_name(text) {
            Some(encoding) => Ok(Some(encoding)),
            None => Err(Error::Unsupported {
                what: format!("the content encoding `{text}`"),
                hint: "use `gzip` or `deflate`",
            }),
        }
    }

    /// The first that the caller takes; one with a weight of zero it does not.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
        text.split(',').find_map(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
            let is_refused = weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0);
            Self::from_name(name).filter(|_| !is_refused)
        })
    }

    /// Reads no further than `limit` bytes.
    pub(super) fn decompress(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        // One more, to see that there is more.
        let most = (limit as u64).saturating_add(1);
        let read = match self {
            Self::Gzip => MultiGzDecoder::new(bytes).take(most).read_to_end(&mut out),
            Self::Deflate => ZlibDecoder::new(bytes).take(most).read_to_end(&mut out),
        };
        if let Err(error) = read {
            let name = self.name();
            return Err(Error::malformed(format!(
                "the body is not valid {name}: {error}"
            )));
        }
        if out.len() > limit {
            return Err(Error::BodyTooLarge { limit });
        }
        Ok(out)
    }

    /// `None` where that is no shorter.
    pub(super) fn compress(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let out = Vec::with_capacity(bytes.len() / 2);
        let compressed = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(out, Compression::fast());
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(out, Compression::fast());
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
        };
        compressed.ok().filter(|out| out.len() < bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn what_was_compressed_comes_back_and_a_bomb_stops_at_the_limit() {
        let bytes = vec![7; 100_000];
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let compressed = encoding.compress(&bytes).unwrap();
            assert!(compressed.len() < 2_000);
            assert_eq!(encoding.decompress(&compressed, 100_000).unwrap(), bytes);
            let error = encoding.decompress(&compressed, 99_999).unwrap_err();
            assert_eq!(error, Error::BodyTooLarge { limit: 99_999 });
            let error = encoding.decompress(&compressed[..20], 100_000).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{error}");
        }
    }

    #[test]
    fn the_first_accepted_encoding_that_is_known_is_taken() {
        for (text, wanted) in [
            ("gzip", Some(Encoding::Gzip)),
            ("br, deflate;q=0.5, gzip", Some(Encoding::Deflate)),
            ("gzip;q=0, deflate", Some(Encoding::Deflate)),
            ("*/*", None),
            ("identity", None),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(text))]);
            assert_eq!(Encoding::accepted(&headers), wanted, "{text}");
        }
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("br"))]);
        assert!(matches!(
            Encoding::of_body(&headers),
            Err(Error::Unsupported { .. })
        ));
    }
}
