//! The rules of the house, held against the sources.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Who may name whom: a room and the rooms that its `use` lines may hold.
const DATAPLANE: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("stats", &["limits"]),
    ("frame", &["limits"]),
    // The pool's size is a setting; the link's wake-up is the kernel's event counter.
    ("api", &["limits", "stats", "frame", "net"]),
    ("wire", &["limits"]),
    ("net", &["limits", "stats", "frame"]),
    (
        "proto",
        &["limits", "api", "wire", "codec", "stats", "frame"],
    ),
    ("codec", &["limits", "api", "wire"]),
    (
        "session",
        &["limits", "stats", "frame", "api", "wire", "proto", "codec"],
    ),
    (
        "pipeline",
        &[
            "limits", "stats", "frame", "api", "net", "wire", "proto", "session",
        ],
    ),
];

/// The same for control; `dataplane` stands for that crate's `api`.
const CONTROL: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("config", &["limits"]),
    ("sip", &["limits"]),
    ("sdp", &["limits"]),
    ("cpm", &["limits", "sip", "sdp", "config"]),
    // The counters of the history are the operator's; a user's key is the policies'.
    (
        "history",
        &[
            "limits",
            "sip",
            "sdp",
            "cpm",
            "config",
            "admin",
            "dataplane",
        ],
    ),
    ("media", &["limits", "sdp", "config", "dataplane"]),
    (
        "engine",
        &[
            "limits",
            "config",
            "sip",
            "sdp",
            "cpm",
            "media",
            "history",
            "cdr",
            "admin",
            "dataplane",
        ],
    ),
    ("link", &["limits", "dataplane"]),
    // A record holds the same figures of a stream as a view of it.
    ("cdr", &["limits", "config", "admin"]),
    ("admin", &["limits", "config", "dataplane"]),
    ("transports", &["limits", "config", "sip"]),
];

const LINES_MAX: usize = 600;

fn workspace() -> PathBuf {
    tests::live::workspace()
}

/// All Rust files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn all_sources() -> Vec<PathBuf> {
    let crates = ["dataplane", "control", "benches", "tests", "tools"];
    crates
        .iter()
        .flat_map(|name| sources(&workspace().join(name)))
        .collect()
}

/// The room of a file: the first folder or the file's stem below `src`.
fn room(source: &Path, file: &Path) -> String {
    let inside = file.strip_prefix(source).unwrap_or(file);
    let first = inside
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy());
    first.unwrap_or_default().trim_end_matches(".rs").to_owned()
}

/// The rooms that the text names by `crate::room` in a statement or in a path, without its tests.
fn named(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut rooms = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            rooms.extend(group_heads(group));
        } else {
            rooms.insert(word(part));
        }
    }
    if code.contains("dataplane::") {
        rooms.insert("dataplane".to_owned());
    }
    rooms
}

/// The first words of `a::b, c::{d, e}, f}`.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut fresh) = (0_u32, Vec::new(), true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && (c.is_alphabetic() || c == '_') => {
                heads.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The names against `table` of every file of a crate.
fn offences(name: &str, table: &[(&str, &[&str])]) -> Vec<String> {
    let source = workspace().join(name).join("src");
    let rooms: BTreeSet<&str> = table.iter().map(|(room, _)| *room).collect();
    let mut found = Vec::new();
    for file in sources(&source) {
        let room = room(&source, &file);
        let Some((_, allowed)) = table.iter().find(|(known, _)| *known == room) else {
            continue;
        };
        if file.file_stem().is_some_and(|stem| stem == "tests")
            || file.components().any(|part| part.as_os_str() == "tests")
        {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for other in named(&text) {
            let is_room = rooms.contains(other.as_str())
                || ["worker", "run", "dataplane"].contains(&other.as_str());
            if is_room && other != room && other != name && !allowed.contains(&other.as_str()) {
                found.push(format!("{} names {other}", file.display()));
            }
        }
    }
    found
}

#[test]
fn the_rooms_of_the_data_plane_name_only_whom_they_may() {
    let found = offences("dataplane", DATAPLANE);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rooms_of_control_name_only_whom_they_may() {
    let found = offences("control", CONTROL);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn control_enters_the_data_plane_only_by_its_door() {
    let source = workspace().join("control/src");
    let mut found = Vec::new();
    for file in sources(&source) {
        let text = std::fs::read_to_string(&file).unwrap();
        let is_test = file.components().any(|part| part.as_os_str() == "tests");
        // The link holds the started workers; the operator is shown their counters.
        let outer = ["run", "main", "lib", "demo", "admin", "link"];
        let free = is_test || outer.contains(&room(&source, &file).as_str());
        for part in text.split("dataplane::").skip(1) {
            let open = ["api", "limits", "{"]
                .iter()
                .any(|name| part.starts_with(name));
            if !free && !open {
                found.push(format!(
                    "{} names dataplane::{}",
                    file.display(),
                    word(part)
                ));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_data_plane_names_no_other_crate_of_the_house() {
    for file in sources(&workspace().join("dataplane")) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("use control::"), "{}", file.display());
    }
}

#[test]
fn no_file_is_too_long() {
    for file in all_sources() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} lines", file.display());
    }
}

#[test]
fn nothing_is_left_to_do_in_a_comment() {
    // Put together so that this file doesn't offend.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    for file in all_sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in words {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
    }
}

#[test]
fn no_room_is_a_drawer() {
    let drawers = ["util", "utils", "common", "helpers", "types", "misc"];
    for file in all_sources() {
        for part in file.strip_prefix(workspace()).unwrap().components() {
            let name = part.as_os_str().to_string_lossy();
            assert!(
                !drawers.contains(&name.trim_end_matches(".rs")),
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn the_readme_names_only_rooms_that_are_there() {
    let Ok(readme) = std::fs::read_to_string(workspace().join("README.md")) else {
        return;
    };
    let quoted = readme.split('`').skip(1).step_by(2);
    let crates = ["dataplane/", "control/", "benches/", "tests/", "tools/"];
    for path in quoted.filter(|text| crates.iter().any(|name| text.starts_with(name))) {
        let path = path.split([' ', ':', '*', '{']).next().unwrap_or(path);
        assert!(
            workspace().join(path).exists(),
            "README.md names {path}, which isn't there"
        );
    }
}

#[cfg(test)]
mod names {
    use super::{group_heads, named};

    #[test]
    fn are_found_in_groups_and_paths() {
        let text = "use crate::{net::{Backend, sys}, wire::rtp};\nlet a = crate::limits::MAX;\n";
        let rooms: Vec<String> = named(text).into_iter().collect();
        assert_eq!(rooms, ["limits", "net", "wire"]);
        assert_eq!(group_heads("a::b, c::{d, e}, f}; g::h"), ["a", "c", "f"]);
    }
}
