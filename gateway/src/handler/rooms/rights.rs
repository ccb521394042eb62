//! What a client of the hub may do with topics: the one place that says so, whatever it asks by.

use crate::config::{HubRoute, Publishers, TopicPattern};
use crate::handler::{Context, Permissions};
use crate::names::Name;

/// What one client may do: by its route, and by its token if that says something of it.
///
/// What a route lists in `subscribe` and `publish` is for all of its clients. Beside that a token
/// with a claim says all that its bearer may do, of the topic that its path stands for as well;
/// without one that topic is what its route says.
pub(super) struct Rights<'r> {
    route: &'r HubRoute,
    granted: Option<&'r Permissions>,
    user: Option<&'r Name>,
}

impl<'r> Rights<'r> {
    pub(super) fn new(
        route: &'r HubRoute,
        granted: Option<&'r Permissions>,
        user: Option<&'r Name>,
    ) -> Self {
        Self { route, granted, user }
    }

    /// Whether it may subscribe to a topic, which may be the one that its path stands for.
    pub(super) fn may_subscribe(&self, topic: &Name, is_own: bool) -> bool {
        let claimed = self.granted.and_then(|granted| granted.subscribe.as_deref());
        self.lists(&self.route.may_subscribe, topic)
            || claimed.map_or(is_own, |claimed| self.lists(claimed, topic))
    }

    /// Whether it may publish on one; likewise.
    pub(super) fn may_publish(&self, topic: &Name, is_own: bool) -> bool {
        let claimed = self.granted.and_then(|granted| granted.publish.as_deref());
        self.lists(&self.route.may_publish, topic)
            || claimed
                .map_or(is_own && self.may_publish_own(), |claimed| self.lists(claimed, topic))
    }

    /// Whether the route lets it publish on the topic that its path stands for.
    fn may_publish_own(&self) -> bool {
        match self.route.publish {
            Publishers::Anyone => true,
            Publishers::Users => self.user.is_some(),
            Publishers::Nobody => false,
        }
    }

    fn lists(&self, patterns: &[TopicPattern], topic: &Name) -> bool {
        let user = self.user.map(Name::as_str);
        patterns.iter().any(|pattern| pattern.matches(topic.as_str(), user))
    }
}

/// Whether a connection may subscribe to a topic.
pub(super) fn may_subscribe(context: &Context<'_, '_>, route: &HubRoute, topic: &Name) -> bool {
    let (user, is_own) = (context.user(), is_own(context, topic));
    Rights::new(route, context.permissions(), user.as_ref()).may_subscribe(topic, is_own)
}

/// Whether it may publish on one.
pub(super) fn may_publish(context: &Context<'_, '_>, route: &HubRoute, topic: &Name) -> bool {
    let (user, is_own) = (context.user(), is_own(context, topic));
    Rights::new(route, context.permissions(), user.as_ref()).may_publish(topic, is_own)
}

fn is_own(context: &Context<'_, '_>, topic: &Name) -> bool {
    context.publishing_topic().as_ref() == Some(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(patterns: &[&str]) -> Vec<TopicPattern> {
        patterns.iter().map(|text| TopicPattern::new(text).expect("a pattern")).collect()
    }

    fn claims(subscribe: Option<&[&str]>, publish: Option<&[&str]>) -> Permissions {
        let of = |claimed: Option<&[&str]>| claimed.map(|claimed| list(claimed).into());
        Permissions { subscribe: of(subscribe), publish: of(publish) }
    }

    #[test]
    fn a_token_says_what_its_bearer_may_beside_what_all_may() {
        let name = |text: &str| Name::new(text).expect("a name");
        let route = HubRoute {
            may_subscribe: list(&["news/*"]),
            may_publish: list(&["inbox/{user}"]),
            ..HubRoute::on("rooms/{room}")
        };
        let ada = name("ada");
        let (none, some) = (claims(None, None), claims(Some(&["rooms/a"]), Some(&["rooms/b"])));
        let nothing = claims(Some(&[]), Some(&[]));
        for (granted, topic, is_own, hears, says) in [
            (None, "rooms/a", true, true, true),
            (None, "rooms/a", false, false, false),
            (None, "news/1", false, true, false),
            (None, "inbox/ada", false, false, true),
            (None, "inbox/bob", false, false, false),
            (Some(&none), "rooms/a", true, true, true),
            (Some(&some), "rooms/a", true, true, false),
            (Some(&some), "rooms/b", true, false, true),
            (Some(&some), "rooms/a", false, true, false),
            (Some(&some), "news/1", false, true, false),
            (Some(&nothing), "rooms/a", true, false, false),
            (Some(&nothing), "inbox/ada", false, false, true),
        ] {
            let rights = Rights::new(&route, granted, Some(&ada));
            assert_eq!(rights.may_subscribe(&name(topic), is_own), hears, "{granted:?} {topic}");
            assert_eq!(rights.may_publish(&name(topic), is_own), says, "{granted:?} {topic}");
        }
    }

    #[test]
    fn who_may_publish_on_the_topic_of_the_path() {
        let (own, ada) = (Name::new("a").expect("a name"), Name::new("ada").expect("a name"));
        for (publish, user, may) in [
            (Publishers::Anyone, None, true),
            (Publishers::Users, None, false),
            (Publishers::Users, Some(&ada), true),
            (Publishers::Nobody, Some(&ada), false),
        ] {
            let route = HubRoute { publish, ..HubRoute::on("a") };
            assert_eq!(Rights::new(&route, None, user).may_publish(&own, true), may, "{publish:?}");
        }
    }
}
