//! From nodes to a value: what is shared becomes copies, within the limits.

use super::super::{Accept, DecodeError};
use super::memory::Memory;
use super::node::{Id, Node};
use crate::jobs::value::{Object, Unhashable, Value};

/// The value of a node with everything below it.
pub(super) fn unfold(memory: &Memory<'_>, root: Id, accept: &Accept) -> Result<Value, DecodeError> {
    let mut measuring = Measuring {
        memory,
        accept,
        sizes: vec![Size::Unknown; memory.len()],
    };
    let (bytes, _) = measuring.size(root, 0)?;
    if bytes > accept.max_memory {
        return Err(DecodeError::TooMuchMemory {
            limit: accept.max_memory,
        });
    }
    build(memory, root)
}

/// What a node unfolds into.
#[derive(Debug, Clone, Copy)]
enum Size {
    Unknown,
    /// Being measured: to meet it again is to be inside of it.
    Open,
    Known {
        bytes: usize,
        height: usize,
    },
}

struct Measuring<'m, 'a> {
    memory: &'m Memory<'a>,
    accept: &'m Accept,
    sizes: Vec<Size>,
}

impl Measuring<'_, '_> {
    /// Bytes of memory and levels of nesting. Every node is measured once, so this takes linear time.
    fn size(&mut self, id: Id, depth: usize) -> Result<(usize, usize), DecodeError> {
        let place = id.0 as usize;
        let too_deep = DecodeError::TooDeep {
            limit: self.accept.max_depth,
        };
        match self.sizes.get(place) {
            Some(Size::Known { height, .. }) if depth + height > self.accept.max_depth => {
                return Err(too_deep);
            }
            Some(Size::Known { bytes, height }) => return Ok((*bytes, *height)),
            Some(Size::Open) => return Err(error("a value inside of itself")),
            Some(Size::Unknown) | None => {}
        }
        self.set(place, Size::Open);
        let memory = self.memory;
        let mut total = Total {
            bytes: size_of::<Value>(),
            height: 0,
        };
        match memory.node(id) {
            Node::None
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Float(_)
            | Node::Callable(_)
            | Node::TimeZone(_)
            | Node::EmptyUuid
            | Node::DType(_)
            | Node::EmptyArray => {}
            Node::BigInt(value) => {
                total.add(size_of_val(value.as_ref()) + value.bits() as usize / 8)
            }
            Node::Str(text) => total.add(text.len()),
            Node::Bytes(bytes) | Node::ByteArray(bytes) => total.add(bytes.len()),
            Node::Plain(value) => {
                let (bytes, height) = plain_size(value);
                total.bytes = total.bytes.saturating_add(bytes);
                total.height = height;
                if depth + height > self.accept.max_depth {
                    return Err(too_deep);
                }
            }
            Node::Global(class) => {
                total.add(size_of::<Object>() + class.module.len() + class.name.len())
            }
            Node::List(items) | Node::Tuple(items) | Node::Set(items) | Node::FrozenSet(items) => {
                self.parts(items.iter(), depth, &mut total)?;
            }
            Node::Dict(pairs) => {
                let parts = pairs.iter().flat_map(|(key, value)| [key, value]);
                self.parts(parts, depth, &mut total)?;
            }
            Node::Object(object) => {
                total
                    .add(size_of::<Object>() + object.class.module.len() + object.class.name.len());
                let kwargs = object.kwargs.iter().flat_map(|(key, value)| [key, value]);
                let parts = object
                    .args
                    .iter()
                    .chain(kwargs)
                    .chain(&object.state)
                    .chain(&object.items);
                self.parts(parts, depth, &mut total)?;
            }
        }
        let Total { bytes, height } = total;
        self.set(place, Size::Known { bytes, height });
        Ok((bytes, height))
    }

