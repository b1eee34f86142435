//! What a run of the tests says: nextest's JUnit file, or the lines of `cargo test`.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// A test that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The function's name, without its modules.
    pub name: String,
    /// It passed.
    pub passed: bool,
}

/// Reads a run, whichever of the two it is.
///
/// # Errors
///
/// Why it can't be read.
pub fn parse(text: &str) -> Result<Vec<Outcome>, String> {
    if text.trim_start().starts_with('<') {
        junit(text)
    } else {
        Ok(text.lines().filter_map(libtest).collect())
    }
}

/// A line of `cargo test`: `test room::name ... ok`.
#[must_use]
pub fn libtest(line: &str) -> Option<Outcome> {
    let (path, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let passed = match result.trim_end() {
        "ok" => true,
        "FAILED" => false,
        _ => return None,
    };
    Some(Outcome {
        name: function(path.trim_end_matches(" - should panic")),
        passed,
    })
}

/// nextest's file: a test case is followed by what went wrong, or by nothing.
fn junit(text: &str) -> Result<Vec<Outcome>, String> {
    let mut reader = Reader::from_str(text);
    let mut list: Vec<Outcome> = Vec::new();
    let mut is_skipped = false;
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        match event {
            Event::Start(tag) if tag.name().as_ref() == "testcase" => {
                is_skipped = false;
                list.push(case(&tag)?);
            }
            Event::Empty(tag) if tag.name().as_ref() == "testcase" => list.push(case(&tag)?),
            Event::Start(tag) | Event::Empty(tag) => match tag.name().as_ref() {
                "failure" | "error" => {
                    if let Some(last) = list.last_mut() {
                        last.passed = false;
                    }
                }
                "skipped" => is_skipped = true,
                _ => {}
            },
            Event::End(tag) if tag.name().as_ref() == "testcase" && is_skipped => {
                list.pop();
            }
            Event::Eof => return Ok(list),
            _ => {}
        }
    }
}

fn case(tag: &BytesStart<'_>) -> Result<Outcome, String> {
    let name = tag
        .try_get_attribute("name")
        .map_err(|error| error.to_string())?
        .ok_or("a test case has no name")?;
    Ok(Outcome {
        name: function(&name.value),
        passed: true,
    })
}

fn function(path: &str) -> String {
    path.rsplit("::").next().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Outcome, parse};

    fn outcome(name: &str, passed: bool) -> Outcome {
        Outcome {
            name: name.to_owned(),
            passed,
        }
    }

    #[test]
    fn a_file_of_nextest_is_read() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0">
  <testsuite name="control" tests="3" disabled="0" errors="0" failures="1">
    <testcase name="engine::tests::byo_02_media_first" classname="control" time="0.1"/>
    <testcase name="byo_04_one_bye" classname="control" time="0.1">
      <failure type="test failure">a &lt; b<![CDATA[ <testcase name="no"/> ]]></failure>
      <system-out>test x ... ok</system-out>
    </testcase>
    <testcase name="byo_05_never" classname="control"><skipped/></testcase>
    <testcase name="byo_06_last" classname="control"></testcase>
  </testsuite>
</testsuites>"#;
        let expected = [
            outcome("byo_02_media_first", true),
            outcome("byo_04_one_bye", false),
            outcome("byo_06_last", true),
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn the_lines_of_cargo_test_are_read() {
        let text = "running 3 tests\ntest a::b::byo_02_x ... ok\ntest byo_04_y ... FAILED\n\
                    test slow ... ignored\ntest result: FAILED. 1 passed\n\
                    test c::d - should panic ... ok\n";
        let expected = [
            outcome("byo_02_x", true),
            outcome("byo_04_y", false),
            outcome("d", true),
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_broken_file_is_refused() {
        assert!(parse("<testsuites><testcase name=").is_err());
        assert!(parse("<testsuites><testcase/></testsuites>").is_err());
    }
}
