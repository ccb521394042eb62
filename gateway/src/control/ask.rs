//! Asking shards, with a deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::error::Error;
use crate::hub::{Door, Errand, Outcome};

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Questions that may be on their way at once, so that the mailboxes are left to the shards.
const ON_THEIR_WAY: usize = 256;

/// The way to the shards.
pub(super) struct Questions {
    door: Door,
    places: Arc<Semaphore>,
}

/// A question that was sent.
pub(super) struct Asked {
    answer: oneshot::Receiver<Outcome>,
    deadline: Instant,
}

impl Questions {
    pub(super) fn new(door: Door) -> Self {
        Self { door, places: Arc::new(Semaphore::new(ON_THEIR_WAY)) }
    }

    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// When what begins now must be answered.
    pub(super) fn deadline() -> Instant {
        Instant::now() + PATIENCE
    }

    /// Asks whom it concerns.
    pub(super) async fn ask(&self, errand: Errand) -> Result<Outcome, Error> {
        self.send(errand, Self::deadline()).await?.answer().await
    }

    /// Asks one shard.
    pub(super) async fn ask_shard(
        &self,
        shard: usize,
        errand: Errand,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let (reply, answer) = self.place(deadline).await?;
        self.door.ask_shard(shard, errand, reply);
        Asked { answer, deadline }.answer().await
    }

    /// Sends a question; the order of what one caller sends to one target is kept.
    pub(super) async fn send(&self, errand: Errand, deadline: Instant) -> Result<Asked, Error> {
        let (reply, answer) = self.place(deadline).await?;
        self.door.ask(errand, reply);
        Ok(Asked { answer, deadline })
    }

    /// Somewhere to answer to, once there is a place for another question.
    async fn place(
        &self,
        deadline: Instant,
    ) -> Result<(impl FnOnce(Outcome) + Send + use<>, oneshot::Receiver<Outcome>), Error> {
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or_else(Error::late)?;
        let (sender, answer) = oneshot::channel();
        let reply = move |answer| {
            // Whoever asked may have given up. The place is free when the shard is done, not when
            // somebody has read the answer: callers that ask on hold no places while they wait.
            let _ = sender.send(answer);
            drop(place);
        };
        Ok((reply, answer))
    }
}

impl Asked {
    /// Waits for the answer; that it is not done is an error.
    pub(super) async fn answer(self) -> Result<Outcome, Error> {
        match timeout_at(self.deadline, self.answer).await {
            Ok(Ok(Outcome::NotDone(not_done))) => Err(not_done.into()),
            Ok(Ok(answer)) => Ok(answer),
            // The shard has ended, or did not answer.
            Ok(Err(_)) | Err(_) => Err(Error::late()),
        }
    }
}