    fn parts<'i>(
        &mut self,
        parts: impl Iterator<Item = &'i Id>,
        depth: usize,
        total: &mut Total,
    ) -> Result<(), DecodeError> {
        if depth >= self.accept.max_depth {
            return Err(DecodeError::TooDeep {
                limit: self.accept.max_depth,
            });
        }
        total.height = total.height.max(1);
        for part in parts {
            let (bytes, height) = self.size(*part, depth + 1)?;
            total.add(bytes);
            total.height = total.height.max(height + 1);
        }
        Ok(())
    }

    fn set(&mut self, place: usize, size: Size) {
        if let Some(entry) = self.sizes.get_mut(place) {
            *entry = size;
        }
    }
}

struct Total {
    bytes: usize,
    height: usize,
}

impl Total {
    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Bytes beyond the value itself, and height, of a value that a call made.
fn plain_size(value: &Value) -> (usize, usize) {
    match value {
        Value::List(items) => {
            let mut size = (0, 0);
            for item in items {
                let (bytes, height) = plain_size(item);
                size = (size.0 + size_of::<Value>() + bytes, size.1.max(height));
            }
            (size.0, size.1 + 1)
        }
        Value::Str(text) | Value::Decimal(text) => (text.len(), 0),
        Value::Bytes(bytes) => (bytes.len(), 0),
        _ => (size_of::<Value>(), 0),
    }
}

fn error(what: impl Into<String>) -> DecodeError {
    DecodeError::NoValue { what: what.into() }
}

fn unhashable(unhashable: Unhashable) -> DecodeError {
    error(unhashable.to_string())
}

fn build(memory: &Memory<'_>, id: Id) -> Result<Value, DecodeError> {
    Ok(match memory.node(id) {
        Node::None => Value::None,
        Node::Bool(flag) => Value::Bool(*flag),
        Node::Int(value) => Value::Int(*value),
        Node::BigInt(value) => Value::BigInt(value.clone()),
        Node::Float(value) => Value::Float(*value),
        Node::Str(text) => Value::from(text.as_ref()),
        Node::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Node::ByteArray(bytes) => Value::ByteArray(bytes.to_vec()),
        Node::List(ids) => Value::List(items(memory, ids)?),
        Node::Tuple(ids) => Value::Tuple(items(memory, ids)?),
        Node::Set(ids) => Value::set(items(memory, ids)?).map_err(unhashable)?,
        Node::FrozenSet(ids) => Value::frozen_set(items(memory, ids)?).map_err(unhashable)?,
        Node::Dict(ids) => Value::dict(pairs(memory, ids)?).map_err(unhashable)?,
        Node::Plain(value) => Value::clone(value),
        Node::Global(class) => Value::Object(Box::new(Object {
            module: class.module.clone().into_owned(),
            name: class.name.clone().into_owned(),
            ..Object::default()
        })),
        Node::Object(object) => Value::Object(Box::new(Object {
            module: object.class.module.clone().into_owned(),
            name: object.class.name.clone().into_owned(),
            args: items(memory, &object.args)?,
            kwargs: pairs(memory, &object.kwargs)?,
            state: object
                .state
                .map_or(Ok(Value::None), |state| build(memory, state))?,
            items: items(memory, &object.items)?,
        })),
        Node::Callable(callable) => {
            return Err(error(format!("`{callable}` is no value by itself")));
        }
        Node::TimeZone(_) | Node::EmptyUuid | Node::DType(_) | Node::EmptyArray => {
            return Err(error(format!(
                "a {} is no value by itself",
                memory.node(id).type_name()
            )));
        }
    })
}

fn items(memory: &Memory<'_>, ids: &[Id]) -> Result<Vec<Value>, DecodeError> {
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        items.push(build(memory, *id)?);
    }
    Ok(items)
}

fn pairs(memory: &Memory<'_>, ids: &[(Id, Id)]) -> Result<Vec<(Value, Value)>, DecodeError> {
    let mut pairs = Vec::with_capacity(ids.len());
    for (key, value) in ids {
        pairs.push((build(memory, *key)?, build(memory, *value)?));
    }
    Ok(pairs)
}
