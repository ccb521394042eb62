//! "Did you mean": what to say of a name that is not known.

/// How many edits a name may be away from a known one to be taken for a slip.
const SLIP: usize = 2;

/// The end of a message about a `name` that is not one of the `known`, which are called `what`: the
/// nearest one, if there is a near one, and all of them.
pub(super) fn names(what: &str, name: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return ": there are none".into();
    }
    let all = known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
    match nearest(name, known) {
        Some(near) => format!(": did you mean `{near}`? The {what} are {all}"),
        None => format!(": the {what} are {all}"),
    }
}

/// The known name that `name` is a slip of: fewest edits, at most [`SLIP`] and half of its
/// letters.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    // A slip is at most `SLIP` letters longer; a text of any length must not be measured whole.
    let letters: Vec<char> = name.chars().take(64).collect();
    let distances = known.iter().map(|known| (distance(&letters, known), *known));
    let (edits, near) = distances.min_by_key(|(edits, _)| *edits)?;
    (edits <= SLIP && edits * 2 <= near.len()).then_some(near)
}

/// The least number of letters to insert, remove, replace or swap with their neighbour that makes
/// `known` of `letters`.
fn distance(letters: &[char], known: &str) -> usize {
    let known: Vec<char> = known.chars().collect();
    let width = known.len() + 1;
    let mut rows: Vec<Vec<usize>> = vec![(0..width).collect()];
    for (line, letter) in letters.iter().enumerate() {
        let mut row = vec![line + 1; width];
        for column in 1..width {
            let replaced = rows[line][column - 1] + usize::from(*letter != known[column - 1]);
            row[column] = replaced.min(rows[line][column] + 1).min(row[column - 1] + 1);
            let swapped = line > 0
                && column > 1
                && *letter == known[column - 2]
                && letters[line - 1] == known[column - 1];
            if swapped {
                row[column] = row[column].min(rows[line - 1][column - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[letters.len()][known.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (name, known, edits) in [
            ("", "", 0),
            ("", "tcp", 3),
            ("tcp", "", 3),
            ("tcp", "tcp", 0),
            ("tpc", "tcp", 1),
            ("tc", "tcp", 1),
            ("tcpp", "tcp", 1),
            ("udp", "tcp", 2),
            ("receive_bufer", "receive_buffer", 1),
        ] {
            let letters: Vec<char> = name.chars().collect();
            assert_eq!(distance(&letters, known), edits, "{name} {known}");
        }
    }

    #[test]
    fn only_a_slip_is_hinted_at() {
        let known = ["log", "ws", "tcp"];
        assert_eq!(nearest("tpc", &known), Some("tcp"));
        assert_eq!(nearest("lg", &known), Some("log"));
        assert_eq!(nearest("wss", &known), Some("ws"));
        assert_eq!(nearest("x", &known), None);
        assert_eq!(nearest("udp", &known), None);
        assert_eq!(nearest("quic", &known), None);
        assert_eq!(nearest(&"w".repeat(100_000), &known), None);
    }

    #[test]
    fn the_known_names_are_listed() {
        assert_eq!(names("options", "a", &[]), ": there are none");
        let hint = names("keys", "sise", &["size"]);
        assert_eq!(hint, ": did you mean `size`? The keys are `size`");
        assert_eq!(names("layers", "x", &["ws", "tcp"]), ": the layers are `ws`, `tcp`");
    }
}
