//! The requirements, as `tests/requirements.tsv` lists them.

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// `BYO-07`
    pub id: String,
    /// SHALL, MAY, D (derived), FFS (for further study), or none.
    pub level: String,
    /// B: built here; H: another entity's; I: information.
    pub build: String,
    /// What it says.
    pub behaviour: String,
}

impl Requirement {
    /// Whether it is to be built whatever else is.
    #[must_use]
    pub fn is_built_here(&self) -> bool {
        self.build.split([',', '/']).any(|mark| mark.trim() == "B")
    }

    /// What the names of its tests begin with: `byo_07_`.
    #[must_use]
    pub fn test_prefix(&self) -> String {
        format!("{}_", self.id.to_ascii_lowercase().replace('-', "_"))
    }
}

/// Reads the list.
///
/// # Errors
///
/// The line that isn't one, and why.
pub fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut list: Vec<Requirement> = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let at = number + 1;
        let cells: Vec<&str> = line.split('\t').collect();
        let &[id, level, build, behaviour] = cells.as_slice() else {
            return Err(format!("line {at} has {} columns, not 4", cells.len()));
        };
        if list.iter().any(|known| known.id == id) {
            return Err(format!("line {at}: {id} is there already"));
        }
        list.push(Requirement {
            id: id.to_owned(),
            level: level.to_owned(),
            build: build.to_owned(),
            behaviour: behaviour.to_owned(),
        });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::{Requirement, parse};

    const HEAD: &str = "id\tlevel\tbuild\tbehaviour\n";

    #[test]
    fn the_list_of_the_project_can_be_read() {
        let file = tests::live::workspace().join("tests/requirements.tsv");
        let list = parse(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert!(list.len() > 250, "{}", list.len());
        for group in super::super::scope::BUILT {
            let begin = format!("{}-", group.name);
            assert!(
                list.iter().any(|row| row.id.starts_with(&begin)),
                "{} has no row",
                group.name
            );
        }
    }

    #[test]
    fn a_row_twice_is_refused_as_is_one_without_its_columns() {
        let twice = format!("{HEAD}A-01\tD\tB\tx\nA-01\tD\tB\tx\n");
        assert!(parse(&twice).unwrap_err().contains("A-01"));
        assert!(parse(&format!("{HEAD}A-01\tD\n")).is_err());
    }

    #[test]
    fn only_a_bare_mark_means_that_it_is_built_here() {
        let marked = |build: &str| Requirement {
            id: "A-01".to_owned(),
            level: String::new(),
            build: build.to_owned(),
            behaviour: String::new(),
        };
        for build in ["B", "H,B", "B,H", "H/B"] {
            assert!(marked(build).is_built_here(), "{build}");
        }
        for build in ["H", "I", "B if ISF", "B cfg", "B (low)"] {
            assert!(!marked(build).is_built_here(), "{build}");
        }
    }
}
