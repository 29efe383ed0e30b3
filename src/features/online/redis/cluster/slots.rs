//! Which node of a cluster has which key: hash slots, and the reply to `CLUSTER SLOTS`.
//!
//! A key's slot is the CRC-16 (XMODEM) of the part between its first `{` and the next `}`, of the whole key where that part is
//! empty or there is none, modulo 16,384. Feast's keys are binary and may hold such bytes by chance.

use redis::Value;

use super::super::config::Address;

pub(super) const N_SLOTS: usize = 16_384;

/// The masters of a cluster, and the nodes that were named with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slots {
    /// Per slot its master's place among `masters`; `NOBODY` where none serves it.
    owners: Box<[u16]>,
    pub(super) masters: Vec<Address>,
    pub(super) replicas: Vec<Address>,
}

const NOBODY: u16 = u16::MAX;

impl Slots {
    /// Reads a reply to `CLUSTER SLOTS` by the node at `asked`. `None` where it has another shape or serves no slot.
    pub(super) fn read(reply: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = reply else {
            return None;
        };
        let mut slots = Self {
            owners: vec![NOBODY; N_SLOTS].into_boxed_slice(),
            masters: Vec::new(),
            replicas: Vec::new(),
        };
        for range in ranges {
            let Value::Array(parts) = range else {
                return None;
            };
            let [Value::Int(first), Value::Int(last), master, replicas @ ..] = parts.as_slice()
            else {
                return None;
            };
            let master = slots.master(&node(master, asked)?);
            let first = usize::try_from(*first).ok()?;
            let last = usize::try_from(*last).ok()?;
            slots.owners.get_mut(first..=last)?.fill(master);
            let replicas = replicas.iter().filter_map(|replica| node(replica, asked));
            slots.replicas.extend(replicas);
        }
        (!slots.masters.is_empty()).then_some(slots)
    }

    /// The place of a slot's master among `masters`.
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        match self.owners[usize::from(slot) % N_SLOTS] {
            NOBODY => None,
            master => Some(usize::from(master)),
        }
    }

    /// Gives a slot to another master.
    pub(super) fn give(&mut self, slot: u16, address: &Address) {
        self.owners[usize::from(slot) % N_SLOTS] = self.master(address);
    }

    /// The place of a master, which is taken up if it is new.
    fn master(&mut self, address: &Address) -> u16 {
        let known = self.masters.iter().position(|master| master == address);
        let place = known.unwrap_or_else(|| {
            self.masters.push(address.clone());
            self.masters.len() - 1
        });
        // A cluster has at most 16,384 masters.
        u16::try_from(place).unwrap_or(NOBODY)
    }
}

/// A node in the reply: host, port, and more. A host that it does not tell is that of the node which was asked.
fn node(part: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(parts) = part else {
        return None;
    };
    let [host, Value::Int(port), ..] = parts.as_slice() else {
        return None;
    };
    let host = match host {
        Value::Nil => String::new(),
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok()?,
        Value::SimpleString(text) => text.clone(),
        _ => return None,
    };
    Some(Address {
        host: known_host(&host, asked),
        port: u16::try_from(*port).ok()?,
    })
}

fn known_host(host: &str, asked: &Address) -> String {
    if host.is_empty() || host == "?" {
        asked.host.clone()
    } else {
        host.to_owned()
    }
}

/// Where a reply sends the asker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot has another master.
    Moved { slot: u16, to: Address },
    /// The slot is on its way, and this key has arrived already.
    Ask { to: Address },
}

impl Redirect {
    /// Reads `MOVED 3999 127.0.0.1:6381` and `ASK ...` by the node at `asked`; `None` for every other reply.
    pub(super) fn read(reply: &Value, asked: &Address) -> Option<Self> {
        let Value::ServerError(error) = reply else {
            return None;
        };
        let is_moved = match error.kind()? {
            redis::ServerErrorKind::Moved => true,
            redis::ServerErrorKind::Ask => false,
            _ => return None,
        };
        let mut parts = error.details()?.split_ascii_whitespace();
        let slot = parts.next()?.parse().ok()?;
        let (host, port) = parts.next()?.rsplit_once(':')?;
        let to = Address {
            host: known_host(host, asked),
            port: port.parse().ok()?,
        };
        Some(if is_moved {
            Self::Moved { slot, to }
        } else {
            Self::Ask { to }
        })
    }
}

/// The slot of a key.
pub(super) fn slot(key: &[u8]) -> u16 {
    crc16(tagged(key)) % N_SLOTS as u16
}

/// The part of a key that counts.
fn tagged(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else {
        return key;
    };
    let behind = &key[open + 1..];
    match behind.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(length) => &behind[..length],
    }
}

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address {
            host: host.to_owned(),
            port,
        }
    }

    fn entry(first: i64, last: i64, nodes: &[(&str, i64)]) -> Value {
        let mut parts = vec![Value::Int(first), Value::Int(last)];
        for (host, port) in nodes {
            parts.push(Value::Array(vec![
                Value::BulkString(host.as_bytes().to_vec()),
                Value::Int(*port),
                Value::BulkString(b"id".to_vec()),
                Value::Array(vec![]),
            ]));
        }
        Value::Array(parts)
    }

    #[test]
    fn slots_of_keys_are_those_of_redis() {
        // By `CLUSTER KEYSLOT` of Redis 7.0.15.
        for (key, wanted) in [
            ("123456789", 12_739),
            ("", 0),
            ("foo", 12_182),
            ("{foo}bar", 12_182),
            ("x{foo}{bar}", 12_182),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("{bar", 4_015),
        ] {
            assert_eq!(slot(key.as_bytes()), wanted, "{key}");
        }
    }

    #[test]
    fn the_reply_to_cluster_slots_names_masters_and_replicas() {
        let reply = Value::Array(vec![
            entry(0, 5_460, &[("10.0.0.1", 7_000), ("10.0.0.4", 7_003)]),
            entry(5_461, 5_461, &[("10.0.0.2", 7_001)]),
            entry(5_463, 16_383, &[("", 7_002)]),
        ]);
        let mut slots = Slots::read(&reply, &address("10.0.0.9", 7_009)).unwrap();
        let master = |slots: &Slots, slot| slots.owner(slot).map(|i| slots.masters[i].clone());
        assert_eq!(master(&slots, 5_460), Some(address("10.0.0.1", 7_000)));
        assert_eq!(master(&slots, 5_461), Some(address("10.0.0.2", 7_001)));
        assert_eq!(master(&slots, 5_462), None);
        assert_eq!(master(&slots, 16_383), Some(address("10.0.0.9", 7_002)));
        assert_eq!(slots.replicas, [address("10.0.0.4", 7_003)]);
        slots.give(5_462, &address("10.0.0.5", 7_004));
        slots.give(0, &address("10.0.0.2", 7_001));
        assert_eq!(master(&slots, 5_462), Some(address("10.0.0.5", 7_004)));
        assert_eq!(master(&slots, 0), Some(address("10.0.0.2", 7_001)));
        assert_eq!(master(&slots, 1), Some(address("10.0.0.1", 7_000)));
    }

    #[test]
    fn a_reply_of_another_shape_names_nobody() {
        let asked = address("a", 1);
        for reply in [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![entry(0, 1, &[])]),
            Value::Array(vec![entry(0, 16_384, &[("a", 1)])]),
            Value::Array(vec![entry(5, 1, &[("a", 1)])]),
            Value::Array(vec![entry(0, 1, &[("a", 70_000)])]),
        ] {
            assert_eq!(Slots::read(&reply, &asked), None, "{reply:?}");
        }
    }
}
