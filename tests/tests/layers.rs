//! Who may know whom: the tables of modules in ARCHITECTURE.md say what each imports, that is only
//! what stands below it, and the sources of the gateway and of the protocol are held to that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The packages that have a table.
const PACKAGES: [&str; 2] = ["gateway", "proto"];

/// Modules of the gateway that know no protocol, and what they would name one by.
const WITHOUT_PROTOCOLS: [(&str, &str); 6] = [
    ("bill", "tidegate_proto::"),
    ("hub", "tidegate_proto::"),
    ("kernel", "tidegate_proto::"),
    ("mailbox", "tidegate_proto::"),
    ("names", "tidegate_proto::"),
    // It knows what every connection waits for, whatever is spoken on it.
    ("shard", "websocket::"),
];

/// What handlers and protocols of a program's own are written in, whatever a connection speaks.
const WORDS: [&str; 8] = [
    "protocol/admission.rs",
    "protocol/context.rs",
    "protocol/desk.rs",
    "protocol/events.rs",
    "protocol/foreign.rs",
    "protocol/request.rs",
    "protocol/serve.rs",
    "protocol/streaming.rs",
];

/// One row of a table.
struct Layer {
    modules: Vec<String>,
    imports: BTreeSet<String>,
}

/// One name of the crate's root that a module speaks of.
#[derive(Debug, PartialEq)]
struct Import {
    /// File and line.
    at: String,
    from: String,
    to: String,
}

#[test]
fn each_module_imports_what_the_table_says() {
    PACKAGES.into_iter().for_each(check_imports);
}

fn check_imports(package: &str) {
    let layers = layers(package);
    let imports = imports(package);
    let allowed = |import: &&Import| {
        let layer = layers.iter().find(|layer| layer.modules.contains(&import.from));
        layer.is_some_and(|layer| {
            layer.imports.contains(&import.to) || layer.modules.contains(&import.to)
        })
    };
    let wrong: Vec<_> = imports.iter().filter(|import| !allowed(import)).collect();
    assert!(wrong.is_empty(), "ARCHITECTURE.md does not let these be imported: {wrong:#?}");
    for layer in &layers {
        let uses = |to: &&String| {
            imports.iter().any(|import| layer.modules.contains(&import.from) && import.to == **to)
        };
        let unused: Vec<_> = layer.imports.iter().filter(|to| !uses(to)).collect();
        assert!(unused.is_empty(), "{:?} imports none of {unused:?}", layer.modules);
    }
}

#[test]
fn nothing_refers_upward() {
    PACKAGES.into_iter().for_each(check_order);
}

fn check_order(package: &str) {
    let layers = layers(package);
    for (at, layer) in layers.iter().enumerate() {
        let below: BTreeSet<_> = layers[at + 1..].iter().flat_map(|layer| &layer.modules).collect();
        let upward: Vec<_> = layer.imports.iter().filter(|to| !below.contains(to)).collect();
        assert!(upward.is_empty(), "{upward:?} does not stand below {:?}", layer.modules);
    }
}

#[test]
fn the_tables_have_every_module() {
    for package in PACKAGES {
        let listed = layers(package).into_iter().flat_map(|layer| layer.modules);
        let there = sources(package).into_iter().map(|file| module(&file));
        let there = there.filter(|name| name != "lib");
        assert_eq!(listed.collect::<BTreeSet<_>>(), there.collect::<BTreeSet<_>>());
    }
}

#[test]
fn who_knows_no_protocol_names_none() {
    let mut files = 0;
    for file in sources("gateway") {
        let of = module(&file);
        for (_, path) in WITHOUT_PROTOCOLS.iter().filter(|(module, _)| *module == of) {
            files += 1;
            let found = named_of(path, &file);
            assert!(found.is_empty(), "{} names {found:?}", file.display());
        }
    }
    assert!(files > WITHOUT_PROTOCOLS.len(), "only {files} files were found");
}

#[test]
fn the_words_of_handlers_are_no_protocols_own() {
    for file in WORDS {
        let found = named_of("tidegate_proto::", Path::new(file));
        assert!(!found.contains(&"websocket".to_owned()), "{file} names WebSocket's own words");
    }
}

/// The modules of `path`, such as `tidegate_proto::`, that a file of the gateway names.
fn named_of(path: &str, file: &Path) -> Vec<String> {
    let text = fs::read_to_string(root("gateway").join(file)).expect("a text");
    let found = mentioned(&without_tests(&bare(&text)), &[path.to_owned()]);
    found.into_iter().map(|(_, name)| name).collect()
}

/// The table of modules, from the top down: backquoted names, of which those of files and folders
/// stand in the first column, and what they import in the second.
fn layers(package: &str) -> Vec<Layer> {
    let text = fs::read_to_string(root(package).join("../../ARCHITECTURE.md")).expect("a text");
    let heading = format!("| module of `{package}/` | imports |");
    let (_, table) = text.split_once(&heading).expect("the table of modules");
    let (_, rows) = table.split_once('\n').expect("rows");
    let rows = rows.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let mut columns = row.trim_matches('|').split('|').map(quoted);
        let modules = columns.next().expect("modules");
        let modules = modules.iter().map(|name| name.trim_end_matches(".rs").replace('/', ""));
        let imports = columns.next().expect("imports").into_iter().collect();
        Layer { modules: modules.collect(), imports }
    })
    .collect()
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// All imports of a package's modules from each other, test modules left out.
fn imports(package: &str) -> Vec<Import> {
    let mut all = Vec::new();
    for file in sources(package) {
        let from = module(&file);
        let text = fs::read_to_string(root(package).join(&file)).expect("a text");
        let code = without_tests(&bare(&text));
        for (at, to) in mentioned(&code, &roots(&file)) {
            let line = code[..at].lines().count();
            if to != from && from != "lib" {
                let at = format!("{}:{line}", file.display());
                all.push(Import { at, from: from.clone(), to });
            }
        }
    }
    assert!(all.len() > 10, "only {} imports were found", all.len());
    all
}

