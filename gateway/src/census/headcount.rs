//! How many connections each of very many keys has, counted by all shards in one table.
//!
//! A key's hash names the shelf on which it has its place, if it has one: seven places in one cache
//! line. A place is one word, the rest of the hash and a count, and whoever counts up or down
//! exchanges that word. Only who puts a key on a shelf where it is not yet needs the shelf for
//! itself, for some ten reads: so no key is there twice, and counts are exact. A shelf that is
//! full, or whose owner was interrupted meanwhile, has no place: such a key is not counted, and
//! that is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::memory::Flow;

/// Places of a shelf.
const PLACES: usize = 7;

/// How often it is tried to have a shelf for oneself: some microseconds.
const TRIES: u32 = 2000;

/// The bits of a place's word that count; above them is the rest of the key's hash.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// Where a key is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShelfPlace {
    shelf: u32,
    place: u8,
}

/// What came of counting one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// It is counted here.
    At(ShelfPlace),
    /// There are as many as may be.
    Full,
    /// There is no place for its key.
    NoPlace,
}

/// Places that lie together.
#[derive(Default)]
#[repr(align(64))]
struct Shelf {
    /// Somebody puts a key here.
    is_taken: AtomicBool,
    places: [AtomicU64; PLACES],
}

/// The counts.
pub struct Headcount {
    shelves: Box<[Shelf]>,
    /// When the bucket of each place would be full again, in nanoseconds; none are there before
    /// [`Self::begin_to_pace`].
    paid: OnceLock<Box<[AtomicU64]>>,
}

impl Headcount {
    /// With places for so many keys, or some more; `is_paced`: those have a rate as well.
    #[must_use]
    pub fn new(keys: u32, is_paced: bool) -> Self {
        let shelves = (0..Self::shelves(keys)).map(|_| Shelf::default()).collect();
        let this = Self { shelves, paid: OnceLock::new() };
        if is_paced {
            this.begin_to_pace();
        }
        this
    }

    /// From now on keys have a rate as well, if they had none.
    pub fn begin_to_pace(&self) {
        let buckets = || (0..self.shelves.len() * PLACES).map(|_| AtomicU64::new(0)).collect();
        self.paid.get_or_init(buckets);
    }

    /// The bucket of a place, if it has one.
    fn bucket(&self, shelf: usize, place: usize) -> Option<&AtomicU64> {
        self.paid.get()?.get(shelf * PLACES + place)
    }

    fn shelves(keys: u32) -> usize {
        (keys as usize).div_ceil(PLACES).next_power_of_two()
    }

    /// The bytes of one with so many keys.
    #[must_use]
    pub fn bytes(keys: u32, is_paced: bool) -> u64 {
        let paid = if is_paced { PLACES * size_of::<u64>() } else { 0 };
        (Self::shelves(keys) * (size_of::<Shelf>() + paid)) as u64
    }

    /// Counts one more of a key, unless there are `most`. Of the keys that nobody has any more, the
    /// one goes that has paid for longest.
    pub fn enter(&self, hash: u64, most: u32) -> Counting {
        let number = hash as usize & (self.shelves.len() - 1);
        let rest = hash >> COUNT_BITS;
        let most = u64::from(most).min(COUNT);
        let shelf = &self.shelves[number];
        let at = |place: usize| ShelfPlace { shelf: number as u32, place: place as u8 };
        if let Some(counted) = join(shelf, rest, most) {
            return counted.map_or(Counting::Full, |place| Counting::At(at(place)));
        }
        let is_free = |_: &u32| {
            let taken = shelf.is_taken.compare_exchange_weak(
                false,
                true,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            std::hint::spin_loop();
            taken.is_ok()
        };
        if (0..TRIES).find(is_free).is_none() {
            return Counting::NoPlace;
        }
        // Somebody may have put it there just now.
        let counted = match join(shelf, rest, most) {
            Some(counted) => counted.map_or(Counting::Full, |place| Counting::At(at(place))),
            None if most == 0 => Counting::Full,
            None => {
                self.put(number, rest).map_or(Counting::NoPlace, |place| Counting::At(at(place)))
            }
        };
        shelf.is_taken.store(false, Ordering::Release);
        counted
    }

    /// Puts a key on a shelf that the caller has for itself: where it was before, or else in the
    /// place of one that nobody has.
    fn put(&self, number: usize, rest: u64) -> Option<usize> {
        let shelf = &self.shelves[number];
        let paid = |place: usize| {
            self.bucket(number, place).map_or(0, |paid| paid.load(Ordering::Acquire))
        };
        let words = shelf.places.iter().map(|word| word.load(Ordering::Acquire)).enumerate();
        let free = words.filter(|(_, word)| word & COUNT == 0);
        // What is free is nobody else's to take.
        let (place, word) =
            free.min_by_key(|(place, word)| (word >> COUNT_BITS != rest, paid(*place)))?;
        if word >> COUNT_BITS != rest
            && let Some(paid) = self.bucket(number, place)
        {
            paid.store(0, Ordering::Release);
        }
        shelf.places[place].store(rest << COUNT_BITS | 1, Ordering::Release);
        Some(place)
    }

    /// One less is at this place.
    pub fn leave(&self, ShelfPlace { shelf, place }: ShelfPlace) {
        let before =
            self.shelves[shelf as usize].places[usize::from(place)].fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & COUNT > 0, "nobody was counted there");
    }

