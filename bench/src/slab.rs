//! The kernel's own memory, by kind of object: `/proc/slabinfo` (slabinfo(5)), which only root may
//! read.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::Serialize;

/// Bytes per connection below which what a cache has gained or lost is somebody else's.
const NOISE_BYTES: f64 = 1.0;

/// Objects in use and their size in bytes, by the cache's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slabs {
    caches: BTreeMap<String, (u64, u64)>,
}

/// How many objects of a cache each connection takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// The cache's name. The kernel merges caches whose objects are alike under one name.
    pub cache: String,
    /// Objects per connection; less than none if the cache has lost some.
    pub objects: f64,
    /// The size of one, in bytes.
    pub object_bytes: u64,
}

impl Growth {
    /// Bytes per connection.
    #[must_use]
    pub fn bytes(&self) -> f64 {
        self.objects * self.object_bytes as f64
    }
}

impl Slabs {
    /// What the whole kernel has now.
    ///
    /// # Errors
    /// This user may not know (only root may), or the kernel does not tell.
    pub fn now() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/slabinfo").map_err(|error| {
            let why = format!("/proc/slabinfo: {error}: counting kernel objects needs root");
            io::Error::new(error.kind(), why)
        })?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let caches = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let name = words.next()?;
            let active = words.next()?.parse().ok()?;
            let size = words.nth(1)?.parse().ok()?;
            Some((name.to_owned(), (active, size)))
        });
        Self { caches: caches.collect() }
    }

    /// What each of `connections` that came between `earlier` and now takes. Caches that have
    /// hardly changed are left out.
    #[must_use]
    pub fn growth(&self, earlier: &Self, connections: usize) -> Vec<Growth> {
        let grown = self.caches.iter().map(|(cache, &(active, object_bytes))| {
            let before = earlier.caches.get(cache).map_or(0, |it| it.0);
            let objects = (active as f64 - before as f64) / connections.max(1) as f64;
            Growth { cache: cache.clone(), objects, object_bytes }
        });
        grown.filter(|growth| growth.bytes().abs() >= NOISE_BYTES).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n\
                        TCP 10 12 2368 13 8 : tunables 0 0 0\nfilp 5 8 192 21 1 : tunables\n";

    #[test]
    fn objects_and_their_size() {
        let slabs = Slabs::parse(TEXT);
        assert_eq!(slabs.caches.len(), 2);
        assert_eq!(slabs.caches["TCP"], (10, 2368));
    }

    #[test]
    fn growth_is_per_connection_and_without_noise() {
        let later = Slabs::parse(&TEXT.replace("TCP 10", "TCP 2010").replace("filp 5", "filp 7"));
        let growth = later.growth(&Slabs::parse(TEXT), 1000);
        assert_eq!(growth.len(), 1);
        let back = Slabs::parse(TEXT).growth(&later, 1000);
        assert_eq!(back[0].objects, -2.0);
        assert_eq!((&*growth[0].cache, growth[0].objects), ("TCP", 2.0));
        assert!((growth[0].bytes() - 4736.0).abs() < 0.1);
    }
}
