//! Which requirements this project has built so far, and which groups of them are complete.

use Rows::{All, Only};

/// A group of requirements that is built, or being built.
#[derive(Debug)]
pub struct Group {
    /// What the ids begin with.
    pub name: &'static str,
    /// Which of its rows are the Participating Function's.
    pub rows: Rows,
    /// Every row has its tests: one that is missing or fails is a failure of the whole run.
    pub complete: bool,
}

/// Rows of a group.
#[derive(Debug)]
pub enum Rows {
    /// All of them.
    All,
    /// These numbers.
    Only(&'static [&'static str]),
}

/// What is built. A group that isn't here is not yet.
pub const BUILT: &[Group] = &[
    group("S11", All, true),
    group("FRK", All, true),
    group("MOD", All, true),
    group("OFR", All, true),
    group("OMD", All, true),
    group("SGN", All, true),
    group("LVE", All, true),
    group("ADD", All, true),
    group("REM", All, true),
    group("REL", All, true),
    group("PIN", All, true),
    group("MSG", All, true),
    group("DN", All, true),
    group("UPL", All, true),
    group("BYO", All, true),
    group("BYT", All, true),
    group("CLO", All, true),
    group("HST", All, true),
    group("IWS", Only(&["02", "05", "08", "09", "10", "11"]), true),
    // Where the selection function is another entity.
    group("IWM", All, true),
    group("REG", All, true),
    group("IDN", All, true),
    group("CNV", All, true),
    group("MATRIX", All, true),
    group(
        "CON",
        Only(&[
            "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "14", "18",
            "20", "21", "22", "24", "26", "27", "29",
        ]),
        true,
    ),
];

const fn group(name: &'static str, rows: Rows, complete: bool) -> Group {
    Group {
        name,
        rows,
        complete,
    }
}

/// The group that a row with this id belongs to, where it is built.
#[must_use]
pub fn of(id: &str) -> Option<&'static Group> {
    let (name, number) = id.rsplit_once('-')?;
    let group = BUILT.iter().find(|group| group.name == name)?;
    let is_built = match group.rows {
        All => true,
        Only(numbers) => numbers.contains(&number),
    };
    is_built.then_some(group)
}
