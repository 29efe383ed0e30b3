//! The stack machine that a pickle is a program for.
//!
//! Opcodes and what they do are those of CPython's `pickletools`. The machine makes at most one node per opcode,
//! apart from calls, and never looks at more of the input than there is.

use std::borrow::Cow;

use num_bigint::BigInt;

use super::super::codec::Objects;
use super::super::json::MAX_DIGITS;
use super::super::{Accept, Codec, DecodeError};
use super::calls::{self, Callable};
use super::memory::Memory;
use super::node::{Global, Id, Node, ObjectNode};
use super::{numpy, text};
use crate::jobs::value::Value;

/// Bytes of the largest integer that is read: about `MAX_DIGITS` digits.
const MAX_INT_BYTES: usize = MAX_DIGITS * 10 / 24;

/// Runs the program; the node is what it leaves.
pub(super) fn run<'a>(
    bytes: &'a [u8],
    objects: Objects,
    accept: &Accept,
) -> Result<(Memory<'a>, Id), DecodeError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        opcode_at: 0,
        protocol: 0,
        objects,
        memory: Memory::new(accept),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        n_memoized: 0,
    };
    loop {
        machine.opcode_at = machine.at;
        let [opcode] = machine.array()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok((machine.memory, root));
        }
        machine.step(opcode)?;
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the opcode stands that is being run; errors name it.
    opcode_at: usize,
    protocol: u8,
    objects: Objects,
    memory: Memory<'a>,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    n_memoized: usize,
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Result<(), DecodeError> {
        match opcode {
            0x80 => self.protocol_header(),
            0x95 => self.frame(),
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'K' => self
                .array()
                .and_then(|raw| self.push(Node::Int(u8::from_le_bytes(raw).into()))),
            b'M' => self
                .array()
                .and_then(|raw| self.push(Node::Int(u16::from_le_bytes(raw).into()))),
            b'J' => self
                .array()
                .and_then(|raw| self.push(Node::Int(i32::from_le_bytes(raw).into()))),
            0x8a => self.len1().and_then(|len| self.long(len)),
            0x8b => self.len4().and_then(|len| self.long(len)),
            b'I' => self.line_value("an INT", text::int_line),
            b'L' => self.line_value("a LONG", text::long_line),
            b'F' => self.line_value("a FLOAT", |line| {
                str::from_utf8(line).ok()?.parse().ok().map(Value::Float)
            }),
            b'G' => self
                .array()
                .and_then(|raw| self.push(Node::Float(f64::from_be_bytes(raw)))),
            b'V' => self.unicode_line(),
            0x8c => self.len1().and_then(|len| self.unicode(len)),
            b'X' => self.len4().and_then(|len| self.unicode(len)),
            0x8d => self.len8().and_then(|len| self.unicode(len)),
            b'C' => self.len1().and_then(|len| self.binary(len, Node::Bytes)),
            b'B' => self.len4().and_then(|len| self.binary(len, Node::Bytes)),
            0x8e => self.len8().and_then(|len| self.binary(len, Node::Bytes)),
            0x96 => self
                .len8()
                .and_then(|len| self.binary(len, Node::ByteArray)),
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            0x8f => self.push(Node::Set(Vec::new())),
            b'(' => {
                self.memory.charge::<usize>(1)?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'l' => self.marked().and_then(|items| self.push(Node::List(items))),
            b't' => self
                .marked()
                .and_then(|items| self.push(Node::Tuple(items))),
            0x91 => self
                .marked()
                .and_then(|items| self.push(Node::FrozenSet(items))),
            b'd' => {
                let items = self.marked()?;
                let pairs = self.pairs(&items)?;
                self.push(Node::Dict(pairs))
            }
            0x85 => self.small_tuple(1),
            0x86 => self.small_tuple(2),
            0x87 => self.small_tuple(3),
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            b'e' => self.marked().and_then(|items| self.append(items)),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![(key, value)])
            }
            b'u' => {
                let items = self.marked()?;
                let pairs = self.pairs(&items)?;
                self.set_items(pairs)
            }
            0x90 => self.marked().and_then(|items| self.add_items(items)),
            b'0' => self.pop_or_unmark(),
            b'1' => self.marked().map(drop),
            b'2' => self.top().and_then(|top| self.push_id(top)),
            0x94 => self.memoize(self.n_memoized),
            b'q' => self.len1().and_then(|index| self.memoize(index)),
            b'r' => self.len4().and_then(|index| self.memoize(index)),
            b'p' => self.index_line().and_then(|index| self.memoize(index)),
            b'h' => self.len1().and_then(|index| self.recall(index)),
            b'j' => self.len4().and_then(|index| self.recall(index)),
            b'g' => self.index_line().and_then(|index| self.recall(index)),
            b'c' => {
                let (module, name) = (self.text_line()?, self.text_line()?);
                self.global(Cow::Borrowed(module), Cow::Borrowed(name))
            }
            0x93 => self.stack_global(),
            b'R' => self.reduce(),
            0x81 => self.new_object(None),
            0x92 => {
                let kwargs = self.pop()?;
                self.new_object(Some(kwargs))
            }
            b'b' => self.build(),
            _ => Err(self.refused(opcode)),
        }
    }

    /// Opcodes that no plain value needs, and bytes that are no opcode.
    fn refused(&self, opcode: u8) -> DecodeError {
        let what = match opcode {
            b'P' | b'Q' => "a persistent id",
            b'i' | b'o' => "an old-style instance",
            0x82..=0x84 => "an object of the extension registry",
            0x97 | 0x98 => "an out-of-band buffer",
            b'S' | b'T' | b'U' => "a text of Python 2",
            _ => return self.error(format!("unknown opcode {opcode:02x}")),
        };
        DecodeError::NotPlain {
            what: what.to_owned(),
            offset: self.opcode_at,
        }
    }

    fn error(&self, what: impl Into<String>) -> DecodeError {
        DecodeError::Malformed {
            codec: Codec::Pickle,
            what: what.into(),
            offset: self.opcode_at,
        }
    }
}

