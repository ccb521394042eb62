//! What of a configuration is understood, for people who look before they start.

use std::fmt;

use super::hub_route::{HubRoute, Publishers, UserSource};
use super::route::RouteHandler;
use super::{
    AdmissionCheck, ClientLimits, Clients, Config, ListenerLimits, Networks, Origins, Shards,
    TopicPattern,
};

impl Config {
    /// What the file decides, one line for each subject: where is listened and by which layers, by
    /// which certificates, who says who clients are, which handler has which path, how it is
    /// steered, and what is kept of which topics. Indented below a route's line stands what is
    /// checked, what its clients may do by commands, and what each may send, where that is not as
    /// by default.
    #[must_use]
    pub fn understood(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for listener in &self.listeners {
            lines.push(format!("listener {}: {}", listener.address, listener.stack));
            let default = ListenerLimits::default().written();
            lines.extend(differing(listener.limits.written(), default));
            lines.extend(differing(listener.networks.written(), Networks::default().written()));
        }
        let clients = Clients::default().written();
        lines.extend(self.clients.written().into_iter().zip(clients).filter_map(
            |((key, value), default)| (value != default.1).then(|| format!("{key} = {value}")),
        ));
        for certificate in &self.certificates {
            let names = match certificate.names.is_empty() {
                true => "its names".into(),
                false => certificate.names.join(", "),
            };
            lines.push(format!("certificate {}: {names}", certificate.cert.display()));
        }
        lines.extend(self.vouchers());
        for route in &self.routes {
            let subprotocol = route.subprotocol.as_deref();
            let subprotocol = subprotocol.map(|name| format!(" ({name})")).unwrap_or_default();
            lines.push(format!("route {}{subprotocol}: {}", route.path, route.handler));
            if route.origins != Origins::default() {
                lines.push(format!("  origins = {}", route.origins));
            }
            let usual = AdmissionCheck::completed(Vec::new(), &route.networks);
            if route.admission != usual {
                let checks: Vec<String> = route.admission.iter().map(ToString::to_string).collect();
                lines.push(format!("  admission = {checks:?}"));
            }
            lines.extend(route.cors.iter().map(|cors| format!("  cors: {cors}")));
            lines.extend(differing(route.networks.written(), Networks::default().written()));
            let default = ClientLimits::default().written();
            lines.extend(differing(route.client.written(), default));
            if let RouteHandler::Hub(hub) = &route.handler {
                lines.extend(differing(hub.commanded(), HubRoute::default().commanded()));
            }
        }
        for topic in &self.topics {
            let presence = if topic.rule.presence { ", who is present" } else { "" };
            lines.push(format!("topic {}: {} messages{presence}", topic.name, topic.rule.history));
        }
        let tokens = match self.admin.tokens.len() {
            0 => "no token",
            1 => "a token",
            _ => "tokens",
        };
        lines.push(match &self.admin.address {
            Some(address) => format!("admin {address}: {tokens}"),
            None => "admin: off".into(),
        });
        lines.extend(
            self.access_log
                .as_ref()
                .map(|log| format!("access log {}: {}", log.to, log.format.name())),
        );
        lines.push(match self.shards {
            Shards::Auto => "shards: auto, one for each core that may be used".into(),
            Shards::Count(count) => format!("shards: {count}"),
        });
        lines
    }

    /// What says who a client is: whose tokens, which tokens, which files of passwords.
    fn vouchers(&self) -> Vec<String> {
        let jwts = self.jwts.iter().map(|jwt| {
            let files = jwt.keys.iter().chain(&jwt.secrets);
            let keys = files.map(|file| file.display().to_string()).chain(jwt.jwks.clone());
            format!("jwt {}: keys of {}", jwt.name, keys.collect::<Vec<_>>().join(", "))
        });
        let tokens = self.tokens.iter().map(|token| {
            let user = token.user.as_ref().map_or("nobody in particular", |user| user.as_str());
            format!("token {}: {user}", token.name)
        });
        let passwords = self
            .passwords
            .iter()
            .map(|passwords| format!("passwords {}: {}", passwords.name, passwords.file.display()));
        jwts.chain(tokens).chain(passwords).collect()
    }
}

