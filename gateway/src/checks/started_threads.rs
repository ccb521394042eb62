//! The threads that checks want: those that verify tokens, the one that keeps the keys of issuers
//! fresh, and those that hash passwords.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::check_threads;
use super::endpoint::KeyKeeper;
use super::{GatekeeperParts, Issuer, PasswordWork, Verification};
use crate::config::{AdmissionCheck, Config};
use crate::hub::Door;

/// Those that there are.
pub(crate) struct CheckThreads {
    /// Where tokens come out that are to be verified.
    tokens: Receiver<Verification>,
    /// Where passwords come out that are to be hashed.
    passwords: Receiver<PasswordWork>,
    /// Nothing is sent by it. Dropped, it ends those that verify.
    running: Option<Sender<()>>,
    /// How they see it.
    ends: Receiver<()>,
    verifiers: Vec<JoinHandle<()>>,
    hashers: Vec<JoinHandle<()>>,
    keeper: Option<KeptIssuers>,
}

/// Issuers whose keys are kept fresh, where they have them at an endpoint.
struct KeptIssuers {
    issuers: Arc<[Arc<Issuer>]>,
    _keeper: Option<KeyKeeper>,
}

impl CheckThreads {
    /// None yet.
    pub(crate) fn new(tokens: Receiver<Verification>, passwords: Receiver<PasswordWork>) -> Self {
        let (running, ends) = bounded(0);
        let (verifiers, hashers) = (Vec::new(), Vec::new());
        Self { tokens, passwords, running: Some(running), ends, verifiers, hashers, keeper: None }
    }

    /// Starts those that this configuration wants: none, if no route of it asks for tokens or
    /// passwords. Threads that verify or hash stay once they are there.
    ///
    /// # Errors
    /// One could not be started; those that were stay.
    pub(crate) fn serve(
        &mut self,
        config: &Config,
        checks: &GatekeeperParts,
        door: &Door,
    ) -> io::Result<()> {
        let has = |wanted: fn(&AdmissionCheck) -> bool| {
            config.routes.iter().flat_map(|route| &route.admission).any(wanted)
        };
        if has(|check| matches!(check, AdmissionCheck::Basic(_))) {
            for index in self.hashers.len()..usize::from(config.hashing.threads) {
                let (work, ends) = (self.passwords.clone(), self.ends.clone());
                let name = format!("hasher-{index}");
                self.hashers.push(check_threads::start(name, work, ends, door.clone())?);
            }
        }
        if !has(|check| matches!(check, AdmissionCheck::Jwt(_))) {
            self.keeper = None;
            return Ok(());
        }
        for index in self.verifiers.len()..usize::from(config.verifying.threads) {
            let (work, ends) = (self.tokens.clone(), self.ends.clone());
            let name = format!("verifier-{index}");
            self.verifiers.push(check_threads::start(name, work, ends, door.clone())?);
        }
        // Last: if nothing comes of the change, the keys of those that there are stay fresh.
        let issuers = checks.issuers();
        let is_kept = self.keeper.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.issuers, &issuers));
        if !is_kept {
            let keeper = KeyKeeper::start(&issuers)?;
            self.keeper = Some(KeptIssuers { issuers, _keeper: keeper });
        }
        Ok(())
    }

    /// Ends them, whoever may still hand over a token, and waits for them.
    pub(crate) fn end(&mut self) {
        (self.keeper, self.running) = (None, None);
        for thread in self.verifiers.drain(..).chain(self.hashers.drain(..)) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}
