//! Damage of the kinds that find something: flips, cuts, repeats, splices, numbers that are just too large.
//!
//! Touches: nothing.
//! Change here: when a kind of damage is missing.

use fastrand::Rng;

/// One of the seeds, or parts of two, damaged a little or not so little.
pub fn mutated(random: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut all = seeds[random.usize(..seeds.len())].clone();
    if random.u8(..4) == 0 {
        let other = &seeds[random.usize(..seeds.len())];
        let (end, from) = (random.usize(..=all.len()), random.usize(..=other.len()));
        all.truncate(end);
        all.extend_from_slice(&other[from..]);
    }
    for _ in 0..1 << random.u8(..4) {
        damage(random, &mut all);
    }
    all
}

fn damage(random: &mut Rng, all: &mut Vec<u8>) {
    let at = random.usize(..=all.len());
    let until = (at + random.usize(..=32)).min(all.len());
    match random.u8(..7) {
        0 if at < all.len() => all[at] ^= 1 << random.u8(..8),
        1 if at < all.len() => all[at] = random.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap_or(0),
        2 => drop(all.drain(at..until)),
        3 => all.truncate(at),
        4 => {
            let again = all[at..until].to_vec();
            let times = random.usize(1..8);
            all.splice(at..at, again.repeat(times));
        }
        5 => drop(all.splice(at..until, bytes(random))),
        _ => {
            let huge = [
                &b"-1"[..],
                b"18446744073709551616",
                b"1e999",
                b"\xff\xff\xff\xff\x0f",
                b"\0",
            ];
            let huge = huge[random.usize(..huge.len())];
            drop(all.splice(at..at, huge.iter().copied()));
        }
    }
}

fn bytes(random: &mut Rng) -> Vec<u8> {
    (0..random.usize(..24)).map(|_| random.u8(..)).collect()
}
