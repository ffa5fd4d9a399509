//! Several instances that share the targets: each target belongs to some of them.
//!
//! Rendezvous hashing (highest random weight, Thaler and Ravishankar 1998): each instance has a weight for each target, the same
//! in every process, and the targets belong to the instances with the highest ones. When the number of instances changes, only
//! the targets move that an instance that went had, or that a new one gets.

use std::hash::{BuildHasher as _, Hasher as _};

use crate::config::checked::Shard;

/// Whether the target with this key belongs to this instance.
pub(super) fn owns(shard: &Shard, key: u64) -> bool {
    let own = weight(shard.index, key);
    // Of two equal weights, which is next to impossible, the lower instance's counts more.
    let above = (0..shard.count).filter(|&other| (weight(other, key), shard.index) > (own, other));
    above.take(shard.replicas).count() < shard.replicas
}

/// The same in every run and on every machine.
fn weight(instance: usize, key: u64) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0x5a4d).build_hasher();
    hasher.write_u64(key);
    hasher.write_u64(instance as u64);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 10_000;

    fn key(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn owners(count: usize, replicas: usize, key: u64) -> Vec<usize> {
        (0..count).filter(|&index| owns(&Shard { index, count, replicas }, key)).collect()
    }

    #[test]
    fn each_target_belongs_to_as_many_as_are_asked_for_and_each_has_its_share() {
        for (count, replicas) in [(1, 1), (3, 1), (3, 2), (3, 3), (50, 2)] {
            let mut shares = vec![0_usize; count];
            for number in 0..KEYS {
                let owners = owners(count, replicas, key(number));
                assert_eq!(owners.len(), replicas);
                owners.iter().for_each(|&owner| shares[owner] += 1);
            }
            let fair = KEYS as usize * replicas / count;
            assert!(shares.iter().all(|share| share.abs_diff(fair) < fair / 4 + 1), "{count} {replicas}: {shares:?}");
        }
    }

    #[test]
    fn when_an_instance_comes_only_what_it_gets_moves() {
        for number in 0..KEYS {
            let (before, after) = (owners(5, 2, key(number)), owners(6, 2, key(number)));
            let left: Vec<_> = before.iter().filter(|owner| !after.contains(owner)).collect();
            assert!(left.is_empty() || left.len() == 1 && after.contains(&5), "{before:?} {after:?}");
        }
    }

    /// An upgrade of a dependency that changed this would move nearly all targets, and two versions at a time would disagree.
    #[test]
    fn weights_are_the_same_for_ever() {
        let weights: Vec<_> = (0..3).map(|instance| weight(instance, 42)).collect();
        assert_eq!(weights, [15257671373044707322, 15879070251259061056, 7001254007854124587]);
    }
}
