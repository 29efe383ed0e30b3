//! An infer answer: JSON, then the bytes of the outputs that are binary.
//!
//! JSON data are flat. NaN and the infinities are the texts `"NaN"`, `"Infinity"`, `"-Infinity"`, as on `/v1`.

use std::io::Write;

use crate::http::oip::failure::Refusal;
use crate::http::oip::request::RequestedOutput;
use crate::http::{self};
use crate::types::oip::{OutputTensor, encode_raw, select, write_json_data};
use crate::types::prediction::Prediction;

/// What the request says about its answer.
pub(super) struct Asked<'a> {
    pub(super) id: Option<&'a str>,
    /// None for all, in the model's order.
    pub(super) outputs: &'a [RequestedOutput],
    /// Of outputs that do not say it themselves.
    pub(super) binary: bool,
}

pub(super) struct Encoded {
    pub(super) body: Vec<u8>,
    /// Where the bytes begin, if any output is binary.
    pub(super) json_length: Option<usize>,
}

pub(super) fn encode(prediction: &Prediction, asked: &Asked<'_>) -> Result<Encoded, Refusal> {
    let outputs = select(&prediction.outputs, asked.outputs)?;
    Ok(write(prediction, asked, &outputs).map_err(|source| http::Error::Encode { source })?)
}

fn write(
    prediction: &Prediction,
    asked: &Asked<'_>,
    outputs: &[OutputTensor<'_>],
) -> serde_json::Result<Encoded> {
    let served = &prediction.served_by;
    let mut json = Vec::with_capacity(256);
    json.extend_from_slice(b"{\"model_name\":");
    serde_json::to_writer(&mut json, &*served.name)?;
    put(
        &mut json,
        format_args!(",\"model_version\":\"{}\"", served.version),
    )?;
    if let Some(id) = asked.id {
        json.extend_from_slice(b",\"id\":");
        serde_json::to_writer(&mut json, id)?;
    }
    json.extend_from_slice(b",\"outputs\":[");
    let mut bytes = Vec::new();
    let mut any_binary = false;
    for (place, output) in outputs.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        json.extend_from_slice(b"{\"name\":");
        serde_json::to_writer(&mut json, &**output.name)?;
        let datatype = output.tensor.dtype().oip_name();
        put(
            &mut json,
            format_args!(",\"datatype\":\"{datatype}\",\"shape\":"),
        )?;
        serde_json::to_writer(&mut json, output.tensor.shape())?;
        let own = asked.outputs.get(place).and_then(|output| output.binary);
        if own.unwrap_or(asked.binary) {
            any_binary = true;
            let start = bytes.len();
            encode_raw(&output.tensor, &mut bytes);
            let size = bytes.len() - start;
            put(
                &mut json,
                format_args!(",\"parameters\":{{\"binary_data_size\":{size}}}}}"),
            )?;
        } else {
            json.extend_from_slice(b",\"data\":");
            write_json_data(&output.tensor, &mut json)?;
            json.push(b'}');
        }
    }
    json.extend_from_slice(b"]}");
    let json_length = any_binary.then_some(json.len());
    json.extend_from_slice(&bytes);
    Ok(Encoded {
        body: json,
        json_length,
    })
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) -> serde_json::Result<()> {
    out.write_fmt(text).map_err(serde_json::Error::io)
}
