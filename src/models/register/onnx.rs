//! What an ONNX file says about the software that reads it: IR version and operator set.

use std::path::Path;

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The versions that a file is written in; zero where it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    ir_version: u64,
    /// Of the default operator domain.
    opset: u64,
}

const NEWEST: &str = "1.23.0";

/// First release of the `onnx` package to know an IR version and an operator set (its `helper.VERSION_TABLE`).
const RELEASES: [(&str, u64, u64); 22] = [
    ("1.2", 3, 7),
    ("1.3", 3, 8),
    ("1.4.1", 4, 9),
    ("1.5.0", 5, 10),
    ("1.6.0", 6, 11),
    ("1.7.0", 7, 12),
    ("1.8.0", 7, 13),
    ("1.9.0", 7, 14),
    ("1.10.0", 8, 15),
    ("1.11.0", 8, 16),
    ("1.12.0", 8, 17),
    ("1.13.0", 8, 18),
    ("1.14.0", 9, 19),
    ("1.15.0", 9, 20),
    ("1.16.0", 10, 21),
    ("1.17.0", 10, 22),
    ("1.18.0", 11, 23),
    ("1.19.0", 12, 24),
    ("1.20.0", 13, 25),
    ("1.21.0", 13, 26),
    ("1.22.0", 13, 27),
    (NEWEST, 14, 28),
];

impl Written {
    /// The first release of the `onnx` package that reads the file; the newest in the table for a file newer than it.
    pub(super) fn onnx_release(self) -> &'static str {
        let reads =
            |(_, ir, opset): &&(&str, u64, u64)| *ir >= self.ir_version && *opset >= self.opset;
        RELEASES
            .iter()
            .find(reads)
            .map_or(NEWEST, |(release, _, _)| release)
    }
}

/// Nothing is learnt from a file that cannot be read: whoever loads the model says what is wrong with it.
pub(super) fn written(path: &Path) -> Written {
    match fs_err::read(path) {
        Ok(bytes) => scan(&bytes).unwrap_or_default(),
        Err(_) => Written::default(),
    }
}

/// `ModelProto`: field 1 is the IR version, field 8 an operator set.
fn scan(mut bytes: &[u8]) -> Result<Written, DecodeError> {
    let mut written = Written::default();
    while !bytes.is_empty() {
        match decode_key(&mut bytes)? {
            (1, WireType::Varint) => written.ir_version = decode_varint(&mut bytes)?,
            (8, WireType::LengthDelimited) => {
                let (domain, version) = scan_opset(take_field(&mut bytes)?)?;
                if domain.is_empty() || domain == b"ai.onnx" {
                    written.opset = version;
                }
            }
            (tag, wire_type) => {
                skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?;
            }
        }
    }
    Ok(written)
}

/// `OperatorSetIdProto`: field 1 is the domain, field 2 the version.
fn scan_opset(mut bytes: &[u8]) -> Result<(&[u8], u64), DecodeError> {
    let (mut domain, mut version): (&[u8], u64) = (b"", 0);
    while !bytes.is_empty() {
        match decode_key(&mut bytes)? {
            (1, WireType::LengthDelimited) => domain = take_field(&mut bytes)?,
            (2, WireType::Varint) => version = decode_varint(&mut bytes)?,
            (tag, wire_type) => {
                skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?;
            }
        }
    }
    Ok((domain, version))
}

fn take_field<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = usize::try_from(decode_varint(bytes)?).unwrap_or(usize::MAX);
    // A field that is cut off ends the message; whoever loads the file says so.
    let (field, rest) = bytes.split_at(length.min(bytes.len()));
    *bytes = rest;
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::test_models::{FLOAT, fixture, unary};

    #[test]
    fn the_oldest_release_that_reads_the_file_is_named() {
        // IR version 8, operator set 13.
        let written = scan(&unary("Identity", FLOAT, &[-1, 2], &[-1, 2])).unwrap();
        assert_eq!(
            written,
            Written {
                ir_version: 8,
                opset: 13
            }
        );
        assert_eq!(written.onnx_release(), "1.10.0");
        assert_ne!(
            super::written(&fixture("models/linreg_col/model.onnx")),
            Written::default()
        );
    }

    #[test]
    fn a_file_newer_than_the_table_gets_the_newest_release() {
        for (ir_version, opset) in [(99, 1), (8, 99), (99, 99)] {
            assert_eq!(Written { ir_version, opset }.onnx_release(), NEWEST);
        }
        assert_eq!(Written::default().onnx_release(), "1.2");
    }
}
