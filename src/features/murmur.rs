//! MurmurHash3 x86 32-bit with seed 0: Feast's name of a feature inside a Redis hash.

/// The hash of `bytes`.
pub(super) fn murmur3_32(bytes: &[u8]) -> u32 {
    let mut hash: u32 = 0;
    let mut blocks = bytes.chunks_exact(4);
    for block in &mut blocks {
        let mut word = 0;
        for &byte in block.iter().rev() {
            word = (word << 8) | u32::from(byte);
        }
        hash ^= scramble(word);
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let mut tail = 0;
    for &byte in blocks.remainder().iter().rev() {
        tail = (tail << 8) | u32::from(byte);
    }
    hash ^= scramble(tail);
    // The algorithm takes the length modulo 2^32.
    hash ^= bytes.len() as u32;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

fn scramble(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_hashes_match() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/feast/redis_field_hash.json"
        );
        let recorded: serde_json::Value =
            serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
        let mut n_cases = 0;
        for case in recorded
            .as_object()
            .unwrap()
            .values()
            .flat_map(|v| v.as_array().unwrap())
        {
            let text = case["string"].as_str().unwrap();
            let wanted = case["murmur3_32_seed0_unsigned"].as_u64().unwrap();
            assert_eq!(u64::from(murmur3_32(text.as_bytes())), wanted, "{text}");
            n_cases += 1;
        }
        assert!(n_cases > 5);
    }
}