    /// Takes one from the bucket of a place, at `now` in nanoseconds.
    ///
    /// # Errors
    /// There is none before that time.
    pub fn pay(
        &self,
        ShelfPlace { shelf, place }: ShelfPlace,
        flow: Flow,
        now: u64,
    ) -> Result<(), u64> {
        let bucket = self.bucket(shelf as usize, place.into());
        bucket.map_or(Ok(()), |paid| pay(paid, flow, now))
    }

    /// How many are counted altogether.
    #[must_use]
    pub fn total(&self) -> u64 {
        let places = self.shelves.iter().flat_map(|shelf| &shelf.places);
        places.map(|word| word.load(Ordering::Acquire) & COUNT).sum()
    }
}

/// Counts one more where the key is, if it is there and somebody has it: the place, or `None` if
/// there are `most`.
fn join(shelf: &Shelf, rest: u64, most: u64) -> Option<Option<usize>> {
    let join_at = |word: &AtomicU64| {
        let mut is_full = false;
        let joined = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let is_there = word >> COUNT_BITS == rest && word & COUNT > 0;
            is_full = is_there && word & COUNT >= most;
            (is_there && !is_full).then_some(word + 1)
        });
        (joined.is_ok() || is_full).then_some(joined.is_ok())
    };
    let mut places = shelf.places.iter().enumerate();
    places.find_map(|(place, word)| Some(join_at(word)?.then_some(place)))
}