/// The keys whose values are not as by default, each with its value on a line of its own.
fn differing<const N: usize>(
    ours: [(&'static str, String); N],
    default: [(&'static str, String); N],
) -> impl Iterator<Item = String> {
    let differ = ours.into_iter().zip(default).filter(|(ours, default)| ours != default);
    differ.map(|((key, value), _)| format!("  {key} = {value}"))
}

impl fmt::Display for RouteHandler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => out.write_str("echo"),
            Self::Embedded => out.write_str("embedded"),
            Self::Health => out.write_str("health"),
            Self::Static => out.write_str("static"),
            Self::Hub(hub) => write!(out, "hub{hub}"),
        }
    }
}

impl HubRoute {
    /// What a client may do by commands: the keys that a route of the hub has beside its handler,
    /// each with its value as the file has it.
    pub(crate) fn commanded(&self) -> [(&'static str, String); 3] {
        [
            ("subscribe", list(&self.may_subscribe)),
            ("publish", list(&self.may_publish)),
            ("commands", self.commands.to_string()),
        ]
    }
}

fn list(patterns: &[TopicPattern]) -> String {
    let texts: Vec<&str> = patterns.iter().map(TopicPattern::as_str).collect();
    format!("{texts:?}")
}

/// The options, as they are written, but for those that are as by default. What its clients may do
/// by commands is no option, and not among them.
impl fmt::Display for HubRoute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = Vec::new();
        options.extend(self.topic.as_ref().map(|topic| format!("topic={topic}")));
        match self.publish {
            Publishers::Anyone => {}
            Publishers::Users => options.push("publish=users".into()),
            Publishers::Nobody => options.push("publish=nobody".into()),
        }
        if self.events {
            options.push("events=on".into());
        }
        if !self.own {
            options.push("own=off".into());
        }
        options.extend(self.user.as_ref().map(|user| match user {
            UserSource::Query(name) => format!("user=query.{name}"),
            UserSource::Header(name) => format!("user=header.{name}"),
        }));
        let start = if options.is_empty() { "" } else { "?" };
        write!(out, "{start}{}", options.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_is_told_as_it_is_written() {
        let text = "shards = 2\n[[listener]]\naddress = \"127.0.0.1:80\"\nstack = \"log!ws!tcp\"\n\
                    [[route]]\npath = \"/a\"\nsubprotocol = \"chat\"\nhandler = \"echo\"\n\
                    [[route]]\npath = \"/b/{x}\"\n\
                    handler = \"hub?topic=b/{x}&publish=users&own=off&user=query.u\"\n\
                    subscribe = [\"b/*\", \"c\"]\npublish = [\"c\"]\ncommands = 9\n\
                    [[topic]]\nname = \"b/{x}\"\nhistory = 7\npresence = true\n";
        let config = Config::parse(text, "told.toml").unwrap();
        let lines = config.understood();
        assert!(lines[0].starts_with("listener 127.0.0.1:80: log!ws"), "{lines:?}");
        assert_eq!(
            lines[1..],
            [
                "route /a (chat): echo",
                "route /b/{x}: hub?topic=b/{x}&publish=users&own=off&user=query.u",
                "  subscribe = [\"b/*\", \"c\"]",
                "  publish = [\"c\"]",
                "  commands = 9",
                "topic b/{x}: 7 messages, who is present",
                "admin 127.0.0.1:8081: no token",
                "shards: 2",
            ]
        );
        let text = "[[jwt]]\nname = 'main'\nkeys = ['main.pem']\njwks = 'https://a.example/keys'\n\
                    [[token]]\nname = 'probe'\nfile = 'probe'\nuser = 'ada'\n\
                    [[passwords]]\nname = 'staff'\nfile = 'staff.txt'\n\
                    [[route]]\npath = '/a'\nhandler = 'echo'\nadmission = ['jwt', 'origin']\n\
                    [[route]]\npath = '/b'\nhandler = 'echo'\nadmission = ['origin', 'basic']\n\
                    [[route]]\npath = '/c'\nhandler = 'echo'\nallow = ['10.0.0.0/8']\n";
        let lines = Config::parse(text, "told.toml").unwrap().understood();
        assert_eq!(
            lines[1..lines.len() - 2],
            [
                "jwt main: keys of main.pem, https://a.example/keys",
                "token probe: ada",
                "passwords staff: staff.txt",
                "route /a: echo",
                "  admission = [\"jwt?by=main\", \"origin\"]",
                "route /b: echo",
                "  admission = [\"origin\", \"basic?by=staff\"]",
                "route /c: echo",
                "  allow = [\"10.0.0.0/8\"]",
            ]
        );
        let off = Config::default().with_admin(None).understood();
        assert!(off.contains(&"admin: off".to_owned()), "{off:?}");
        assert!(off.contains(&"route /echo: echo".to_owned()), "{off:?}");
        let rooms = off.iter().position(|line| line.starts_with("route /rooms/")).unwrap();
        let (below, after) = off[rooms + 1..].split_at(2);
        assert_eq!(below, ["  subscribe = [\"rooms/*\"]", "  publish = [\"rooms/*\"]"]);
        assert!(after[0].starts_with("topic rooms/{room}: "), "{off:?}");
    }
}
