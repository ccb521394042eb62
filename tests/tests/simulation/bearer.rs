//! Tokens that clients of a run have, the gateway's keys for them, and whoever verifies signatures
//! beside the shards: soon, late, never, or once more.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde_json::json;
use tidegate::checks::{GatekeeperParts, Issuer, Revocations, Verification, Verifiers};
use tidegate::config::{Config, Jwt};
use tidegate::hub::{Door, Errand, NotDone, Outcome};
use tidegate_tests::tokens::{Signed, TokenIssuer};

use crate::random::Random;
use crate::world::BEGINNING;

/// The path of a route that wants a token and echoes, and of one whose handler then decides later.
pub const PATH: &str = "/bearer";
pub const LATE_PATH: &str = "/bearer/late";

/// The code that a connection is closed with whose token has expired, or was taken back.
pub const EXPIRED: u16 = 4401;

/// What the configuration calls who has issued them.
pub const ISSUER: &str = "jwt";

/// For how long tokens hold, in seconds from the beginning of a run.
const LASTING: [u64; 4] = [3, 8, 20, 1_000_000];

/// Who has tokens, and says what of topics.
const USERS: [(&str, &[&str]); 3] =
    [("ann", &[]), ("bo", &["rooms/*", "news"]), ("cy", &["a/long/pattern/of/topics/for/*"])];

/// What a client has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    text: Option<String>,
    /// Until when it holds, by the calendar; `None` for one that never does.
    pub until: Option<Duration>,
    /// What it says of itself: whose it is, its id, and when it was issued, in seconds since 1970.
    pub user: &'static str,
    pub id: String,
    pub issued: u64,
}

impl Token {
    /// The line of a request that has it.
    pub fn line(&self) -> String {
        let line = |text: &String| format!("Authorization: Bearer {text}\r\n");
        self.text.as_ref().map(line).unwrap_or_default()
    }

    /// Any of them: some are another issuer's, or expired, or not there.
    pub fn draw(random: &mut Random) -> Self {
        let all = &shared().tokens;
        all[random.below(all.len())].clone()
    }

    /// Any of them, more often one of the same user.
    pub fn draw_for(random: &mut Random, user: Option<&str>) -> Self {
        let token = Self::draw(random);
        match user {
            Some(user) if token.user != user && random.chance(700) => {
                Self::draw_for(random, Some(user))
            }
            _ => token,
        }
    }

    /// What whoever brings it says.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}

/// What is the same for all runs: keys take time to make, and no two signatures are the same.
struct Shared {
    /// Its files are there as long as it is.
    issuer: TokenIssuer,
    tokens: Vec<Token>,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (issuer, other) = (TokenIssuer::new(), TokenIssuer::new());
        let nobody = Token { text: None, until: None, user: "nobody", id: "0".into(), issued: 1 };
        let mut tokens = vec![nobody];
        for signed in [Signed::ByKey, Signed::BySecret] {
            for (user, topics) in USERS {
                let mut number = tokens.len() as u64;
                let mut claims = |until: u64| {
                    number += 1;
                    let (id, issued) = (number.to_string(), BEGINNING.as_secs() - number);
                    let mut claims = json!({"sub": user, "exp": until, "jti": &*id, "iat": issued});
                    if !topics.is_empty() {
                        claims["subscribe"] = json!(topics);
                    }
                    (claims, Token { text: None, until: None, user, id, issued })
                };
                for seconds in LASTING {
                    let until = BEGINNING.as_secs() + seconds;
                    let (claims, token) = claims(until);
                    let (text, until) = (Some(issuer.sign(signed, &claims)), Some(until));
                    let until = until.map(Duration::from_secs);
                    tokens.push(Token { text, until, ..token });
                }
                let lasting = claims(BEGINNING.as_secs() + 1_000_000);
                let expired = claims(BEGINNING.as_secs() - 1_000_000);
                for (issuer, (claims, token)) in [(&other, lasting), (&issuer, expired)] {
                    let text = Some(issuer.sign(signed, &claims));
                    tokens.push(Token { text, ..token });
                }
            }
        }
        Shared { issuer, tokens }
    })
}

/// The part of the configuration of who wants tokens, of routes whose other lines these are.
pub fn config(lines: &str) -> String {
    let mut text = shared().issuer.config("leeway = '0s'");
    for path in [PATH, LATE_PATH] {
        text +=
            &format!("[[route]]\npath = '{path}'\nhandler = 'echo'\nadmission = ['jwt']\n{lines}");
    }
    text
}

/// What shards check tokens by, of whom so many may wait and these are taken back, and where those
/// come out.
pub fn checks(
    config: &Config,
    places: usize,
    revocations: &Revocations,
) -> (GatekeeperParts, Receiver<Verification>) {
    static ISSUER: OnceLock<Arc<Issuer>> = OnceLock::new();
    let jwt: &Jwt = &config.jwts[0];
    let issuer = ISSUER.get_or_init(|| Arc::new(Issuer::read(jwt).expect("its files are there")));
    let (verifiers, tokens) = Verifiers::new(places);
    let parts = GatekeeperParts::new(vec![Arc::clone(issuer)], verifiers);
    (parts.with_revocations(revocations.clone()), tokens)
}

/// Verifies signatures beside the shards.
pub struct VerifierStandIn {
    tokens: Receiver<Verification>,
    door: Door,
    random: Random,
    /// Per mille: how many are never verified.
    withheld: u32,
    /// The most turns until one is.
    patience: usize,
    due: Vec<(usize, Verification)>,
    /// What has come of those that were told.
    told: (Sender<Told>, mpsc::Receiver<Told>),
}

/// What has come of telling one.
type Told = (Verification, Outcome);

impl VerifierStandIn {
    pub fn new(tokens: Receiver<Verification>, door: Door, mut random: Random) -> Self {
        Self {
            tokens,
            door,
            withheld: random.pick(&[0, 0, 300]),
            patience: random.pick(&[1, 20, 300]),
            random,
            due: Vec::new(),
            told: mpsc::channel(),
        }
    }

    /// A moment passes.
    pub fn act(&mut self, turn: usize) {
        while let Ok(token) = self.tokens.try_recv() {
            if !self.random.chance(self.withheld) {
                self.due.push((turn + self.random.below(self.patience), token));
            }
        }
        let (now, later) = std::mem::take(&mut self.due).into_iter().partition(|due| due.0 <= turn);
        self.due = later;
        let now: Vec<(usize, Verification)> = now;
        for (_, token) in now {
            self.tell(token);
        }
        let outcomes: Vec<Told> = self.told.1.try_iter().collect();
        for (token, outcome) in outcomes {
            match outcome {
                // Once more, which nobody hears.
                Outcome::Done(1) if self.random.chance(100) => self.due.push((turn + 1, token)),
                Outcome::Untold(_) => self.due.push((turn + 1, token)),
                Outcome::Done(1) | Outcome::NotDone(NotDone::Gone | NotDone::Ended) => {}
                other => panic!("{:?}: {other:?}", token.ticket),
            }
        }
    }

    fn tell(&self, token: Verification) {
        let (ticket, finding, told) = (token.ticket, token.verify(), self.told.0.clone());
        self.door.ask(Errand::Found(ticket, finding), move |outcome| {
            // Nobody looks any more once the run is over.
            let _ = told.send((token, outcome));
        });
    }
}