/// Takes one from a bucket that several shards take from, at `now` in nanoseconds. What is not
/// there is not taken. Nobody owes more than a whole bucket: what was taken while more might be is
/// no debt of those who come while less may.
///
/// # Errors
/// There is none before that time.
pub fn pay(bucket: &AtomicU64, flow: Flow, now: u64) -> Result<(), u64> {
    let full = flow.time_of(flow.burst);
    let most = now.saturating_add(full);
    if bucket.load(Ordering::Acquire) > most {
        bucket.fetch_min(most, Ordering::AcqRel);
    }
    let paid = bucket.fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| {
        let until = until.max(now).saturating_add(flow.time_of(1));
        (until <= most).then_some(until)
    });
    paid.map(drop).map_err(|until| until.saturating_add(flow.time_of(1)).saturating_sub(full))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// A hash whose shelf is `shelf` and whose rest is `key`.
    fn hash(shelf: u64, key: u64) -> u64 {
        key << COUNT_BITS | shelf
    }

    proptest! {
        #[test]
        fn it_counts_as_a_map_does(
            actions in prop::collection::vec((0..6_u64, 1..5_u32, any::<bool>()), 1..200)
        ) {
            let counts = Headcount::new(7, false);
            let mut model = HashMap::<u64, Vec<ShelfPlace>>::new();
            for (key, most, enters) in actions {
                let there = model.entry(key).or_default();
                if !enters {
                    if let Some(place) = there.pop() {
                        counts.leave(place);
                    }
                } else {
                    match counts.enter(hash(0, key), most) {
                        Counting::At(place) => {
                            prop_assert!(there.len() < most as usize);
                            prop_assert!(there.iter().all(|other| *other == place));
                            there.push(place);
                        }
                        Counting::Full => prop_assert!(there.len() >= most as usize),
                        Counting::NoPlace => prop_assert!(false, "seven places for six keys"),
                    }
                }
                let all: usize = model.values().map(Vec::len).sum();
                prop_assert_eq!(counts.total(), all as u64);
            }
        }
    }

    #[test]
    fn a_full_shelf_has_no_place_and_a_place_that_nobody_has_is_given_away() {
        let counts = Headcount::new(20, false);
        let place = |counted| match counted {
            Counting::At(place) => place,
            other => panic!("{other:?}"),
        };
        let places: Vec<_> = (1..=7).map(|key| place(counts.enter(hash(1, key), 9))).collect();
        assert_eq!(counts.enter(hash(1, 8), 9), Counting::NoPlace);
        assert!(matches!(counts.enter(hash(2, 8), 9), Counting::At(_)), "another shelf");
        counts.leave(places[3]);
        assert_eq!(counts.enter(hash(1, 8), 9), Counting::At(places[3]));
        assert_eq!(counts.enter(hash(1, 4), 9), Counting::NoPlace);
        assert_eq!(counts.total(), 8);
    }

    #[test]
    fn what_is_paid_stays_while_there_is_a_place_for_it() {
        let counts = Headcount::new(7, true);
        let flow = Flow { per_second: 1, burst: 2 };
        let now = 5_000_000_000;
        let enter = |key| match counts.enter(hash(0, key), 9) {
            Counting::At(place) => place,
            other => panic!("{other:?}"),
        };
        let first = enter(1);
        assert_eq!(counts.pay(first, flow, now), Ok(()));
        assert_eq!(counts.pay(first, flow, now), Ok(()));
        assert_eq!(counts.pay(first, flow, now), Err(now + 1_000_000_000));
        counts.leave(first);
        // It comes back to the same place, and still owes.
        let again = enter(1);
        assert_eq!((again, counts.pay(again, flow, now)), (first, Err(now + 1_000_000_000)));
        assert_eq!(counts.pay(again, flow, now + 1_000_000_000), Ok(()));
        counts.leave(again);
        // Six others take the places of those who owe nothing, the seventh its own.
        let others: Vec<_> = (2..8).map(enter).collect();
        assert!(others.iter().all(|place| *place != first));
        assert_eq!(enter(8), first);
        assert_eq!(counts.pay(first, flow, now), Ok(()), "what another owes is not its own");
    }

    #[test]
    fn nobody_owes_more_than_a_whole_bucket() {
        let (many, few) = (Flow { per_second: 1, burst: 1000 }, Flow { per_second: 2, burst: 4 });
        let (bucket, now, second) = (AtomicU64::new(0), 5_000_000_000, 1_000_000_000);
        (0..1000).for_each(|_| pay(&bucket, many, now).unwrap());
        assert!(pay(&bucket, many, now).is_err());
        // The last of those would have paid in a thousand seconds.
        assert_eq!(pay(&bucket, few, now), Err(now + second / 2));
        assert_eq!(pay(&bucket, few, now + second / 2), Ok(()));
        assert_eq!(pay(&bucket, few, now + second / 2), Err(now + second));
        assert!((0..4).all(|_| pay(&bucket, few, now + 9 * second).is_ok()));
    }

    #[test]
    fn keys_that_are_there_are_paced_from_then_on() {
        let counts = Headcount::new(7, false);
        let flow = Flow { per_second: 1, burst: 1 };
        let Counting::At(place) = counts.enter(hash(0, 1), 9) else { panic!("there is room") };
        assert!((0..3).all(|_| counts.pay(place, flow, 0).is_ok()), "nobody has a rate");
        counts.begin_to_pace();
        assert_eq!(counts.pay(place, flow, 0), Ok(()));
        assert_eq!(counts.pay(place, flow, 0), Err(1_000_000_000));
        counts.begin_to_pace();
        assert!(counts.pay(place, flow, 0).is_err(), "what it has paid stays");
    }

    /// Threads that come and go with few keys at once: there are never more of one than may be, and
    /// nobody is left behind.
    #[test]
    fn many_at_once_are_counted_exactly() {
        const MOST: u32 = 3;
        let counts = Headcount::new(7, true);
        let there: [AtomicU32; 4] = Default::default();
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (counts, there) = (&counts, &there);
                scope.spawn(move || {
                    let mut state = thread + 1;
                    for _ in 0..20_000 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let key = state >> 62;
                        let Counting::At(place) = counts.enter(hash(0, key), MOST) else {
                            continue;
                        };
                        let before = there[key as usize].fetch_add(1, Ordering::SeqCst);
                        assert!(before < MOST, "{before} were there");
                        there[key as usize].fetch_sub(1, Ordering::SeqCst);
                        counts.leave(place);
                    }
                });
            }
        });
        assert_eq!(counts.total(), 0);
    }

    #[test]
    fn a_table_is_as_large_as_the_bill_has_it() {
        for (keys, is_paced) in [(1, false), (1024, true), (65_536, true)] {
            let counts = Headcount::new(keys, is_paced);
            let paid = counts.paid.get().map_or(0, |paid| size_of_val(&**paid));
            let bytes = size_of_val(&*counts.shelves) + paid;
            assert_eq!(bytes as u64, Headcount::bytes(keys, is_paced));
            assert!(counts.shelves.len() * PLACES >= keys as usize);
        }
    }
}
