//! Python's pickle, read without Python: protocols 0 to 5 for plain values.
//!
//! A pickle is a program for a stack machine that can call anything. This machine runs the program over inert
//! nodes: a call of one of the functions in `calls` makes the plain value that Python would make, and any other
//! class or function is refused, or becomes a record of its name and arguments where objects are recorded.
//!
//! Reading has three steps, each bounded:
//! 1. `machine` runs the program; every node and copy is charged to the memory limit before it is made.
//! 2. `tree` measures what the result unfolds into, without unfolding it: a node that is used twice counts twice,
//!    so a bomb of doublings is found in linear time. A value inside of itself is refused.
//! 3. `tree` builds the value.
//!
//! Writing makes protocol 4 without frames or memo, which every Python from 3.4 on reads.
//! Refused always: persistent ids, the extension registry, out-of-band buffers, old-style instances, texts of
//! Python 2, lone surrogates.

mod calls;
mod machine;
mod memory;
mod node;
mod numpy;
mod text;
mod tree;
mod write;

use super::codec::Objects;
use super::{Accept, DecodeError};
use crate::jobs::value::Value;

pub(super) use self::write::{put, put_exception, put_header, put_stop, put_text};

pub(super) fn decode(
    bytes: &[u8],
    objects: Objects,
    accept: &Accept,
) -> Result<Value, DecodeError> {
    let (memory, root) = machine::run(bytes, objects, accept)?;
    tree::unfold(&memory, root, accept)
}