/// Reading the input.
impl<'a> Machine<'a> {
    fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(n_bytes);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += n_bytes;
                Ok(bytes)
            }
            None => Err(self.error(format!("{n_bytes} bytes are claimed and not there"))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn line(&mut self) -> Result<&'a [u8], DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(len) => {
                self.at += len + 1;
                Ok(rest.get(..len).unwrap_or_default())
            }
            None => Err(self.error("a line without end")),
        }
    }

    fn text_line(&mut self) -> Result<&'a str, DecodeError> {
        let line = self.line()?;
        str::from_utf8(line).map_err(|_| self.error("a name that is not UTF-8"))
    }

    fn index_line(&mut self) -> Result<usize, DecodeError> {
        let line = self.text_line()?;
        line.parse()
            .map_err(|_| self.error("a malformed memo index"))
    }

    fn len1(&mut self) -> Result<usize, DecodeError> {
        Ok(usize::from(u8::from_le_bytes(self.array()?)))
    }

    fn len4(&mut self) -> Result<usize, DecodeError> {
        let len = u32::from_le_bytes(self.array()?);
        usize::try_from(len).map_err(|_| self.error("a length beyond this machine"))
    }

    fn len8(&mut self) -> Result<usize, DecodeError> {
        let len = u64::from_le_bytes(self.array()?);
        usize::try_from(len).map_err(|_| self.error("a length beyond this machine"))
    }

    fn protocol_header(&mut self) -> Result<(), DecodeError> {
        const NEWEST: u8 = 5;
        let [protocol] = self.array()?;
        if protocol > NEWEST {
            return Err(self.error(format!("protocol {protocol} is newer than {NEWEST}")));
        }
        self.protocol = protocol;
        Ok(())
    }

    /// A frame only promises how much follows.
    fn frame(&mut self) -> Result<(), DecodeError> {
        let len = self.len8()?;
        if len > self.bytes.len() - self.at {
            return Err(self.error(format!("a frame of {len} bytes is claimed and not there")));
        }
        Ok(())
    }
}

/// Numbers, text and bytes.
impl<'a> Machine<'a> {
    fn long(&mut self, len: usize) -> Result<(), DecodeError> {
        let raw = self.take(len)?;
        if len > MAX_INT_BYTES {
            return Err(self.error(format!("an integer of more than {MAX_DIGITS} digits")));
        }
        self.push_value(Value::from(BigInt::from_signed_bytes_le(raw)))
    }

    fn line_value(
        &mut self,
        what: &str,
        read: impl FnOnce(&[u8]) -> Option<Value>,
    ) -> Result<(), DecodeError> {
        let line = self.line()?;
        match read(line) {
            Some(value) => self.push_value(value),
            None => Err(self.error(format!("{what} that is no number, or too long"))),
        }
    }

    fn push_value(&mut self, value: Value) -> Result<(), DecodeError> {
        let node = match value {
            Value::Bool(flag) => Node::Bool(flag),
            Value::Int(value) => Node::Int(value),
            Value::Float(value) => Node::Float(value),
            Value::BigInt(value) => {
                self.memory.charge::<u8>(MAX_INT_BYTES)?;
                Node::BigInt(value)
            }
            other => Node::Plain(Box::new(other)),
        };
        self.push(node)
    }

