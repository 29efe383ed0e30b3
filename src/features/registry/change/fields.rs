//! A protobuf message as its fields stand on the wire, to be cut and joined again.
//!
//! Nothing is decoded but where fields begin and end, so that what is not touched comes out as it went in.

use crate::features::codec::wire::{Content, Reader, WireError};

/// A message as its fields stand on the wire.
pub(super) struct Fields<'a>(pub(super) Vec<Field<'a>>);

#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    /// Tag, length and content.
    pub(super) whole: &'a [u8],
    pub(super) content: Content<'a>,
}

impl<'a> Field<'a> {
    /// The content of a message, text or bytes; nothing for a number.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.content.bytes(self.number).unwrap_or_default()
    }
}

impl<'a> Fields<'a> {
    pub(super) fn split(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut fields = Vec::new();
        loop {
            let before = reader.rest();
            let Some((number, content)) = reader.field()? else {
                return Ok(Self(fields));
            };
            let whole = &before[..before.len() - reader.rest().len()];
            fields.push(Field {
                number,
                whole,
                content,
            });
        }
    }

    pub(super) fn position(&self, number: u32, is_it: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let mut fields = self.0.iter();
        fields.position(|field| field.number == number && is_it(field.bytes()))
    }

    /// `whole` stands in place of the first field of this number and all others of it go; empty removes the field.
    pub(super) fn set(&mut self, number: u32, whole: &'a [u8]) {
        let at = self.0.iter().position(|field| field.number == number);
        self.0.retain(|field| field.number != number);
        let at = at.unwrap_or_else(|| self.end_of(number));
        self.insert(at, number, whole);
    }

    /// `whole` comes behind the last field of this number.
    pub(super) fn append(&mut self, number: u32, whole: &'a [u8]) {
        let last = self.0.iter().rposition(|field| field.number == number);
        let at = last.map_or_else(|| self.end_of(number), |last| last + 1);
        self.insert(at, number, whole);
    }

    fn insert(&mut self, at: usize, number: u32, whole: &'a [u8]) {
        let content = Content::Bytes(&[]);
        self.0.insert(
            at,
            Field {
                number,
                whole,
                content,
            },
        );
    }

    /// Where a field of this number would stand among fields in order.
    fn end_of(&self, number: u32) -> usize {
        let before = self.0.iter().rposition(|field| field.number <= number);
        before.map_or(0, |before| before + 1)
    }

    pub(super) fn join(&self) -> Vec<u8> {
        let parts: Vec<&[u8]> = self.0.iter().map(|field| field.whole).collect();
        parts.concat()
    }
}
