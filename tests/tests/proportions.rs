//! How large things are: types, functions and files of the gateway and of the protocol keep below
//! bounds, so that each can be read at once and has one subject, and no two types have one name. No
//! line of any source is wider than rustfmt makes code: it leaves comments and texts as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The packages that are held to it.
const PACKAGES: [&str; 2] = ["gateway", "proto"];

/// The most lines of a file, without its tests, and of a function.
const FILE: usize = 450;
const FUNCTION: usize = 70;

/// The most columns of a line, which is what `rustfmt.toml` says, and the folders that are held to
/// it; what is in those of [`NOT_OURS`] was written by a program.
const COLUMNS: usize = 100;
const FOLDERS: [&str; 4] = ["gateway", "proto", "bench", "tests"];
const NOT_OURS: [&str; 3] = ["target", "corpus", "node_modules"];

/// The most fields and methods of a type; of a shard, which is a loop over what it has, others.
const FIELDS: usize = 25;
const METHODS: usize = 45;
const SHARD_FIELDS: usize = 20;
const SHARD_METHODS: usize = 60;

/// Names that are said with their modules in front.
const NAMED_BY_MODULE: [&str; 1] = ["Error"];

/// A source file without its tests.
struct Source {
    /// Where it is in the package's folder.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The folder or file of the crate's root that it belongs to.
    fn module(&self) -> String {
        let first = self.path.iter().next().expect("a name");
        Path::new(first).file_stem().expect("a name").to_string_lossy().into_owned()
    }
}

#[test]
fn files_have_one_subject() {
    for source in all() {
        let lines = source.text.lines().count();
        assert!(lines <= FILE, "{} has {lines} lines", source.path.display());
    }
}

#[test]
fn functions_fit_a_screen() {
    let mut count = 0;
    for source in all() {
        for (name, lines) in functions(&source.text) {
            count += 1;
            let at = source.path.display();
            assert!(lines <= FUNCTION, "{name} of {at} has {lines} lines");
        }
    }
    assert!(count > 1000, "only {count} functions were found");
}

#[test]
fn types_have_one_owner() {
    let mut methods = BTreeMap::<(String, String), usize>::new();
    for source in all() {
        for (name, body) in items(&source.text, "struct ") {
            let fields = body.lines().filter(|line| is_field(line)).count();
            let most = if name == "Shard" { SHARD_FIELDS } else { FIELDS };
            assert!(fields <= most, "{name} of {} has {fields} fields", source.path.display());
        }
        for (name, body) in items(&source.text, "impl") {
            let count = body.lines().filter(|line| is_function(line, 4)).count();
            *methods.entry((source.module(), name)).or_default() += count;
        }
    }
    let shard = methods[&("shard".to_owned(), "Shard".to_owned())];
    assert!(shard > 30, "only {shard} methods of a shard were found");
    for ((module, name), count) in methods {
        let most = if name == "Shard" { SHARD_METHODS } else { METHODS };
        assert!(count <= most, "{name} of {module} has {count} methods");
    }
}

#[test]
fn the_name_of_a_type_has_one_meaning() {
    let mut places = BTreeMap::<String, PathBuf>::new();
    for source in all() {
        for line in source.text.lines() {
            let Some(name) = named_type(line).filter(|name| !NAMED_BY_MODULE.contains(name)) else {
                continue;
            };
            let at = source.path.clone();
            let before = places.insert(name.to_owned(), at.clone());
            assert!(before.is_none(), "{name}: of {} and {before:?}", at.display());
        }
    }
    assert!(places.len() > 400, "only {} types were found", places.len());
}

#[test]
fn lines_are_no_wider_than_code() {
    let settings = fs::read_to_string(root().join("rustfmt.toml")).expect("a text");
    assert!(settings.contains(&format!("max_width = {COLUMNS}\n")), "{settings}");
    let (mut count, mut wide) = (0, String::new());
    for folder in FOLDERS {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).expect("a text");
            count += text.lines().count();
            for line in wide_lines(&text) {
                wide.push_str(&format!("{}:{line} is too wide\n", path.display()));
            }
        }
    }
    assert!(count > 50_000, "only {count} lines were found");
    assert!(wide.is_empty(), "{wide}");
}

fn is_field(line: &str) -> bool {
    let name = unvisible(line.strip_prefix("    ").unwrap_or(""));
    let is_name = |c: char| c.is_lowercase() || c.is_numeric() || c == '_';
    let rest = name.trim_start_matches(is_name);
    rest.len() < name.len() && rest.starts_with(": ")
}

/// Whether a function begins here, so many blanks behind the margin.
fn is_function(line: &str, indent: usize) -> bool {
    let (blanks, code) = line.split_at(line.len() - line.trim_start().len());
    let code = unvisible(code);
    let code = ["const ", "unsafe "].iter().fold(code, |code, word| code.trim_start_matches(word));
    blanks.len() == indent && code.starts_with("fn ")
}

/// The code behind `pub` or `pub(…)`.
fn unvisible(code: &str) -> &str {
    let Some(rest) = code.strip_prefix("pub") else { return code };
    let rest = match rest.strip_prefix('(') {
        Some(_) => rest.split_once(')').map_or(rest, |(_, rest)| rest),
        None => rest,
    };
    rest.trim_start()
}