    fn unicode(&mut self, len: usize) -> Result<(), DecodeError> {
        let raw = self.take(len)?;
        match str::from_utf8(raw) {
            Ok(text) => self.push(Node::Str(Cow::Borrowed(text))),
            Err(_) => Err(self.error("text that is not UTF-8, or has a lone surrogate")),
        }
    }

    fn unicode_line(&mut self) -> Result<(), DecodeError> {
        let line = self.line()?;
        self.memory.charge::<[u8; 2]>(line.len())?;
        match text::raw_unicode(line) {
            Some(text) => self.push(Node::Str(text)),
            None => Err(self.error("text with a malformed escape, or a lone surrogate")),
        }
    }

    fn binary(
        &mut self,
        len: usize,
        node: fn(Cow<'a, [u8]>) -> Node<'a>,
    ) -> Result<(), DecodeError> {
        let raw = self.take(len)?;
        self.push(node(Cow::Borrowed(raw)))
    }
}

/// The stack, its marks and the memo.
impl<'a> Machine<'a> {
    fn push(&mut self, node: Node<'a>) -> Result<(), DecodeError> {
        let id = self.memory.add(node)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Result<(), DecodeError> {
        self.memory.charge::<Id>(1)?;
        self.stack.push(id);
        Ok(())
    }

    /// What lies below the last mark is out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, DecodeError> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.floor() => Ok(*id),
            _ => Err(self.error("the stack is empty")),
        }
    }

    fn pop(&mut self) -> Result<Id, DecodeError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_or_unmark(&mut self) -> Result<(), DecodeError> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    /// Everything above the last mark, and the mark.
    fn marked(&mut self) -> Result<Vec<Id>, DecodeError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.error("there is no mark on the stack")),
        }
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, DecodeError> {
        let (pairs, rest) = items.as_chunks::<2>();
        if rest.is_empty() {
            Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
        } else {
            Err(self.error("a key without a value"))
        }
    }

    fn small_tuple(&mut self, len: usize) -> Result<(), DecodeError> {
        let start = self.stack.len().checked_sub(len);
        match start {
            Some(start) if start >= self.floor() => {
                let items = self.stack.split_off(start);
                self.push(Node::Tuple(items))
            }
            _ => Err(self.error("the stack is empty")),
        }
    }

    /// A pickle numbers its memo from zero, at most one entry per opcode: a larger index than the pickle has bytes
    /// was made up.
    fn memoize(&mut self, index: usize) -> Result<(), DecodeError> {
        let top = self.top()?;
        if index >= self.bytes.len() {
            return Err(self.error(format!("memo index {index} is larger than the pickle")));
        }
        if index >= self.memo.len() {
            self.memory
                .charge::<Option<Id>>(index + 1 - self.memo.len())?;
            self.memo.resize(index + 1, None);
        }
        if let Some(entry) = self.memo.get_mut(index) {
            self.n_memoized += usize::from(entry.is_none());
            *entry = Some(top);
        }
        Ok(())
    }

    fn recall(&mut self, index: usize) -> Result<(), DecodeError> {
        match self.memo.get(index).copied().flatten() {
            Some(id) => self.push_id(id),
            None => Err(self.error(format!("memo entry {index} was never set"))),
        }
    }
}

/// Filling containers.
impl Machine<'_> {
    fn append(&mut self, items: Vec<Id>) -> Result<(), DecodeError> {
        self.memory.charge::<Id>(items.len())?;
        let target = self.top()?;
        match self.memory.node_mut(target) {
            Some(Node::List(list)) => list.extend(items),
            Some(Node::Object(object)) => object.items.extend(items),
            _ => return Err(self.misuse("appended to", target)),
        }
        Ok(())
    }

    fn add_items(&mut self, items: Vec<Id>) -> Result<(), DecodeError> {
        self.memory.charge::<Id>(items.len())?;
        let target = self.top()?;
        match self.memory.node_mut(target) {
            Some(Node::Set(set)) => set.extend(items),
            _ => return Err(self.misuse("added to", target)),
        }
        Ok(())
    }

    fn set_items(&mut self, pairs: Vec<(Id, Id)>) -> Result<(), DecodeError> {
        self.memory.charge::<(Id, Id)>(pairs.len())?;
        let target = self.top()?;
        if let Node::Object(_) = self.memory.node(target) {
            for (key, value) in pairs {
                let pair = self.memory.add(Node::Tuple(vec![key, value]))?;
                if let Some(Node::Object(object)) = self.memory.node_mut(target) {
                    object.items.push(pair);
                }
            }
            return Ok(());
        }
        match self.memory.node_mut(target) {
            Some(Node::Dict(dict)) => dict.extend(pairs),
            _ => return Err(self.misuse("given items", target)),
        }
        Ok(())
    }

    fn misuse(&self, what: &str, target: Id) -> DecodeError {
        self.error(format!(
            "a {} is {what}",
            self.memory.node(target).type_name()
        ))
    }
}

