//! Which requests routes are for, so that one that clashes with another is found without a look at
//! all of them.

use std::collections::{HashMap, HashSet};

use super::path::Segment;

/// The paths of some routes, and the subprotocols that they select.
#[derive(Default)]
pub(super) struct RoutePaths {
    /// The subprotocols of each path.
    selected: HashMap<String, HashSet<Option<String>>>,
    /// The paths without names, because no request tells them apart.
    shapes: HashSet<String>,
    /// What stands in front of a name, and of the rest of a path.
    before_names: HashSet<String>,
    before_rests: HashSet<String>,
}

impl RoutePaths {
    /// One more; whether a router cannot tell it from one of those before.
    pub(super) fn clashes(&mut self, path: &str, subprotocol: Option<&str>) -> bool {
        let subprotocol = subprotocol.map(str::to_owned);
        if let Some(selected) = self.selected.get_mut(path) {
            return !selected.insert(subprotocol);
        }
        self.selected.insert(path.to_owned(), HashSet::from([subprotocol]));
        let (mut shape, mut clashes) = (String::with_capacity(path.len()), false);
        for segment in path.split('/').map(Segment::of) {
            match segment {
                Segment::Literal(literal) => shape.push_str(literal),
                Segment::Name(_) => {
                    clashes |= self.before_rests.contains(&shape);
                    self.before_names.insert(shape.clone());
                    shape.push_str("{}");
                }
                Segment::Rest(_) => {
                    clashes |= self.before_rests.contains(&shape);
                    clashes |= self.before_names.contains(&shape);
                    self.before_rests.insert(shape.clone());
                    shape.push_str("{*}");
                }
            }
            shape.push('/');
        }
        clashes | !self.shapes.insert(shape)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::path::conflict;

    fn paths() -> impl Strategy<Value = Vec<(String, Option<&'static str>)>> {
        let segment = prop::sample::select(vec!["a", "b", "{x}", "{y}"]);
        let path = (prop::collection::vec(segment, 0..4), any::<bool>());
        let path = path.prop_map(|(segments, has_rest)| {
            format!("/{}{}", segments.join("/"), if has_rest { "/{*rest}" } else { "" })
        });
        let subprotocol = prop::sample::select(vec![None, Some("p")]);
        prop::collection::vec((path, subprotocol), 1..12)
    }

    proptest! {
        #[test]
        fn it_finds_what_a_look_at_all_others_finds(all in paths()) {
            let mut known = RoutePaths::default();
            for (at, (path, subprotocol)) in all.iter().enumerate() {
                let mut others = all[..at].iter();
                // Of those with the path of another one it was told with the first of them.
                let is_again = all[..at].iter().any(|(other, _)| other == path);
                let clashes = others.any(|(other, selects)| match other == path {
                    true => selects == subprotocol,
                    false => !is_again && conflict(path, other),
                });
                let found = known.clashes(path, *subprotocol);
                prop_assert_eq!(found, clashes, "{} of {:?}", path, all);
            }
        }
    }
}
