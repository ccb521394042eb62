//! Forms: how what is published reaches a subscriber, as bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::{MessageMemory, Publication};

/// How a subscriber is sent what is published. What is spoken on its connection gives it its
/// meaning; to the hub, those are alike who have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Form(pub(crate) u8);

/// A message in bytes that are the same for all who want it in this form. They are counted among
/// what messages hold.
#[derive(Debug)]
pub(crate) struct Encoded {
    form: Form,
    bytes: Bytes,
    memory: Arc<MessageMemory>,
}

/// Encodes a message once for all who want it in a form, if that is worth it.
pub(crate) type EncodeOnce<'e> = &'e mut dyn FnMut(Form, &Publication) -> Option<Encoded>;

impl Encoded {
    /// `None` if no memory is left for it.
    pub(super) fn new(form: Form, bytes: Vec<u8>, memory: &Arc<MessageMemory>) -> Option<Self> {
        let bytes = Bytes::from(bytes.into_boxed_slice());
        let memory = Arc::clone(memory);
        memory.take(bytes.len() as u64).then(|| Self { form, bytes, memory })
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes.len() as u64);
    }
}