/// Classes, functions and objects.
impl<'a> Machine<'a> {
    fn stack_global(&mut self) -> Result<(), DecodeError> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.memory.node(module), self.memory.node(name)) {
            (Node::Str(module), Node::Str(name)) => {
                let (module, name) = (module.clone(), name.clone());
                self.memory.charge::<u8>(module.len() + name.len())?;
                self.global(module, name)
            }
            _ => Err(self.error("a class whose name is no text")),
        }
    }

    fn global(&mut self, module: Cow<'a, str>, name: Cow<'a, str>) -> Result<(), DecodeError> {
        let module = if self.protocol < 3 {
            calls::module_of_python_3(module)
        } else {
            module
        };
        if let Some(callable) = Callable::named(&module, &name) {
            return self.push(Node::Callable(callable));
        }
        if self.objects == Objects::Refuse {
            return Err(DecodeError::NotPlain {
                what: format!("`{}.{}`", text::shown(&module), text::shown(&name)),
                offset: self.opcode_at,
            });
        }
        self.push(Node::Global(Box::new(Global { module, name })))
    }

    fn reduce(&mut self) -> Result<(), DecodeError> {
        let (args, function) = (self.pop()?, self.pop()?);
        if self.memory.tuple(args).is_none() {
            return Err(self.error("a call whose arguments are no tuple"));
        }
        match self.memory.node(function) {
            Node::Callable(callable) => {
                let callable = *callable;
                let made = calls::call(&mut self.memory, callable, args)?;
                match made {
                    Some(node) => self.push(node),
                    None => {
                        Err(self
                            .error(format!("a call of `{callable}` that Python does not write")))
                    }
                }
            }
            Node::Global(class) => {
                let class = Global::clone(class);
                self.object(class, args, None)
            }
            // What a call returned is called: a record of the outer call says enough.
            Node::Object(object) => {
                let class = object.class.clone();
                self.object(class, args, None)
            }
            other => Err(self.error(format!("a call of a {}", other.type_name()))),
        }
    }

    fn new_object(&mut self, kwargs: Option<Id>) -> Result<(), DecodeError> {
        let (args, class) = (self.pop()?, self.pop()?);
        match self.memory.node(class) {
            Node::Callable(Callable::Uuid)
                if kwargs.is_none() && self.memory.tuple(args) == Some(&[]) =>
            {
                self.push(Node::EmptyUuid)
            }
            Node::Global(class) => {
                let class = Global::clone(class);
                self.object(class, args, kwargs)
            }
            other => Err(self.error(format!("an object made of a {}", other.type_name()))),
        }
    }

    fn object(
        &mut self,
        class: Global<'a>,
        args: Id,
        kwargs: Option<Id>,
    ) -> Result<(), DecodeError> {
        let Some(args) = self.memory.tuple(args).map(<[Id]>::to_vec) else {
            return Err(self.error("an object whose arguments are no tuple"));
        };
        let kwargs = match kwargs.map(|kwargs| self.memory.node(kwargs)) {
            None => Vec::new(),
            Some(Node::Dict(kwargs)) => kwargs.clone(),
            Some(_) => return Err(self.error("an object whose keyword arguments are no dict")),
        };
        self.memory.charge::<Id>(args.len() + 2 * kwargs.len())?;
        self.memory.charge::<ObjectNode<'a>>(1)?;
        self.memory
            .charge::<u8>(class.module.len() + class.name.len())?;
        self.push(Node::Object(Box::new(ObjectNode {
            class,
            args,
            kwargs,
            state: None,
            items: Vec::new(),
        })))
    }

    fn build(&mut self) -> Result<(), DecodeError> {
        let state = self.pop()?;
        let target = self.top()?;
        let built = match self.memory.node(target) {
            Node::Object(_) => {
                if let Some(Node::Object(object)) = self.memory.node_mut(target) {
                    object.state = Some(state);
                }
                return Ok(());
            }
            Node::EmptyUuid => calls::uuid(&self.memory, state),
            Node::DType(dtype) => numpy::dtype_with_state(&self.memory, *dtype, state),
            Node::EmptyArray => numpy::array_with_state(&mut self.memory, state)?,
            other => return Err(self.error(format!("a {} is given a state", other.type_name()))),
        };
        match (built, self.memory.node_mut(target)) {
            (Some(built), Some(node)) => {
                *node = built;
                Ok(())
            }
            _ => Err(self.error("a state that Python does not write")),
        }
    }
}
