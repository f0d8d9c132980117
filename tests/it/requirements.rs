//! What must hold and the tests that stand for it: one list, one generated table, no test that is
//! not there.

use std::path::{Path, PathBuf};

use crate::tidy::all_sources;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source and integration test, as one text.
fn code() -> String {
    let tests = std::fs::read_dir(root().join("tests/it")).unwrap();
    let tests = tests.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    all_sources().into_iter().map(|(_, text)| text).chain(tests).collect()
}

fn table(list: &str, code: &str) -> String {
    let mut text = String::from(
        "# Requirements and their tests\n\n\
         Made of tests/data/requirements.txt by `UPDATE_EXPECT=1 cargo test --test it requirements`.\n\n\
         | id | what must hold | tests |\n|---|---|---|\n",
    );
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let [id, what, tests] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not three parts: {line}")
        };
        let tests: Vec<&str> = tests.split(", ").collect();
        for test in &tests {
            assert!(code.contains(&format!("fn {test}(")), "{id}: there is no test {test}");
        }
        text += &format!("| {id} | {what} | `{}` |\n", tests.join("`, `"));
    }
    text
}

#[test]
fn every_requirement_has_its_tests_and_the_table_says_so() {
    let list = std::fs::read_to_string(root().join("tests/data/requirements.txt")).unwrap();
    let page: PathBuf = root().join("docs/requirements.md");
    let made = table(&list, &code());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&page, &made).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&page).unwrap_or_default(), made);
}

#[test]
fn threats_and_mended_holes_name_tests_that_are_there() {
    named_tests_are_there("docs/security.md", 30);
    named_tests_are_there("docs/endurance.md", 30);
}

/// The last cell of each row names tests.
fn named_tests_are_there(page: &str, least: usize) {
    let (page, code) = (std::fs::read_to_string(root().join(page)).unwrap(), code());
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let tests = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    let mut named = 0;
    for test in tests.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        if !test.contains('/') {
            named += 1;
            assert!(code.contains(&format!("fn {test}(")), "there is no test {test}");
        }
    }
    assert!(named >= least, "only {named} tests are named");
}
