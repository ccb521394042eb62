//! Who has sent a request, where a proxy in front that speaks HTTP says it in a header.

use tidegate_proto::http::RequestHead;

use super::refusal::Refusal;
use super::turn::Turn;

/// The head of a request is whole: whom it is of holds from here on wherever that is told, and who
/// it is is counted by its own address. Of who is not believed nothing is read.
///
/// # Errors
/// Nobody may come from there, or there are too many of them.
pub(super) fn learn(turn: &mut Turn<'_>, head: &RequestHead<'_>) -> Result<(), Refusal> {
    let profile = &turn.profiles[turn.work.output.connection.profile];
    let Some(forwarding) = profile.forwarding_of(turn.peer) else { return Ok(()) };
    let told = forwarding.header.client(head, |address| forwarding.has(address));
    match told {
        Some(client) => {
            turn.counters.forwarded_requests += 1;
            turn.peer = client.into();
            turn.left.learnt = Some(turn.peer);
        }
        None => turn.counters.forwarded_untold += 1,
    }
    if !profile.networks.let_in(turn.peer) {
        return Err(Refusal::ListenerNetwork);
    }
    let Some(client) = told else { return Ok(()) };
    let (slot, now) = (turn.work.id.slot, turn.work.now);
    Ok(turn.turnstile.is_of(slot, client.ip(), now)?)
}