/// How a file may name the crate's root: within the crate, in its binary, and from below.
fn roots(file: &Path) -> [String; 3] {
    let depth = file.components().count() - usize::from(file.ends_with("mod.rs"));
    ["crate::".into(), "tidegate::".into(), "super::".repeat(depth)]
}

/// Where the crate's root is mentioned, and which of its modules.
fn mentioned(code: &str, roots: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in roots {
        for (at, _) in code.match_indices(root.as_str()) {
            let is_whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                _ if !is_whole => {}
                Some(group) => found.extend(firsts(group).into_iter().map(|name| (at, name))),
                None => found.push((at, word(rest))),
            }
        }
    }
    found
}

/// The first names of the paths in a group such as `{a::b, c::{d, e}}`, behind its first brace.
fn firsts(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut is_first) = (1, Vec::new(), true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => is_first = true,
            _ if is_first && letter.is_alphabetic() => {
                names.push(word(&group[at..]));
                is_first = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The code without what `#[cfg(test)]` stands in front of.
fn without_tests(code: &str) -> String {
    let mut text = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, behind)) = rest.split_once("#[cfg(test)]") {
        text.push_str(before);
        let end = end_of_item(behind);
        // The lines stay, so that they can be counted.
        text.extend(behind[..end].chars().filter(|c| *c == '\n'));
        rest = &behind[end..];
    }
    text + rest
}

/// Where the first item ends: behind its semicolon, or its last brace.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The code with blanks for what stands in comments, texts and letters.
fn bare(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '"' => text_length(rest),
            'r' if !out.ends_with(char::is_alphanumeric) => raw_length(rest),
            '\'' => letter_length(rest),
            _ => 0,
        };
        let taken = length.max(letter.len_utf8());
        let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
        out.extend(rest[..taken].chars().map(|c| if length > 0 { blank(c) } else { c }));
        rest = &rest[taken..];
    }
    out
}

/// Of a text in quotes.
fn text_length(code: &str) -> usize {
    let mut is_escaped = false;
    for (at, letter) in code.char_indices().skip(1) {
        match letter {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    code.len()
}

/// Of a raw text, or 0 if it is none.
fn raw_length(code: &str) -> usize {
    let hashes = code[1..].bytes().take_while(|byte| *byte == b'#').count();
    if !code[1 + hashes..].starts_with('"') {
        return 0;
    }
    let begin = hashes + 2;
    let end = format!("\"{}", "#".repeat(hashes));
    code[begin..].find(&end).map_or(code.len(), |at| begin + at + end.len())
}

/// Of a letter in quotes, or 0 if it is a lifetime.
fn letter_length(code: &str) -> usize {
    let mut letters = code.char_indices().skip(1);
    match letters.next() {
        Some((_, '\\')) => code[2..].find('\'').map_or(0, |at| at + 3).max(4),
        _ => letters.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
    }
}

/// The module of the crate's root that a file belongs to.
fn module(file: &Path) -> String {
    let first = file.iter().next().expect("a name");
    Path::new(first).file_stem().expect("a name").to_string_lossy().into_owned()
}

/// All source files of a package but those of tests, by where they are in its folder.
fn sources(package: &str) -> Vec<PathBuf> {
    let root = root(package);
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                files.push(path.strip_prefix(&root).expect("within the folder").to_path_buf());
            }
        }
    }
    files
}

/// The folder of a package's sources.
fn root(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("src")
}

#[test]
fn imports_are_found_where_they_are() {
    let code = "use crate::hub::{Hub, Name};\nuse crate::{kernel::Slot, bill};\n\
        /* crate::a */ // crate::a\n\
        const TEXT: &str = \"crate::b \\\" crate::c\";\nconst BRACE: char = '{';\n\
        fn of<'a>(it: &'a str) -> crate::d::E {}\nuse other_crate::x;\nlet r = r#\"crate::f\"#;\n\
        #[cfg(test)]\nuse crate::g;\n#[cfg(test)]\nmod tests {\n    use crate::h;\n}\n\
        fn last() -> crate::i::J {}\nuse super::super::k;\n";
    let roots = roots(Path::new("folder/file.rs"));
    let code = without_tests(&bare(code));
    let mut found = BTreeMap::new();
    for (at, name) in mentioned(&code, &roots) {
        found.insert(name, code[..at].lines().count());
    }
    let expected = [("hub", 1), ("kernel", 2), ("bill", 2), ("d", 6), ("i", 15), ("k", 16)];
    assert_eq!(found, expected.map(|(name, line)| (name.to_owned(), line)).into());
}
