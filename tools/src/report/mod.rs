//! Which requirement is held by which tests. A test belongs to the requirement whose id its name
//! begins with: `byo_07_a_bye_of_one_iwf_…` to BYO-07.

mod outcomes;
mod requirements;
mod scope;

pub use outcomes::{Outcome, libtest, parse as outcomes};
pub use requirements::{Requirement, parse as requirements};

use serde_json::{Value, json};

use crate::table::lay_out;

/// How a requirement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every test of it passed.
    Passed,
    /// A test of it failed.
    Failed,
    /// It is built, but no test of it ran.
    Missing,
    /// It isn't to be built here, and has no test.
    Elsewhere,
    /// It is not yet built.
    NotYet,
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Missing => "MISSING",
            Self::Elsewhere => "elsewhere",
            Self::NotYet => "not yet",
        }
    }
}

/// A requirement and its tests.
#[derive(Debug)]
pub struct Row {
    /// The requirement.
    pub requirement: Requirement,
    /// How it stands.
    pub standing: Standing,
    /// Its group is complete: anything but a passed test is a failure.
    pub is_due: bool,
    /// The tests, by name.
    pub tests: Vec<String>,
}

impl Row {
    /// Whether the run fails for it.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.is_due && matches!(self.standing, Standing::Failed | Standing::Missing)
    }
}

/// Puts the tests that ran beside the requirements.
#[must_use]
pub fn rows(list: Vec<Requirement>, run: &[Outcome]) -> Vec<Row> {
    let row = |requirement: Requirement| {
        let prefix = requirement.test_prefix();
        let of_row = |outcome: &&Outcome| outcome.name.starts_with(&prefix);
        let mine: Vec<&Outcome> = run.iter().filter(of_row).collect();
        let group = scope::of(&requirement.id);
        let standing = match (group, mine.as_slice()) {
            (_, [_, ..]) if mine.iter().all(|test| test.passed) => Standing::Passed,
            (_, [_, ..]) => Standing::Failed,
            (None, []) => Standing::NotYet,
            (Some(_), []) if requirement.is_built_here() => Standing::Missing,
            (Some(_), []) => Standing::Elsewhere,
        };
        Row {
            standing,
            is_due: group.is_some_and(|group| group.complete),
            tests: mine.iter().map(|test| test.name.clone()).collect(),
            requirement,
        }
    };
    list.into_iter().map(row).collect()
}

/// The table of the built groups, and a line for those that aren't.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut cells = vec![
        ["id", "level", "build", "tests", "result"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut named = Vec::new();
    let built = rows.iter().filter(|row| row.standing != Standing::NotYet);
    for row in built {
        let requirement = &row.requirement;
        cells.push(vec![
            requirement.id.clone(),
            requirement.level.clone(),
            requirement.build.clone(),
            row.tests.len().to_string(),
            row.standing.word().to_owned(),
        ]);
        let text = match row.tests.as_slice() {
            [] => requirement.behaviour.clone(),
            tests => tests.join(", "),
        };
        named.push(text);
    }
    let laid_out = lay_out(&cells);
    // The head and its line have no text of their own; the last column is as long as it likes.
    let mut text = String::new();
    for (number, line) in laid_out.lines().enumerate() {
        let tail = number.checked_sub(2).and_then(|at| named.get(at));
        text.push_str(line);
        if let Some(tail) = tail {
            text.push_str("  ");
            text.push_str(tail);
        }
        text.push('\n');
    }
    text
}

/// How many stand how, and what is a failure.
#[must_use]
pub fn summary(rows: &[Row]) -> String {
    let count = |standing| rows.iter().filter(|row| row.standing == standing).count();
    let mut text = format!(
        "requirements: {} passed, {} failed, {} missing, {} of other entities, {} not yet\n",
        count(Standing::Passed),
        count(Standing::Failed),
        count(Standing::Missing),
        count(Standing::Elsewhere),
        count(Standing::NotYet),
    );
    for row in rows.iter().filter(|row| row.is_failure()) {
        text.push_str(&format!(
            "{} {}: {}\n",
            row.requirement.id,
            row.standing.word(),
            row.requirement.behaviour
        ));
    }
    text
}

/// The rows as JSON.
#[must_use]
pub fn json(rows: &[Row]) -> Value {
    let list = rows.iter().map(|row| {
        json!({
            "id": row.requirement.id,
            "level": row.requirement.level,
            "build": row.requirement.build,
            "result": row.standing.word(),
            "is_due": row.is_due,
            "tests": row.tests,
        })
    });
    list.collect()
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Requirement, Standing, rows};

    fn requirement(id: &str, build: &str) -> Requirement {
        Requirement {
            id: id.to_owned(),
            level: "SHALL".to_owned(),
            build: build.to_owned(),
            behaviour: String::new(),
        }
    }

    fn standing(id: &str, build: &str, run: &[(&str, bool)]) -> (Standing, bool) {
        let run: Vec<Outcome> = run
            .iter()
            .map(|(name, passed)| Outcome {
                name: (*name).to_owned(),
                passed: *passed,
            })
            .collect();
        let rows = rows(vec![requirement(id, build)], &run);
        (rows[0].standing, rows[0].is_failure())
    }

    #[test]
    fn a_built_row_without_a_test_is_missing_and_other_names_are_not_its_tests() {
        assert_eq!(standing("S11-02", "B", &[]).0, Standing::Missing);
        let other = [
            ("s11_03_x", true),
            ("x_s11_02_y", true),
            ("s11_020_z", true),
        ];
        assert_eq!(standing("S11-02", "B", &other).0, Standing::Missing);
    }

    #[test]
    fn only_a_complete_group_makes_the_run_fail() {
        let mut rows = rows(vec![requirement("BYO-02", "B")], &[]);
        for (is_due, is_failure) in [(true, true), (false, false)] {
            rows[0].is_due = is_due;
            assert_eq!(rows[0].is_failure(), is_failure);
        }
    }

    #[test]
    fn one_failed_test_of_several_fails_its_row() {
        let run = [("s11_02_a", true), ("s11_02_b", false)];
        assert_eq!(standing("S11-02", "B", &run).0, Standing::Failed);
        assert_eq!(
            standing("S11-02", "B", &[("s11_02_a", true)]).0,
            Standing::Passed
        );
    }

    #[test]
    fn what_is_not_built_or_another_entitys_needs_no_test() {
        assert_eq!(standing("DEF-02", "B", &[]), (Standing::NotYet, false));
        assert_eq!(standing("IWS-01", "B", &[]), (Standing::NotYet, false));
        assert_eq!(standing("S11-01", "H", &[]), (Standing::Elsewhere, false));
    }
}
