//! JSON as Python's `json` module reads and writes it.
//!
//! It differs from strict JSON: `NaN`, `Infinity` and `-Infinity` are numbers, integers have any size (here up to
//! 4300 digits, as in Python), and of equal keys the last wins. Lone surrogates are refused.

use num_bigint::BigInt;

use super::accept::{Budget, deeper};
use super::{Accept, Codec, DecodeError, EncodeError};
use crate::jobs::value::Value;

/// Python's own bound for integers as text; what is above takes quadratic time.
pub(super) const MAX_DIGITS: usize = 4300;

pub(super) fn decode(bytes: &[u8], accept: &Accept) -> Result<Value, DecodeError> {
    let mut reader = Reader {
        bytes,
        at: 0,
        accept,
        budget: Budget::new(accept),
    };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at < bytes.len() {
        return Err(reader.error("something after the value"));
    }
    Ok(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    accept: &'a Accept,
    budget: Budget,
}

impl Reader<'_> {
    fn error(&self, what: impl Into<String>) -> DecodeError {
        DecodeError::Malformed {
            codec: Codec::Json,
            what: what.into(),
            offset: self.at,
        }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes that word, if it is next.
    fn takes(&mut self, word: &[u8]) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        self.budget.take_values::<Value>(1)?;
        match self.peek() {
            Some(b'{') => self.object(deeper(depth, self.accept)?),
            Some(b'[') => self.array(deeper(depth, self.accept)?),
            Some(b'"') => self.string().map(Value::Str),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.takes(b"null") => Ok(Value::None),
            _ if self.takes(b"true") => Ok(Value::Bool(true)),
            _ if self.takes(b"false") => Ok(Value::Bool(false)),
            _ if self.takes(b"NaN") => Ok(Value::Float(f64::NAN)),
            _ if self.takes(b"Infinity") => Ok(Value::Float(f64::INFINITY)),
            Some(_) => Err(self.error("no value")),
            None => Err(self.error("the end")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.takes(b"]") {
            return Ok(Value::List(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth)?);
            self.skip_space();
            if self.takes(b"]") {
                return Ok(Value::List(items));
            }
            if !self.takes(b",") {
                return Err(self.error("neither `,` nor `]` in an array"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let mut pairs = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.takes(b"}") {
            return Ok(Value::Dict(pairs));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.error("no key in an object"));
            }
            self.budget.take_values::<Value>(1)?;
            let key = Value::Str(self.string()?);
            self.skip_space();
            if !self.takes(b":") {
                return Err(self.error("no `:` after a key"));
            }
            self.skip_space();
            pairs.push((key, self.value(depth)?));
            self.skip_space();
            if self.takes(b"}") {
                return Value::dict(pairs).map_err(|error| self.error(error.to_string()));
            }
            if !self.takes(b",") {
                return Err(self.error("neither `,` nor `}` in an object"));
            }
        }
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
            let n_plain = self.rest().iter().take_while(|byte| is_plain(byte)).count();
            self.budget.take(n_plain)?;
            match str::from_utf8(self.rest().get(..n_plain).unwrap_or_default()) {
                Ok(plain) => text.push_str(plain),
                Err(_) => return Err(self.error("text that is not UTF-8")),
            }
            self.at += n_plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.error("a control character in text")),
                None => return Err(self.error("the end inside of text")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        self.budget.take(size_of::<char>())?;
        let kind = self.bytes.get(self.at + 1).copied();
        let plain = match kind {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.error("an unknown escape")),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, DecodeError> {
        let surrogate = "a surrogate without its other half";
        let high = self.hex_unit()?;
        if !(0xd800..0xe000).contains(&high) {
            return char::from_u32(high).ok_or_else(|| self.error(surrogate));
        }
        if high >= 0xdc00 || !self.rest().starts_with(b"\\u") {
            return Err(self.error(surrogate));
        }
        let low = self.hex_unit()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(self.error(surrogate));
        }
        let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        char::from_u32(code).ok_or_else(|| self.error(surrogate))
    }

    /// The number of `\uXXXX`.
    fn hex_unit(&mut self) -> Result<u32, DecodeError> {
        let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
        let mut unit = 0;
        for digit in digits {
            let Some(digit) = char::from(*digit).to_digit(16) else {
                return Err(self.error("an escape without four hexadecimal digits"));
            };
            unit = unit * 16 + digit;
        }
        if digits.len() < 4 {
            return Err(self.error("an escape without four hexadecimal digits"));
        }
        self.at += 6;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Value, DecodeError> {
        if self.takes(b"-Infinity") {
            return Ok(Value::Float(f64::NEG_INFINITY));
        }
        let start = self.at;
        self.takes(b"-");
        let n_digits = self.digits();
        let leading_zero = n_digits > 1 && self.bytes.get(self.at - n_digits) == Some(&b'0');
        if n_digits == 0 || leading_zero {
            return Err(self.error("a malformed number"));
        }
        let mut is_float = false;
        if self.takes(b".") {
            is_float = true;
            if self.digits() == 0 {
                return Err(self.error("a number without digits after its point"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_float = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.error("a number without digits in its exponent"));
            }
        }
        let bytes = self.bytes.get(start..self.at).unwrap_or_default();
        let text = str::from_utf8(bytes).unwrap_or_default();
        let number = if is_float {
            text.parse().ok().map(Value::Float)
        } else {
            integer(text)
        };
        let too_long = || self.error(format!("an integer of more than {MAX_DIGITS} digits"));
        let number = number.ok_or_else(too_long)?;
        if let Value::BigInt(_) = number {
            self.budget.take(bytes.len())?;
        }
        Ok(number)
    }

    fn digits(&mut self) -> usize {
        let n_digits = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.at += n_digits;
        n_digits
    }
}

/// The integer of a decimal text, within Python's bound.
pub(super) fn integer(text: &str) -> Option<Value> {
    if let Ok(small) = text.parse::<i64>() {
        return Some(Value::Int(small));
    }
    let n_digits = text.bytes().filter(u8::is_ascii_digit).count();
    if n_digits > MAX_DIGITS {
        return None;
    }
    text.parse::<BigInt>().ok().map(Value::from)
}

pub(super) fn put(out: &mut Vec<u8>, value: &Value) -> Result<(), EncodeError> {
    match value {
        Value::None => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::BigInt(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Float(value) if value.is_nan() => out.extend_from_slice(b"NaN"),
        Value::Float(value) if value.is_infinite() => {
            out.extend_from_slice(if *value > 0.0 {
                b"Infinity"
            } else {
                b"-Infinity"
            });
        }
        Value::Float(value) => out.extend_from_slice(format!("{value:?}").as_bytes()),
        Value::Str(text) => put_text(out, text),
        Value::List(items) | Value::Tuple(items) => {
            out.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                put(out, item)?;
            }
            out.push(b']');
        }
        Value::Dict(pairs) => {
            out.push(b'{');
            for (place, (key, value)) in pairs.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                let Value::Str(key) = key else {
                    return no_form(format!("a dict with a key of type {}", key.type_name()));
                };
                put_text(out, key);
                out.push(b':');
                put(out, value)?;
            }
            out.push(b'}');
        }
        other => return no_form(format!("a value of type {}", other.type_name())),
    }
    Ok(())
}

fn no_form(what: String) -> Result<(), EncodeError> {
    Err(EncodeError::NoForm {
        what,
        codec: Codec::Json,
    })
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain = 0;
    for (place, byte) in text.bytes().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..0x20) {
            continue;
        }
        out.extend_from_slice(text.as_bytes().get(plain..place).unwrap_or_default());
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        plain = place + 1;
    }
    out.extend_from_slice(text.as_bytes().get(plain..).unwrap_or_default());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        decode(text.as_bytes(), &Accept::default()).map_err(|error| error.to_string())
    }

    fn written(value: &Value) -> String {
        let mut out = Vec::new();
        put(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_that_only_python_writes_are_read_and_written() {
        let text = "[NaN,Infinity,-Infinity,1e+16,-0,-0.0,123456789012345678901234567890]";
        let value = read(text).unwrap();
        assert_eq!(
            written(&value),
            "[NaN,Infinity,-Infinity,1e16,0,-0.0,123456789012345678901234567890]"
        );
    }

    #[test]
    fn escapes_are_those_of_json() {
        assert_eq!(
            read(r#""\"\\\/\b\f\n\r\t\u00e9\ud83e\udd80""#).unwrap(),
            Value::from("\"\\/\u{8}\u{c}\n\r\té🦀")
        );
        assert_eq!(
            written(&Value::from("a\"\\\n\u{1}é")),
            r#""a\"\\\n\u0001é""#
        );
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for (text, wanted) in [
            ("", "json: the end at byte 0"),
            ("[1,]", "json: no value at byte 3"),
            ("[01]", "json: a malformed number at byte 3"),
            (
                "[1.]",
                "json: a number without digits after its point at byte 3",
            ),
            ("{\"a\":1,}", "json: no key in an object at byte 7"),
            ("{\"a\" 1}", "json: no `:` after a key at byte 5"),
            (
                "\"\\ud800\"",
                "json: a surrogate without its other half at byte 7",
            ),
            (
                "\"\\u12\"",
                "json: an escape without four hexadecimal digits at byte 1",
            ),
            ("\"a\nb\"", "json: a control character in text at byte 2"),
            ("1 2", "json: something after the value at byte 2"),
            ("nul", "json: no value at byte 0"),
            ("[1", "json: neither `,` nor `]` in an array at byte 2"),
        ] {
            assert_eq!(read(text).unwrap_err(), wanted, "{text}");
        }
    }

    #[test]
    fn an_integer_beyond_pythons_bound_is_refused() {
        assert!(read(&"9".repeat(MAX_DIGITS)).is_ok());
        let error = read(&"9".repeat(MAX_DIGITS + 1)).unwrap_err();
        assert!(error.contains("more than 4300 digits"), "{error}");
    }

    #[test]
    fn depth_and_memory_are_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(read(&deep).unwrap_err(), "nested more than 160 levels deep");
        let accept = Accept {
            max_memory: 1000,
            ..Accept::default()
        };
        let many = format!("[{}1]", "1,".repeat(1000));
        let error = decode(many.as_bytes(), &accept).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the value needs more than 1000 bytes of memory"
        );
    }
}
