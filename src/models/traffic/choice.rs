//! Which share a key falls to: weighted rendezvous hashing.
//!
//! Every share draws a number from the key, `-ln(u) / weight` with `u` in (0, 1) from the hash of model, alias and key;
//! the lowest draw takes the key. So a key meets the same alias whatever the order of the aliases, the process or the
//! machine; only weights against each other count; and a changed weight moves keys to or from the changed aliases only.
//! docs/rollouts.md states the arithmetic; it is part of the product, since a change would move every key.

/// Where the hash of one share begins: behind the names of model and alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed(u64);

impl Seed {
    pub(super) fn of(model: &str, alias: &str) -> Self {
        let mut hash = FNV_OFFSET;
        for part in [model.as_bytes(), &[0], alias.as_bytes(), &[0]] {
            hash = fnv1a(hash, part);
        }
        Self(hash)
    }

    /// What the share draws for a key: over many keys exponentially distributed with the weight as its rate.
    fn draw(self, key: &[u8], weight: u32) -> f64 {
        let hash = finalize(fnv1a(self.0, key));
        -ln(unit(hash)) / f64::from(weight)
    }
}

/// The place of the share that the key falls to, of those with a seed and a weight above zero; `None` without any.
pub(super) fn choose(shares: impl Iterator<Item = (Seed, u32)>, key: &[u8]) -> Option<usize> {
    let mut lowest: Option<(usize, f64)> = None;
    for (place, (seed, weight)) in shares.enumerate() {
        let draw = seed.draw(key, weight);
        if lowest.is_none_or(|(_, lowest)| draw < lowest) {
            lowest = Some((place, draw));
        }
    }
    lowest.map(|(place, _)| place)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a with 64 bits, continued from `hash`.
fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    }
    hash
}

