//! Writes the map of a job or result field by field, without a copy of its values.

use super::{Codec, EncodeError, FailureForm, Raised, keys, msgpack, pickle};
use crate::jobs::value::Value;
use crate::types::timestamp::Timestamp;

pub(super) struct MapWriter {
    codec: Codec,
    out: Vec<u8>,
    is_first: bool,
}

impl MapWriter {
    /// `n_fields` is below 16.
    pub(super) fn new(codec: Codec, n_fields: u8) -> Self {
        let mut out = Vec::with_capacity(256);
        match codec {
            Codec::Pickle => {
                pickle::put_header(&mut out);
                out.extend_from_slice(b"}(");
            }
            Codec::MsgPack => out.push(0x80 | n_fields),
            Codec::Json => out.push(b'{'),
        }
        Self {
            codec,
            out,
            is_first: true,
        }
    }

    pub(super) fn put(&mut self, field: &str, value: &Value) -> Result<(), EncodeError> {
        self.put_key(field)?;
        self.codec.put(&mut self.out, value)
    }

    pub(super) fn put_text(&mut self, field: &str, text: &str) -> Result<(), EncodeError> {
        self.put_key(field)?;
        self.codec.put_text(&mut self.out, text)
    }

    pub(super) fn put_time(&mut self, field: &str, time: Timestamp) -> Result<(), EncodeError> {
        self.put(field, &Value::Int(keys::millis(time)))
    }

    pub(super) fn put_raised(
        &mut self,
        field: &str,
        raised: &Raised,
        form: FailureForm,
    ) -> Result<(), EncodeError> {
        self.put_key(field)?;
        raised.put(&mut self.out, self.codec, form)
    }

    /// Arguments are a tuple in Python; the other two codecs have only arrays.
    pub(super) fn put_args(&mut self, field: &str, args: &[Value]) -> Result<(), EncodeError> {
        self.put_key(field)?;
        match self.codec {
            Codec::Pickle => self.out.push(b'('),
            Codec::MsgPack => msgpack::put_array_len(&mut self.out, args.len())?,
            Codec::Json => self.out.push(b'['),
        }
        for (place, arg) in args.iter().enumerate() {
            self.separate(place);
            self.codec.put(&mut self.out, arg)?;
        }
        match self.codec {
            Codec::Pickle => self.out.push(b't'),
            Codec::MsgPack => {}
            Codec::Json => self.out.push(b']'),
        }
        Ok(())
    }

    pub(super) fn put_kwargs(
        &mut self,
        field: &str,
        kwargs: &[(String, Value)],
    ) -> Result<(), EncodeError> {
        self.put_key(field)?;
        match self.codec {
            Codec::Pickle => self.out.extend_from_slice(b"}("),
            Codec::MsgPack => msgpack::put_map_len(&mut self.out, kwargs.len())?,
            Codec::Json => self.out.push(b'{'),
        }
        for (place, (name, value)) in kwargs.iter().enumerate() {
            self.separate(place);
            self.put_name(name)?;
            self.codec.put(&mut self.out, value)?;
        }
        match self.codec {
            Codec::Pickle => self.out.push(b'u'),
            Codec::MsgPack => {}
            Codec::Json => self.out.push(b'}'),
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        match self.codec {
            Codec::Pickle => {
                self.out.push(b'u');
                pickle::put_stop(&mut self.out);
            }
            Codec::MsgPack => {}
            Codec::Json => self.out.push(b'}'),
        }
        self.out
    }

    fn put_key(&mut self, field: &str) -> Result<(), EncodeError> {
        self.separate(usize::from(!self.is_first));
        self.is_first = false;
        self.put_name(field)
    }

    /// A key; in JSON with its colon.
    fn put_name(&mut self, name: &str) -> Result<(), EncodeError> {
        self.codec.put_text(&mut self.out, name)?;
        if self.codec == Codec::Json {
            self.out.push(b':');
        }
        Ok(())
    }

    fn separate(&mut self, place: usize) {
        if self.codec == Codec::Json && place > 0 {
            self.out.push(b',');
        }
    }
}
