//! What the floor programs know of Feast's layout in Redis: keys and field names; and gRPC without messages.

pub mod grpc;

/// Feast's entity key of `driver_id`, version 3, and the project's name: the key of the hash.
pub fn entity_key(driver_id: i64, project: &str) -> Vec<u8> {
    let head = b"\x01\0\0\0\x02\0\0\0\x09\0\0\0driver_id\x04\0\0\0\x08\0\0\0".as_slice();
    [head, &driver_id.to_le_bytes(), project.as_bytes()].concat()
}

/// The name of the hash field of `view:feature`.
pub fn field(reference: &str) -> Vec<u8> {
    murmur3(reference.as_bytes()).to_le_bytes().to_vec()
}

/// MurmurHash3, x86, 32 bits, seed 0.
fn murmur3(data: &[u8]) -> u32 {
    let scramble = |k: u32| {
        k.wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593)
    };
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
    };
    let mut blocks = data.chunks_exact(4);
    let mut hash = blocks.by_ref().fold(0_u32, |hash, block| {
        (hash ^ scramble(word(block)))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64)
    });
    hash ^= scramble(word(blocks.remainder())) ^ data.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}
