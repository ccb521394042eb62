//! What is said of a connection when it has ended: why, and, where that is logged, what it was and
//! what was heard and said on it.

use std::sync::Arc;
use std::time::Duration;

use crate::hub::AccountInfo;
use crate::kernel::Slot;
use crate::memory::SideTable;
use crate::protocol::asked::AskedFor;
use crate::protocol::end_reason::EndReason;
use crate::protocol::turn::{Said, Traffic};

/// What is kept of a connection that is logged.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// By the shard's clock.
    pub(super) opened_at: Duration,
    /// What its request calls the peer's program.
    pub(super) agent: Option<Box<str>>,
    /// What it has asked for, if the access log says that.
    pub(super) asked: Option<Arc<AskedFor>>,
    /// The status that it was answered with.
    pub(super) status: Option<u16>,
    pub(super) traffic: Traffic,
    pub(super) bytes_in: u64,
}

/// The accounts of connections, and the reasons of ends that are under way.
#[derive(Default)]
pub(super) struct Accounts {
    by_slot: SideTable<Account>,
    /// Why a connection ends that has yet to: few do at once.
    reasons: SideTable<EndReason>,
}

impl Accounts {
    /// The most bytes of the accounts of so many slots, with what the access log says of each if it
    /// is on.
    pub(super) fn bytes(slots: u32, keeps_asked: bool) -> u64 {
        let asked = if keeps_asked { AskedFor::BYTES } else { 0 };
        let each = AskedFor::AGENT_BYTES + asked;
        SideTable::<Account>::bytes(slots) + u64::from(slots) * each as u64
    }

    /// The most bytes of the reasons of so many.
    pub(super) fn reason_bytes(slots: u32) -> u64 {
        SideTable::<EndReason>::bytes(slots)
    }

    /// Begins the account of a connection that has opened.
    pub(super) fn open(&mut self, slot: Slot, account: Account) {
        self.by_slot.insert(slot, account);
    }

    /// So many bytes were received.
    pub(super) fn received(&mut self, slot: Slot, bytes: u32) {
        self.change(slot, |account| account.bytes_in += u64::from(bytes));
    }

    /// What a turn has heard and said.
    pub(super) fn add(&mut self, slot: Slot, traffic: Traffic) {
        self.change(slot, |account| {
            account.traffic.messages_in += traffic.messages_in;
            account.traffic.said.messages += traffic.said.messages;
            account.traffic.said.bytes += traffic.said.bytes;
        });
    }

    /// What was published has been sent, or waits to be.
    pub(super) fn delivered(&mut self, slot: Slot, messages: u32, bytes: u32) {
        let said = Said { messages: messages.into(), bytes: bytes.into() };
        self.add(slot, Traffic { messages_in: 0, said });
    }

    /// The connection ends for this, unless it does for something else already.
    pub(super) fn ends_for(&mut self, slot: Slot, reason: EndReason) {
        if self.reasons.get(slot).is_none() {
            self.reasons.insert(slot, reason);
        }
    }

    /// When the connection has opened, by the shard's clock, if it has an account.
    pub(super) fn opened_at(&self, slot: Slot) -> Option<Duration> {
        self.by_slot.get(slot).map(|account| account.opened_at)
    }

    /// Why the connection has ended, if that was decided here.
    pub(super) fn take_reason(&mut self, slot: Slot) -> Option<EndReason> {
        self.reasons.remove(slot)
    }

    /// The account of a connection, as it is told.
    pub(super) fn tell(&self, slot: Slot) -> Option<AccountInfo> {
        let Account { agent, traffic, bytes_in, .. } = self.by_slot.get(slot)?;
        Some(AccountInfo {
            agent: agent.clone(),
            messages_in: traffic.messages_in,
            bytes_in: *bytes_in,
            messages_out: traffic.said.messages,
            bytes_out: traffic.said.bytes,
        })
    }

    /// Closes the account.
    pub(super) fn close(&mut self, slot: Slot) -> Option<Account> {
        self.by_slot.remove(slot)
    }

    /// Forgets all of it: the slot is given up.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.by_slot.remove(slot);
        self.reasons.remove(slot);
    }

    /// The bytes that the accounts hold, but for what they own elsewhere.
    pub(super) fn held(&self) -> u64 {
        self.by_slot.held()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_slot.is_empty() && self.reasons.is_empty()
    }

    fn change(&mut self, slot: Slot, how: impl FnOnce(&mut Account)) {
        self.by_slot.change(slot, |account| {
            how(account);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stands_and_is_told_once() {
        let mut accounts = Accounts::default();
        accounts.ends_for(3, EndReason::SlowPeer);
        accounts.ends_for(3, EndReason::Drain);
        assert_eq!(accounts.take_reason(3), Some(EndReason::SlowPeer));
        assert_eq!(accounts.take_reason(3), None);
        assert!(accounts.is_empty());
    }

    #[test]
    fn only_who_has_an_account_is_counted_for() {
        let mut accounts = Accounts::default();
        accounts.open(1, Account { agent: Some("me".into()), ..Account::default() });
        for slot in [1, 2] {
            accounts.received(slot, 10);
            accounts.delivered(slot, 2, 7);
            accounts.add(slot, Traffic { messages_in: 1, said: Said { messages: 1, bytes: 3 } });
        }
        let account = accounts.close(1).expect("it has one");
        assert_eq!((account.bytes_in, account.traffic.messages_in), (10, 1));
        assert_eq!(account.traffic.said, Said { messages: 3, bytes: 10 });
        assert!(accounts.close(2).is_none() && accounts.is_empty());
    }
}
