//! Measurements of the gateway and of its peers.
fn main() {}
