//! What tokens of many connections have in common, which is there once.

use std::collections::HashMap;
use std::sync::Arc;

use super::permits::NoRoomForPermissions;
use super::{Grant, Permissions};

/// What a token says that those of many others say as well.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenTerms {
    /// What it says of topics.
    pub(super) permissions: Option<Arc<Permissions>>,
    /// The code that a connection is closed with for it.
    pub(super) expired: u16,
    /// What the configuration calls its issuer; `None` of one that is known by itself.
    pub(super) issuer: Option<Arc<str>>,
}

/// Terms that some connection has: those that are the same for many are there once.
pub(super) struct SharedTerms {
    /// Where each is.
    places: HashMap<Arc<TokenTerms>, u32>,
    entries: Vec<Option<(Arc<TokenTerms>, u32)>>,
    /// Places that nobody has.
    free: Vec<u32>,
    /// The bytes of those that say something of topics, and the most that they may have. Of the
    /// others there are no more than issuers.
    bytes: usize,
    most: usize,
}

/// What one of them takes beside its permissions, counted high.
pub(super) const SHARED: usize = size_of::<TokenTerms>()
    + 16
    + 3 * (size_of::<(Arc<TokenTerms>, u32)>() + 1)
    + 2 * (size_of::<Option<(Arc<TokenTerms>, u32)>>() + 4);

impl TokenTerms {
    /// Those of a token.
    pub(super) fn of(grant: &Grant) -> Self {
        let Grant { permissions, expired, issuer, .. } = grant;
        Self { permissions: permissions.clone(), expired: *expired, issuer: issuer.clone() }
    }

    /// The bytes that are counted of it.
    fn bytes(&self) -> usize {
        self.permissions.as_ref().map_or(0, |permissions| SHARED + permissions.bytes())
    }
}

impl SharedTerms {
    /// None so far, and never more than so many bytes.
    pub(super) fn new(most: usize) -> Self {
        let (places, entries, free) = (HashMap::new(), Vec::new(), Vec::new());
        Self { places, entries, free, bytes: 0, most }
    }

    /// Never more than so many bytes from here on, but for those that there are.
    pub(super) fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// The bytes that they hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room for these.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn check_room(&self, terms: &TokenTerms) -> Result<(), NoRoomForPermissions> {
        let added = terms.bytes();
        if added == 0 || self.bytes + added <= self.most || self.places.contains_key(terms) {
            return Ok(());
        }
        Err(NoRoomForPermissions)
    }

    /// One more has these: where they are.
    ///
    /// # Errors
    /// There is no room for them.
    pub(super) fn take(&mut self, terms: TokenTerms) -> Result<u32, NoRoomForPermissions> {
        if let Some(place) = self.places.get(&terms) {
            if let Some(Some((_, count))) = self.entries.get_mut(*place as usize) {
                *count += 1;
            }
            return Ok(*place);
        }
        self.check_room(&terms)?;
        // Its own: the grant may be remembered elsewhere, and is counted there.
        let permissions = terms.permissions.as_deref().cloned().map(Arc::new);
        let terms = Arc::new(TokenTerms { permissions, ..terms });
        self.bytes += terms.bytes();
        let entry = Some((Arc::clone(&terms), 1));
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.places.insert(terms, place);
        Ok(place)
    }

    /// The terms at a place.
    pub(super) fn get(&self, place: u32) -> Option<&TokenTerms> {
        self.entries.get(place as usize)?.as_ref().map(|(terms, _)| &**terms)
    }

    /// One who had them has gone.
    pub(super) fn give_back(&mut self, place: u32) {
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        let Some((terms, count)) = entry else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.bytes -= terms.bytes();
        self.places.remove(&**terms);
        *entry = None;
        self.free.push(place);
    }

    /// Whether nobody has any.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.bytes == 0
    }
}
