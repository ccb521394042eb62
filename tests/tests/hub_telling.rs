//! What is told of connections and topics at once: never so much that others would have to wait.

use tidegate::hub::{ConnectionFilter, Errand, Outcome, Target};
use tidegate_tests::hub::{HubGateway, name};

const CONFIGURATION: &str = r#"
    [[route]]
    path = "/rooms/{room}"
    handler = "hub?topic=rooms/{room}"
"#;

#[test]
fn an_answer_ends_after_many_topics_and_a_list_tells_some_of_each() {
    const MEMBERS: usize = 30;
    const TOPICS: u32 = 100;
    let gateway = HubGateway::start(1, CONFIGURATION);
    let members: Vec<_> = (0..MEMBERS).map(|_| gateway.open("/rooms/a")).collect();
    for member in &members {
        for topic in 1..TOPICS {
            let request =
                Errand::Subscribe(Target::Connection(member.id), name(&format!("more/{topic}")));
            assert_eq!(gateway.done(request), Ok(1));
        }
    }
    let request = Errand::Connections { from: 0, filter: ConnectionFilter::default(), limit: 100 };
    match gateway.ask_shard(0, request) {
        Outcome::Connections(some, Some(_)) => assert_eq!(some.len(), 20, "2,000 subscriptions"),
        other => panic!("a part of the connections was expected: {other:?}"),
    }
    let all = gateway.connections(&ConnectionFilter::default());
    assert_eq!(all.len(), MEMBERS);
    assert!(all.iter().all(|one| (one.topics.len(), one.topics_total) == (20, TOPICS)));
    match gateway.ask(Errand::Connection(members[0].id)) {
        Outcome::Connection(one) => assert_eq!(one.topics.len(), TOPICS as usize),
        other => panic!("a connection was expected: {other:?}"),
    }
}
