//! What a shard and its simulated kernel believe of the real one, each belief a test: a kernel that
//! behaves differently fails here, by the name of the rule that it breaks.
//!
//! Whatever has to come is awaited. What must not come is given [`fixture::MOMENT`]: a machine
//! that is too busy can hide a failure there, and never make one up.

mod accepting;
mod adopting;
mod closing;
mod connection;
mod fixture;
mod peer;
mod polling;
mod queues;
mod receiving;
mod sending;
mod waking;
