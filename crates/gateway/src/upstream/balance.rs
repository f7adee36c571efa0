//! Which endpoint is next. No I/O and no clock.
//!
//! Consistent hashing is highest-random-weight hashing: each endpoint scores by a hash of the request's key and its
//! own seed, the highest one takes it. Keys move only from endpoints that go and to endpoints that come, whatever the
//! number, there is no table to build or keep, and for the hundreds of endpoints that a pool may have it is a
//! multiplication each.

use std::cell::{Cell, RefCell};

use fastrand::Rng;

/// What the choice is told of an endpoint.
pub(super) trait Seat {
    /// Requests under way on it.
    fn load(&self) -> u32;
    /// What tells it from all others, the same in each process.
    fn seed(&self) -> u64;
}

/// How the choice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    RoundRobin,
    LeastRequest,
    Random,
    /// By the key.
    Hash,
    /// The endpoint whose seed is the key; in turn without.
    Seed,
}

/// Makes the choices of one pool.
pub(super) struct Chooser {
    rule: Rule,
    turn: Cell<usize>,
    /// Smooth weighted round robin: what each endpoint has saved up.
    saved: RefCell<Vec<i64>>,
    random: RefCell<Rng>,
}

impl Chooser {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, turn: Cell::default(), saved: RefCell::default(), random: RefCell::new(Rng::new()) }
    }

    /// One of the seats, which are all usable and of the same weight.
    pub(super) fn choose_even<S: Seat>(&self, seats: &[S], key: Option<u64>) -> Option<usize> {
        let count = seats.len();
        if count <= 1 {
            return (count == 1).then_some(0);
        }
        match (self.rule, key) {
            (Rule::Hash, Some(key)) => self.hashed(seats, key, |_| 1),
            (Rule::Seed, Some(key)) if seats.iter().any(|seat| seat.seed() == key) => {
                seats.iter().position(|seat| seat.seed() == key)
            }
            (Rule::RoundRobin | Rule::Seed, _) => {
                let turn = self.turn.get() % count;
                self.turn.set(turn + 1);
                Some(turn)
            }
            (Rule::LeastRequest, _) => {
                let mut random = self.random.borrow_mut();
                let a = random.usize(..count);
                // Another one: the draw leaves `a` out.
                let b = (a + 1 + random.usize(..count - 1)) % count;
                Some(if seats[b].load() < seats[a].load() { b } else { a })
            }
            (Rule::Random | Rule::Hash, _) => Some(self.random.borrow_mut().usize(..count)),
        }
    }

    /// One of the seats that `weight` does not say 0 of.
    pub(super) fn choose<S: Seat>(
        &self,
        seats: &[S],
        weight: impl Fn(usize) -> u32,
        key: Option<u64>,
    ) -> Option<usize> {
        match (self.rule, key) {
            (Rule::Hash, Some(key)) => self.hashed(seats, key, weight),
            (Rule::Seed, Some(key)) => {
                let found = seats.iter().position(|seat| seat.seed() == key);
                found.filter(|&index| weight(index) > 0).or_else(|| self.in_turn(seats.len(), weight))
            }
            (Rule::RoundRobin | Rule::Seed, _) => self.in_turn(seats.len(), weight),
            (Rule::LeastRequest, _) => self.less_loaded(seats, weight),
            (Rule::Random | Rule::Hash, _) => self.drawn(seats.len(), weight),
        }
    }

    /// Smooth weighted round robin: each saves up its weight, the richest one pays for all.
    fn in_turn(&self, count: usize, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let mut saved = self.saved.borrow_mut();
        if saved.len() != count {
            saved.clear();
            saved.resize(count, 0);
        }
        let mut total = 0;
        let mut best: Option<usize> = None;
        for index in 0..count {
            let weight = i64::from(weight(index));
            if weight == 0 {
                continue;
            }
            saved[index] += weight;
            total += weight;
            if best.is_none_or(|best| saved[index] > saved[best]) {
                best = Some(index);
            }
        }
        saved[best?] -= total;
        best
    }

    fn drawn(&self, count: usize, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let total: u64 = (0..count).map(|index| u64::from(weight(index))).sum();
        if total == 0 {
            return None;
        }
        let mut left = self.random.borrow_mut().u64(..total);
        (0..count).find(|&index| {
            let weight = u64::from(weight(index));
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        })
    }

    /// The better one of two that are drawn by weight, by load for its weight.
    fn less_loaded<S: Seat>(&self, seats: &[S], weight: impl Fn(usize) -> u32) -> Option<usize> {
        let a = self.drawn(seats.len(), &weight)?;
        let Some(b) = self.drawn(seats.len(), |index| if index == a { 0 } else { weight(index) }) else {
            return Some(a);
        };
        let cost =
            |index: usize, other: usize| (u64::from(seats[index].load()) + 1) * u64::from(weight(other));
        Some(if cost(b, a) < cost(a, b) { b } else { a })
    }

    /// The highest score. With weights a score is `-weight / ln(hash in (0, 1))`, so that each seat wins its share.
    fn hashed<S: Seat>(&self, seats: &[S], key: u64, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let mut even = None;
        let mut uneven = false;
        for index in 0..seats.len() {
            match (weight(index), even) {
                (0, _) => {}
                (weight, None) => even = Some(weight),
                (weight, Some(first)) => uneven |= weight != first,
            }
        }
        even?;
        let open = (0..seats.len()).filter(|&index| weight(index) > 0);
        if !uneven {
            return open.max_by_key(|&index| mix(seats[index].seed() ^ key));
        }
        let score = |index: usize| {
            let unit = (mix(seats[index].seed() ^ key) >> 11) as f64 / (1_u64 << 53) as f64;
            -f64::from(weight(index)) / unit.max(f64::MIN_POSITIVE).ln()
        };
        open.map(|index| (index, score(index))).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
    }
}

