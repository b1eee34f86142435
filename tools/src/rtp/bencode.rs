//! Bencode as rtpengine's NG protocol needs it: dictionaries of text out, a dictionary in.

use std::collections::BTreeMap;

/// A value that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A number.
    Number(i64),
    /// A list.
    List(Vec<Self>),
    /// A dictionary.
    Dictionary(BTreeMap<String, Self>),
}

/// Levels of lists and dictionaries within each other.
const DEPTH_MAX: u32 = 16;

/// Writes a dictionary of texts, in the order of its keys.
#[must_use]
pub fn dictionary(pairs: &[(&str, &str)]) -> String {
    let sorted: BTreeMap<&str, &str> = pairs.iter().copied().collect();
    let pair = |(key, value): (&str, &str)| format!("{}:{key}{}:{value}", key.len(), value.len());
    format!("d{}e", sorted.into_iter().map(pair).collect::<String>())
}

/// Reads one value that fills all of `bytes`.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Value> {
    let (value, rest) = read_one(bytes, 0)?;
    rest.is_empty().then_some(value)
}

fn read_one(bytes: &[u8], depth: u32) -> Option<(Value, &[u8])> {
    if depth > DEPTH_MAX {
        return None;
    }
    match *bytes.first()? {
        b'i' => {
            let end = bytes.iter().position(|byte| *byte == b'e')?;
            let number = std::str::from_utf8(bytes.get(1..end)?).ok()?.parse().ok()?;
            Some((Value::Number(number), bytes.get(end + 1..)?))
        }
        b'l' => {
            let (mut list, mut rest) = (Vec::new(), bytes.get(1..)?);
            while *rest.first()? != b'e' {
                let (value, after) = read_one(rest, depth + 1)?;
                list.push(value);
                rest = after;
            }
            Some((Value::List(list), rest.get(1..)?))
        }
        b'd' => {
            let (mut all, mut rest) = (BTreeMap::new(), bytes.get(1..)?);
            while *rest.first()? != b'e' {
                let (key, after) = text(rest)?;
                let (value, after) = read_one(after, depth + 1)?;
                all.insert(key, value);
                rest = after;
            }
            Some((Value::Dictionary(all), rest.get(1..)?))
        }
        _ => text(bytes).map(|(text, rest)| (Value::Text(text), rest)),
    }
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(bytes.get(..colon)?)
        .ok()?
        .parse()
        .ok()?;
    let end = (colon + 1).checked_add(length)?;
    let text = String::from_utf8_lossy(bytes.get(colon + 1..end)?).into_owned();
    Some((text, bytes.get(end..)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Value, dictionary, read};

    #[test]
    fn a_dictionary_is_written_in_the_order_of_its_keys() {
        assert_eq!(dictionary(&[("b", "xy"), ("a", "")]), "d1:a0:1:b2:xye");
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let number = ("n".to_owned(), Value::Number(-3));
        let list = Value::List(vec![Value::Text("x".into())]);
        let all = BTreeMap::from([number, ("l".to_owned(), list)]);
        assert_eq!(read(b"d1:ni-3e1:ll1:xee"), Some(Value::Dictionary(all)));
    }

    #[test]
    fn what_ends_early_or_goes_on_is_no_value() {
        for bytes in [
            "",
            "d",
            "5:abc",
            "i3",
            "l1:x",
            "i3ei4e",
            "99999999999999999999:",
        ] {
            assert_eq!(read(bytes.as_bytes()), None, "{bytes}");
        }
        assert_eq!(read("l".repeat(100_000).as_bytes()), None);
    }
}
