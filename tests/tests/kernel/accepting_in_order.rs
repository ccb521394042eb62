//! Accepts that take their place among the other operations: those of a ring since Linux 6.10, and
//! those by epoll.

use crate::accepting::{accepted, arrive};
use crate::fixture::{Kernel, accept};

#[test]
fn whoever_is_accepted_can_be_polled_in_the_same_batch() {
    let mut kernel = Kernel::new();
    let (first, mut first_peer) = kernel.open();
    assert_eq!(kernel.submit([first.poll()]), []);
    let mut peer = arrive(&mut kernel);
    let second = first.successor();
    let operations = [first.unpoll(), first.close(), accept(first.slot), second.poll()];
    assert_eq!(kernel.submit(operations), [accepted(first.slot, Ok(peer.address()))]);
    first_peer.expect_end();
    kernel.expect_nothing();
    peer.say(b"hello");
    kernel.expect(second.readable());
}
