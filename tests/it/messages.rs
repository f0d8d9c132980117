//! All that the program says, on one page for review: messages, help texts, codes. Written to
//! `target/messages.md` at every run; what once was bad must not come back.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use hepalert::cli::Arguments;
use hepalert::codes::chapters;

/// What readers stumbled over, and what stands for a plural that nobody wrote.
const NEVER: [&str; 20] = [
    "(s)",
    ": :",
    "no message in",
    "channel is empty",
    "entity not found",
    "disk's health",
    "authority cannot be read",
    "barred at",
    "mend the key",
    "those who made the program need",
    "silence is not what health",
    "nothing but air",
    "babble",
    "space and rights",
    "air ways",
    "something happened",
    "an error occurred",
    "unknown error",
    "please ",
    "TODO",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "benches" && name != "examples" {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The text literals of a file that is no test, line continuations joined.
fn literals(code: &str) -> Vec<String> {
    let shipped = code.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
    let text = lines.collect::<Vec<_>>().join("\n").replace("'\"'", "' '");
    let (mut found, mut open, mut escaped) = (Vec::new(), None::<String>, false);
    for c in text.chars() {
        match (&mut open, c) {
            (None, '"') => open = Some(String::new()),
            (None, _) => {}
            (Some(text), _) if escaped => {
                text.push(c);
                escaped = false;
            }
            (Some(_), '\\') => escaped = true,
            (Some(_), '"') => found.extend(open.take()),
            (Some(text), _) => text.push(c),
        }
    }
    // A line that is continued begins with the spaces of the next.
    found
        .iter()
        .map(|text| text.split('\n').map(str::trim_start).collect::<Vec<_>>().concat())
        .filter(|text| {
            text.contains(' ') && text.chars().filter(char::is_ascii_lowercase).count() > 6
        })
        .filter(|text| {
            !["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE "]
                .iter()
                .any(|sql| text.contains(sql))
        })
        .collect()
}

fn helps(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
    found.push((path.to_owned(), command.clone().render_long_help().to_string()));
    for sub in command.get_subcommands() {
        helps(sub, &format!("{path} {}", sub.get_name()), found);
    }
}

/// The page, and how many messages are on it.
fn page() -> (String, usize) {
    let (mut page, mut count) = (String::from("# Messages\n"), 0);
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("crates"), &mut files);
    files.sort();
    for file in files {
        let said = literals(&std::fs::read_to_string(&file).unwrap());
        if said.is_empty() {
            continue;
        }
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        writeln!(page, "\n## {name}\n").unwrap();
        for text in said {
            writeln!(page, "- {}", text.replace('\n', " ")).unwrap();
            count += 1;
        }
    }
    page.push_str("\n# Codes\n");
    for meaning in chapters().iter().flat_map(|chapter| &chapter.codes) {
        writeln!(page, "- {}: {}; {}", meaning.code, meaning.sentence, meaning.advice).unwrap();
    }
    page.push_str("\n# Help\n");
    let mut found = Vec::new();
    helps(&Arguments::command(), "hepalert", &mut found);
    for (name, help) in found {
        writeln!(page, "\n## {name}\n\n{help}").unwrap();
    }
    (page, count)
}

#[test]
fn all_messages_stand_on_one_page_and_none_is_among_the_worst() {
    let (page, count) = page();
    std::fs::create_dir_all(root().join("target")).unwrap();
    std::fs::write(root().join("target/messages.md"), &page).unwrap();
    assert!(count > 500, "messages are found: {count}");
    let bad: Vec<&str> =
        page.lines().filter(|line| NEVER.iter().any(|never| line.contains(never))).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(literals("f(\"one word\\\n   more (s)\"); // \"no\"").concat().contains("(s)"));
}

#[test]
fn no_error_says_its_cause_twice() {
    // `{0}` and `#[from]` in one: printed with its causes it stands there twice.
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("crates"), &mut files);
    for file in files {
        let code = std::fs::read_to_string(&file).unwrap();
        for after in code.split("#[error(\"{0}\")]").skip(1) {
            let variant = after.split(')').next().unwrap();
            let twice = variant.contains("#[from]") || variant.contains("#[source]");
            assert!(!twice, "{}: {variant}", file.display());
        }
    }
}