/// The finalizer of MurmurHash3 with 64 bits: FNV alone leaves keys that differ in their last bytes close together.
fn finalize(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// A hash as a number between 0 and 1, both excluded.
fn unit(hash: u64) -> f64 {
    // With the half behind them 52 bits are exact in a double.
    ((hash >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

/// The natural logarithm of a number in (0, 1), by the operations that IEEE 754 defines to the last bit: replicas on
/// other machines must agree, and their `ln` need not.
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as f64 - 1023.0;
    let mut mantissa = f64::from_bits((bits & MANTISSA) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    // ln(m) = 2 artanh((m - 1) / (m + 1)); within 0.172 of zero eleven terms leave less than a bit.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let mut sum = 0.0;
    for term in (0..11).rev() {
        sum = sum * (s * s) + 1.0 / f64::from(2 * term + 1);
    }
    exponent * std::f64::consts::LN_2 + 2.0 * s * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // Test vectors of the FNV page.
        assert_eq!(fnv1a(FNV_OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(FNV_OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_logarithm_is_right_to_the_last_digits() {
        for x in [
            1e-16,
            1e-9,
            0.1,
            0.25,
            0.5,
            0.7,
            0.7072,
            0.9,
            0.999_999,
            1.0 - 1e-16,
        ] {
            let (ours, theirs) = (ln(x), x.ln());
            assert!(
                (ours - theirs).abs() <= 4e-16 * theirs.abs().max(0.1),
                "{x}: {ours} {theirs}"
            );
        }
    }

    #[test]
    fn a_hash_is_never_zero_or_one() {
        assert!(unit(0) > 0.0 && unit(u64::MAX) < 1.0);
    }

    /// The entity key of a driver in Feast's serialization version 3.
    fn driver(id: i64) -> Vec<u8> {
        let mut key = b"\x01\0\0\0\x02\0\0\0\x09\0\0\0driver_id\x04\0\0\0\x08\0\0\0".to_vec();
        key.extend(id.to_le_bytes());
        key
    }

    fn chosen<'a>(model: &str, weights: &[(&'a str, u32)], key: &[u8]) -> &'a str {
        let shares = weights
            .iter()
            .map(|(alias, weight)| (Seed::of(model, alias), *weight));
        weights[choose(shares, key).unwrap()].0
    }

    fn drivers_of(alias: &str, model: &str, weights: &[(&str, u32)], n: i64) -> Vec<i64> {
        let drivers = 1001..1001 + n;
        drivers
            .filter(|id| chosen(model, weights, &driver(*id)) == alias)
            .collect()
    }

    const CANARY: [(&str, u32); 2] = [("champion", 90), ("challenger", 10)];

    #[test]
    fn keys_fall_where_they_always_fell() {
        // From the Python of docs/rollouts.md.
        let mut reversed = CANARY;
        reversed.reverse();
        for weights in [CANARY, reversed] {
            assert_eq!(
                drivers_of("challenger", "driver_ranking", &weights, 99),
                [
                    1004, 1014, 1015, 1025, 1038, 1042, 1045, 1057, 1062, 1068, 1084, 1092, 1098,
                    1099
                ]
            );
            assert_eq!(
                drivers_of("challenger", "trip_eta", &weights, 99),
                [1004, 1025, 1032, 1039, 1041, 1080, 1088, 1092]
            );
        }
        let weights = [("a", 1), ("b", 2), ("c", 3)];
        let chosen: Vec<&str> = (0..12)
            .map(|i| chosen("m", &weights, format!("k{i}").as_bytes()))
            .collect();
        assert_eq!(
            chosen,
            ["c", "c", "c", "a", "b", "c", "c", "c", "b", "b", "c", "b"]
        );
        let draw = Seed::of("driver_ranking", "champion").draw(&driver(1001), 90);
        assert!((draw - 0.004_842_226_656_910_821).abs() < 1e-17, "{draw}");
    }

    #[test]
    fn shares_are_as_large_as_their_weights_say() {
        const N: usize = 10_000;
        for weights in [
            vec![("champion", 90), ("challenger", 10)],
            vec![("a", 1), ("b", 1), ("c", 1)],
            vec![("a", 997), ("b", 2), ("c", 1)],
            vec![("champion", 1), ("challenger", 1_000_000)],
        ] {
            let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
            let mut chi_square = 0.0;
            for (alias, weight) in &weights {
                let n = drivers_of(alias, "m", &weights, N as i64).len();
                let wanted = N as f64 * f64::from(*weight) / f64::from(sum);
                chi_square += (n as f64 - wanted).powi(2) / wanted;
            }
            // One in 10,000 for two degrees of freedom; the keys are always the same ones.
            assert!(chi_square < 18.4, "{weights:?}: {chi_square}");
        }
    }

    #[test]
    fn one_models_shares_say_nothing_about_anothers() {
        const N: usize = 10_000;
        let half = [("champion", 1), ("challenger", 1)];
        let one = drivers_of("champion", "one", &half, N as i64);
        let other = drivers_of("champion", "other", &half, N as i64);
        let both = one
            .iter()
            .filter(|id| other.binary_search(id).is_ok())
            .count();
        // A quarter of all, within four standard deviations.
        assert!(both.abs_diff(N / 4) < 4 * 44, "{both}");
    }

    #[test]
    fn a_weight_that_grows_takes_keys_and_gives_none() {
        let moves = |before: &[(&str, u32)], after: &[(&str, u32)]| {
            let mut moves: Vec<(String, String)> = Vec::new();
            for id in 0..10_000 {
                let (from, to) = (
                    chosen("m", before, &driver(id)),
                    chosen("m", after, &driver(id)),
                );
                if from != to {
                    moves.push((from.to_owned(), to.to_owned()));
                }
            }
            moves
        };
        let all_to =
            |moves: &[(String, String)], alias: &str| moves.iter().all(|(_, to)| to == alias);

        // A tenth more: a tenth moves.
        let doubled = moves(&CANARY, &[("champion", 80), ("challenger", 20)]);
        assert!(
            all_to(&doubled, "challenger") && doubled.len().abs_diff(1_000) < 120,
            "{}",
            doubled.len()
        );
        // Only weights against each other count.
        assert!(moves(&CANARY, &[("champion", 9), ("challenger", 1)]).is_empty());
        // A newcomer takes its share of everyone, and leaves it as it came.
        let three = [("champion", 90), ("challenger", 10), ("canary", 25)];
        let added = moves(&CANARY, &three);
        assert!(
            all_to(&added, "canary") && added.len().abs_diff(2_000) < 160,
            "{}",
            added.len()
        );
        assert_eq!(moves(&three, &CANARY).len(), added.len());
        let grown = moves(
            &three,
            &[("champion", 90), ("challenger", 10), ("canary", 50)],
        );
        assert!(all_to(&grown, "canary"));
    }
}
