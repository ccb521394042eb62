//! Prometheus's text format 0.0.4, read strictly: what a lenient reader would let pass is an error.

use std::collections::{BTreeMap, BTreeSet};

/// What was told: the value of each sample, by its name and labels as they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition(BTreeMap<String, f64>);

/// What is known of a family while its lines are read.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    /// By the labels without `le`: the buckets so far.
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Exposition {
    /// Reads a whole text.
    ///
    /// # Errors
    /// The line that breaks a rule, and which.
    pub fn read(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line does not end".into());
        }
        let (mut all, mut seen, mut family) = (Self::default(), BTreeSet::new(), Family::default());
        for line in text.lines() {
            let read = match line.strip_prefix("# ") {
                Some(comment) => family.comment(comment, &mut seen),
                None => family.sample(line).and_then(|(name, value)| all.add(name, value)),
            };
            read.map_err(|wrong| format!("{wrong}: {line}"))?;
        }
        family.end()?;
        Ok(all)
    }

    fn add(&mut self, name: &str, value: f64) -> Result<(), String> {
        match self.0.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err("a sample stands twice".into()),
        }
    }

    /// The value of a sample, such as `up{job="x"}`.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    #[track_caller]
    pub fn get(&self, sample: &str) -> f64 {
        *self.0.get(sample).unwrap_or_else(|| panic!("no sample {sample}: {:?}", self.0.keys()))
    }

    /// How many samples there are whose name begins so.
    #[must_use]
    pub fn count(&self, prefix: &str) -> usize {
        self.0.keys().filter(|name| name.starts_with(prefix)).count()
    }
}

impl Family {
    fn comment(&mut self, comment: &str, seen: &mut BTreeSet<String>) -> Result<(), String> {
        let (word, rest) = comment.split_once(' ').ok_or("a comment of one word")?;
        let (name, text) = rest.split_once(' ').ok_or("HELP and TYPE need a text")?;
        match word {
            "HELP" => {
                self.end()?;
                if !is_name(name) || !seen.insert(name.to_owned()) {
                    return Err("a family of no name, or one that was there".into());
                }
                *self = Self { name: name.to_owned(), ..Self::default() };
                if text.is_empty() { Err("an empty help".into()) } else { Ok(()) }
            }
            "TYPE" if name != self.name || !self.kind.is_empty() => {
                Err("TYPE stands once, behind the HELP of its family".into())
            }
            "TYPE" if name.ends_with("_total") != (text == "counter") => {
                Err("counters end in _total, and nothing else".into())
            }
            "TYPE" if ["counter", "gauge", "histogram"].contains(&text) => {
                self.kind = text.to_owned();
                Ok(())
            }
            _ => Err("neither HELP nor TYPE".into()),
        }
    }

    fn sample<'l>(&mut self, line: &'l str) -> Result<(&'l str, f64), String> {
        let (key, value) = line.rsplit_once(' ').ok_or("no value")?;
        let number: f64 = value.parse().map_err(|_| "a value that is no number")?;
        let (name, labels) = match key.split_once('{') {
            None => (key, Vec::new()),
            Some((name, rest)) => {
                (name, labels(rest.strip_suffix('}').ok_or("labels that do not end")?)?)
            }
        };
        let part = name.strip_prefix(self.name.as_str()).ok_or("a sample outside its family")?;
        // What is counted is whole, but for time.
        let is_counted = self.kind == "counter" && !self.name.ends_with("_seconds_total");
        if number < 0.0 || (is_counted && number.fract() != 0.0) {
            return Err("a value that cannot be".into());
        }
        match (self.kind.as_str(), part) {
            ("counter" | "gauge", "") | ("histogram", "_sum" | "_count") => {}
            ("histogram", "_bucket") => self.bucket(labels, number)?,
            _ => return Err("a sample that its kind does not have".into()),
        }
        Ok((key, number))
    }

    fn bucket(&mut self, labels: Vec<(&str, &str)>, count: f64) -> Result<(), String> {
        let (bounds, rest): (Vec<_>, Vec<_>) =
            labels.into_iter().partition(|(name, _)| *name == "le");
        let [(_, bound)] = bounds.as_slice() else { return Err("a bucket has one bound".into()) };
        let bound = match *bound {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().map_err(|_| "a bound that is no number")?,
        };
        let buckets = self.buckets.entry(format!("{rest:?}")).or_default();
        if buckets.last().is_some_and(|(before, less)| *before >= bound || *less > count) {
            return Err("buckets go up, and so do their counts".into());
        }
        buckets.push((bound, count));
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        let is_whole = |buckets: &Vec<(f64, f64)>| {
            buckets.last().is_some_and(|(bound, _)| bound.is_infinite())
        };
        if self.buckets.values().all(is_whole) {
            return Ok(());
        }
        Err(format!("the last bucket of {} is not +Inf", self.name))
    }
}

/// Reads `name="value",…`, in which a backslash escapes what follows.
fn labels(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let (mut all, mut rest) = (Vec::new(), text);
    loop {
        let (name, behind) = rest.split_once("=\"").ok_or("a label without a value")?;
        let mut escaped = false;
        let end = behind.find(|letter| {
            let is_end = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            is_end
        });
        let (value, behind) = behind.split_at(end.ok_or("a label's value does not end")?);
        if !is_name(name) || all.iter().any(|(other, _)| *other == name) {
            return Err("a label of no name, or one that stands twice".into());
        }
        all.push((name, value));
        match &behind[1..] {
            "" => return Ok(all),
            more => rest = more.strip_prefix(',').ok_or("labels without a comma between")?,
        }
    }
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_text_is_read() {
        let text = "# HELP a_total what\n# TYPE a_total counter\na_total{x=\"1\\\"\",y=\"2\"} 3\n\
                    # HELP h what\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\n\
                    h_bucket{le=\"+Inf\"} 2\nh_sum 1.5\nh_count 2\n\
                    # HELP s_seconds_total what\n# TYPE s_seconds_total counter\n\
                    s_seconds_total 0.5\n";
        let read = Exposition::read(text).unwrap();
        assert_eq!(read.get("a_total{x=\"1\\\"\",y=\"2\"}"), 3.0);
        assert_eq!(read.get("h_sum"), 1.5);
    }

    #[test]
    fn each_rule_is_held() {
        let head = "# HELP a what\n# TYPE a gauge\n";
        for wrong in [
            "a 1",
            "a 1\na 1\n",
            "a x\n",
            "a{x=\"1\"1} 1\n",
            "a{x=\"1} 1\n",
            "b 1\n",
            "a_sum 1\n",
            "# HELP a what\n",
            "# TYPE a gauge\n",
            "# HELP b what\n# TYPE b counter\n",
            "# HELP b_total what\n# TYPE b_total gauge\n",
            "# HELP b_total what\n# TYPE b_total counter\nb_total 1.5\n",
            "# HELP s_seconds_total what\n# TYPE s_seconds_total counter\ns_seconds_total -1.5\n",
            "# HELP h what\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
            "# HELP h what\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\n",
        ] {
            assert!(Exposition::read(&format!("{head}{wrong}")).is_err(), "{wrong}");
        }
    }
}
