//! The threads that tokens want: those that verify, and the one that keeps the keys of issuers
//! fresh.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::endpoint::KeyKeeper;
use super::verifiers::{self, Verification};
use super::{GatekeeperParts, Issuer};
use crate::config::{AdmissionCheck, Config};
use crate::hub::Door;

/// The threads that there are.
pub(crate) struct TokenThreads {
    /// Where tokens come out that are to be verified.
    tokens: Receiver<Verification>,
    /// Nothing is sent by it. Dropped, it ends those that verify.
    running: Option<Sender<()>>,
    /// How they see it.
    ends: Receiver<()>,
    verifiers: Vec<JoinHandle<()>>,
    keeper: Option<KeptIssuers>,
}

/// Issuers whose keys are kept fresh, where they have them at an endpoint.
struct KeptIssuers {
    issuers: Arc<[Arc<Issuer>]>,
    _keeper: Option<KeyKeeper>,
}

impl TokenThreads {
    /// None yet.
    pub(crate) fn new(tokens: Receiver<Verification>) -> Self {
        let (running, ends) = bounded(0);
        Self { tokens, running: Some(running), ends, verifiers: Vec::new(), keeper: None }
    }

    /// Starts those that this configuration wants: none, if no route of it asks for tokens. Threads
    /// that verify stay once they are there.
    ///
    /// # Errors
    /// One could not be started; those that were stay.
    pub(crate) fn serve(
        &mut self,
        config: &Config,
        checks: &GatekeeperParts,
        door: &Door,
    ) -> io::Result<()> {
        let is_token = |check: &AdmissionCheck| matches!(check, AdmissionCheck::Jwt(_));
        if !config.routes.iter().flat_map(|route| &route.admission).any(is_token) {
            self.keeper = None;
            return Ok(());
        }
        for index in self.verifiers.len()..usize::from(config.verifiers) {
            let (tokens, ends) = (self.tokens.clone(), self.ends.clone());
            self.verifiers.push(verifiers::start(index, tokens, ends, door.clone())?);
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
        for verifier in self.verifiers.drain(..) {
            // One that panicked has said so.
            let _ = verifier.join();
        }
    }
}