/// The functions of a file, with how many lines each has.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if is_function(line, indent) {
            let is_end = |line: &&str| **line == format!("{}}}", " ".repeat(indent));
            let ends_at_once = line.ends_with('}') || line.ends_with(';');
            let length = || lines[at..].iter().position(is_end).expect("an end") + 1;
            found.push((line.trim().to_owned(), if ends_at_once { 1 } else { length() }));
        }
    }
    found
}

/// Types or implementations at the margin, by the name of the type, with what is in their braces;
/// implementations of traits are left out.
fn items(text: &str, keyword: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = unvisible(line).strip_prefix(keyword) else { continue };
        let is_of_trait = rest.contains(" for ");
        if is_of_trait || !line.ends_with('{') || line.starts_with(' ') {
            continue;
        }
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
        found.push((type_name(rest), body.join("\n")));
    }
    found
}

/// The name of the type behind `impl` and its parameters, or behind `struct`.
fn type_name(code: &str) -> String {
    let mut depth = 0;
    let parameters = code.starts_with('<').then(|| {
        code.find(|letter| {
            depth += i32::from(letter == '<') - i32::from(letter == '>');
            depth == 0
        })
    });
    let code = parameters.flatten().map_or(code, |end| &code[end + 1..]);
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    code.trim_start().chars().take_while(is_name).collect()
}

/// The name of the type, or of the trait, that is declared at the margin of this line.
fn named_type(line: &str) -> Option<&str> {
    let code = unvisible(line);
    let rest =
        ["struct ", "enum ", "type ", "trait "].iter().find_map(|one| code.strip_prefix(one))?;
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// The numbers of the lines that are too wide.
fn wide_lines(text: &str) -> impl Iterator<Item = usize> {
    let is_wide = |line: &str| line.chars().count() > COLUMNS;
    (1..).zip(text.lines()).filter(move |(_, line)| is_wide(line)).map(|(number, _)| number)
}

/// The folder that all packages are in.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                let name = path.file_name().expect("a name");
                let is_ours = NOT_OURS.iter().all(|other| name != *other);
                folders.extend(is_ours.then_some(path));
            } else if path.extension().is_some_and(|end| end == "rs") {
                sources.push(path);
            }
        }
    }
    sources
}

/// All sources of the packages, without tests.
fn all() -> Vec<Source> {
    let mut all = Vec::new();
    for package in PACKAGES {
        let folder = root().join(package).join("src");
        let is_test = |path: &PathBuf| path.ends_with("tests.rs");
        for path in sources(&folder).into_iter().filter(|path| !is_test(path)) {
            let text = fs::read_to_string(&path).expect("a text");
            let path = path.strip_prefix(&folder).expect("within").to_path_buf();
            all.push(Source { path, text: without_tests(&text).to_owned() });
        }
    }
    all
}

/// What of a file stands before the module of its tests, if that is in it.
fn without_tests(text: &str) -> &str {
    let marks = text.match_indices("\n#[cfg(test)]\nmod ");
    let mut begins = marks.filter(|(at, mark)| {
        let line = text[at + mark.len()..].lines().next();
        line.is_some_and(|line| line.ends_with('{'))
    });
    begins.next().map_or(text, |(at, _)| &text[..at])
}

#[test]
fn what_is_counted_is_found() {
    let text = "pub(crate) struct Pair<T> {\n    /// One.\n    pub one: T,\n    two: u8,\n}\n\n\
        impl<T: Into<Vec<u8>>> Pair<T> {\n    /// New.\n    pub const fn new() -> Self {\n        \
        todo()\n    }\n\n    fn two(&self) -> u8 {\n        0\n    }\n}\n\n\
        impl fmt::Display for Pair<u8> {\n    fn fmt(&self) {\n        x\n    }\n}\n";
    let fields: Vec<_> = items(text, "struct ");
    assert_eq!(fields[0].0, "Pair");
    assert_eq!(fields[0].1.lines().filter(|line| is_field(line)).count(), 2);
    let methods = items(text, "impl");
    assert_eq!((methods.len(), methods[0].0.as_str()), (1, "Pair"));
    assert_eq!(methods[0].1.lines().filter(|line| is_function(line, 4)).count(), 2);
    assert_eq!(text.lines().filter_map(named_type).collect::<Vec<_>>(), ["Pair"]);
    let tests = "\n#[cfg(test)]\nmod tests";
    let file = format!("mod a;{tests};\nfn b() {{}}{tests} {{\n}}\n");
    assert_eq!(without_tests(&file), format!("mod a;{tests};\nfn b() {{}}"));
    let found = functions(text);
    assert_eq!(found.iter().map(|(_, lines)| *lines).collect::<Vec<_>>(), [3, 3, 3]);
    let lines = format!("{}\n{}\n", "é".repeat(COLUMNS), "é".repeat(COLUMNS + 1));
    assert_eq!(wide_lines(&lines).collect::<Vec<_>>(), [2]);
}
