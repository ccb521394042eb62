//! Whether a request comes to its handler: what its route checks comes first.

use tidegate_proto::http::RequestHead;

use super::desk::Desk;
use super::refusal::Refusal;
use super::request::Request;
use super::serve::{Decision, Handler};
use super::services::Service;
use super::turn::{Turn, Work};
use crate::checks::{
    BEARER_PROTOCOL, CheckFound, CheckPassed, CheckQuestion, Entrant, NotAdmitted, PasswordClient,
};
use crate::config::{AdmissionCheck, TokenSource};
use crate::hub::Finding;

/// Has the route check a request, and if it passes, the handler decide.
///
/// # Errors
/// It is refused.
pub(super) fn decide(turn: &mut Turn<'_>, head: &RequestHead<'_>) -> Result<Decision, Refusal> {
    go_on(turn, head, None)
}

/// The same once something was found out, for the checks or for the handler.
///
/// # Errors
/// It is refused.
pub(super) fn found(
    turn: &mut Turn<'_>,
    head: &RequestHead<'_>,
    finding: Finding,
) -> Result<Decision, Refusal> {
    if finding.get::<CheckFound>().is_some() {
        return go_on(turn, head, finding.take());
    }
    ask(turn, head, |handler, request, desk| handler.decided(request, finding, desk))
}

fn go_on(
    turn: &mut Turn<'_>,
    head: &RequestHead<'_>,
    found: Option<CheckFound>,
) -> Result<Decision, Refusal> {
    match check(turn, head, found)? {
        Some(question) => Ok(Decision::later(move |ticket| question.ask(ticket))),
        None => ask(turn, head, |handler, request, desk| handler.request(request, desk)),
    }
}

/// Checks that a client's token is good as well when its handler has let it in, which may have
/// taken a while.
///
/// # Errors
/// Why it is not.
pub(super) fn still_holds(turn: &mut Turn<'_>, decision: &Decision) -> Result<(), NotAdmitted> {
    match decision {
        Decision::Admit(_) | Decision::Respond(_) => {
            let (slot, now) = (turn.work.id.slot, turn.work.calendar);
            turn.work.gatekeeper.check_still(slot, now)
        }
        Decision::Refuse(_) | Decision::Later(_) => Ok(()),
    }
}

/// Checks a request as its route says. Once something was found out it begins anew: what was passed
/// is passed again. Returns what has to be found out first, if something has.
fn check(
    turn: &mut Turn<'_>,
    head: &RequestHead<'_>,
    mut found: Option<CheckFound>,
) -> Result<Option<CheckQuestion>, Refusal> {
    let Turn { work, services, transports, counters, peer, .. } = turn;
    let offer = &services[work.output.connection.service].offer;
    let (slot, now) = (work.id.slot, work.calendar);
    let asked = Entrant { head, now };
    for check in &offer.admission {
        let passed = match check {
            AdmissionCheck::Network if !offer.networks.let_in(*peer) => {
                return Err(Refusal::Network);
            }
            AdmissionCheck::Network => continue,
            // What the layer `tls` has opened.
            AdmissionCheck::Origin => {
                offer.check_page(head, work.output.seals)?;
                continue;
            }
            AdmissionCheck::Certificate if transports.tls.peer(slot).is_none() => {
                return Err(NotAdmitted::NoCertificate.into());
            }
            AdmissionCheck::Certificate => continue,
            AdmissionCheck::Token(check) => {
                CheckPassed::With(work.gatekeeper.check_known(check, asked)?)
            }
            AdmissionCheck::Jwt(issuer) => {
                work.gatekeeper.check_token(issuer, asked, found.take())?
            }
            AdmissionCheck::Basic(file) => {
                let found = found.take();
                let client = PasswordClient { asked, slot, peer: *peer, found };
                work.gatekeeper.check_password(file, client, counters)?
            }
        };
        match passed {
            CheckPassed::With(grant) => work.gatekeeper.keep(slot, grant),
            CheckPassed::Later(question) => return Ok(Some(question)),
        }
    }
    Ok(None)
}

/// Asks the handler.
fn ask(
    turn: &mut Turn<'_>,
    head: &RequestHead<'_>,
    what: impl FnOnce(&mut dyn Handler, &Request<'_>, &mut Desk<'_>) -> Decision,
) -> Result<Decision, Refusal> {
    let (client, proxied, peer) = (turn.client_certificate(), turn.proxy_facts(), turn.peer);
    let Turn { work: Work { output, hub, gatekeeper, now, id, .. }, services, .. } = turn;
    let Service { handler, offer, .. } = services.get_mut(output.connection.service);
    let request = Request::new(head, &offer.path)?.of_client(client).through_proxy(proxied);
    let request = request.granted(gatekeeper.grant(id.slot)).of_peer(peer);
    Ok(what(&mut **handler, &request, &mut Desk::new(hub, *now)))
}

/// The subprotocol that is selected because a token was offered behind it, if nothing else is:
/// browsers close a connection for which they have offered some and none is selected.
pub(super) fn token_protocol(turn: &Turn<'_>) -> Option<&'static str> {
    let offer = &turn.services[turn.work.output.connection.service].offer;
    let offers = |check: &AdmissionCheck| match check {
        AdmissionCheck::Jwt(issuer) => turn.work.gatekeeper.takes_offered(issuer),
        AdmissionCheck::Token(check) => check.from.contains(&TokenSource::Subprotocol),
        _ => false,
    };
    offer.admission.iter().any(offers).then_some(BEARER_PROTOCOL)
}