/// A hash of bytes that is the same in each process and build: FNV-1a, finished by a mixer.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash)
}

/// Spreads each bit over all (the finaliser of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Chair {
        weight: u32,
        load: Cell<u32>,
        seed: u64,
    }

    impl Seat for Chair {
        fn load(&self) -> u32 {
            self.load.get()
        }

        fn seed(&self) -> u64 {
            self.seed
        }
    }

    fn chairs(weights: &[u32]) -> Vec<Chair> {
        let chair = |(index, &weight): (usize, &u32)| Chair {
            weight,
            load: Cell::new(0),
            seed: hash(format!("chair {index}").as_bytes()),
        };
        weights.iter().enumerate().map(chair).collect()
    }

    fn counts(chairs: &[Chair], rounds: usize, mut choose: impl FnMut(usize) -> usize) -> Vec<usize> {
        let mut counts = vec![0; chairs.len()];
        for round in 0..rounds {
            counts[choose(round)] += 1;
        }
        counts
    }

    #[test]
    fn weights_take_smooth_turns() {
        let chairs = chairs(&[5, 1, 1]);
        let chooser = Chooser::new(Rule::RoundRobin);
        let turns: String = (0..7)
            .map(|_| chooser.choose(&chairs, |i| chairs[i].weight, None).unwrap().to_string())
            .collect();
        assert_eq!(turns, "0010200");
        let turns: String =
            (0..4).map(|_| chooser.choose(&chairs, |i| [0, 1, 1][i], None).unwrap().to_string()).collect();
        assert_eq!(turns, "1212", "one is out");
        assert_eq!(chooser.choose(&chairs, |_| 0, None), None);
    }

    #[test]
    fn even_turns_need_no_weights() {
        let chairs = chairs(&[1, 1, 1]);
        let chooser = Chooser::new(Rule::RoundRobin);
        let turns: Vec<_> = (0..4).map(|_| chooser.choose_even(&chairs, None).unwrap()).collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        assert_eq!(chooser.choose_even(&chairs[..1], None), Some(0));
        assert_eq!(chooser.choose_even(&chairs[..0], None), None);
    }

    #[test]
    fn of_two_the_one_with_less_to_do() {
        let chairs = chairs(&[1, 1]);
        let chooser = Chooser::new(Rule::LeastRequest);
        chairs[0].load.set(3);
        for _ in 0..50 {
            assert_eq!(chooser.choose_even(&chairs, None), Some(1));
            assert_eq!(chooser.choose(&chairs, |_| 1, None), Some(1));
        }
        // Three for a weight of ten is less than two for a weight of one.
        chairs[1].load.set(2);
        for _ in 0..50 {
            assert_eq!(chooser.choose(&chairs, |i| [10, 1][i], None), Some(0));
        }
        assert_eq!(chooser.choose(&chairs, |i| [0, 1][i], None), Some(1));
    }

    #[test]
    fn lots_follow_weights() {
        let chairs = chairs(&[1, 2, 7]);
        let chooser = Chooser::new(Rule::Random);
        let counts =
            counts(&chairs, 20_000, |_| chooser.choose(&chairs, |i| chairs[i].weight, None).unwrap());
        for (count, expected) in counts.iter().zip([2_000, 4_000, 14_000]) {
            assert!(count.abs_diff(expected) < 400, "{counts:?}");
        }
    }

    #[test]
    fn keys_stay_where_they_are() {
        for weights in [vec![1; 10], vec![1, 2, 3, 4, 5, 5, 4, 3, 2, 1]] {
            let chairs = chairs(&weights);
            let chooser = Chooser::new(Rule::Hash);
            let at = |key: usize, gone: usize| {
                let weight = |i: usize| if i == gone { 0 } else { chairs[i].weight };
                chooser.choose(&chairs, weight, Some(hash(&key.to_le_bytes()))).unwrap()
            };
            let moved = (0..10_000).filter(|&key| {
                let (before, after) = (at(key, usize::MAX), at(key, 4));
                assert!(before == after || before == 4, "only the keys of the one that went move");
                before != after
            });
            let share = 10_000 * weights[4] as usize / weights.iter().sum::<u32>() as usize;
            assert!(moved.count().abs_diff(share) < 250, "they are its share");
            let counts = counts(&chairs, 10_000, |key| at(key, usize::MAX));
            for (count, weight) in counts.iter().zip(&weights) {
                let share = 10_000 * *weight as usize / weights.iter().sum::<u32>() as usize;
                assert!(count.abs_diff(share) < 250, "{counts:?}");
            }
        }
    }

    #[test]
    fn seeds_stick_and_fall_back() {
        let chairs = chairs(&[1, 1, 1]);
        let chooser = Chooser::new(Rule::Seed);
        let key = Some(chairs[2].seed);
        assert_eq!(
            (chooser.choose_even(&chairs, key), chooser.choose(&chairs, |_| 1, key)),
            (Some(2), Some(2))
        );
        assert_ne!(chooser.choose(&chairs, |i| [1, 1, 0][i], key), Some(2), "it cannot be used");
        assert!(chooser.choose_even(&chairs, Some(1)).is_some(), "nobody knows it");
    }
}
