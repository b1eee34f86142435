//! Names of mailboxes and folders, from what far ends wrote.

use crate::limits::HISTORY_NAME_BYTES;

/// An identity as a name: letters, digits and `-_+@~,` as they are, and `.` where it doesn't part
/// names; every other octet as `=XX`. A long one ends in a hash of what is left out.
pub(super) fn name(identity: &str, delimiter: char) -> String {
    let mut name = String::with_capacity(identity.len());
    for byte in identity.bytes() {
        let is_first = name.is_empty();
        match char::from(byte) {
            c if c == delimiter => name.push_str(&format!("={byte:02X}")),
            '.' if !is_first => name.push('.'),
            c if c.is_ascii_alphanumeric() || "-_+@~,".contains(c) => name.push(c),
            _ => name.push_str(&format!("={byte:02X}")),
        }
    }
    if name.is_empty() {
        return "=".to_owned();
    }
    if name.len() > HISTORY_NAME_BYTES {
        let hash = format!("={:016x}", fnv(identity.as_bytes()));
        name.truncate(HISTORY_NAME_BYTES - hash.len());
        name.push_str(&hash);
    }
    name
}

/// FNV-1a: the same in all versions, which the standard library's hash is not.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hst_04_an_identity_is_its_mailbox_and_leads_nowhere_else() {
        let uuid = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
        assert_eq!(name(uuid, '/'), uuid);
        assert_eq!(name("a.b@c", '/'), "a.b@c");
        assert_eq!(name("a.b@c", '.'), "a=2Eb@c");
        assert_eq!(name("../../etc", '/'), "=2E.=2F..=2Fetc");
        assert_eq!(name("a\r\nb\0\"*%&=", '/'), "a=0D=0Ab=00=22=2A=25=26=3D");
        assert_eq!(name("", '/'), "=");
        let long = "x".repeat(100_000);
        assert_eq!(name(&long, '/').len(), HISTORY_NAME_BYTES);
        assert_ne!(name(&long, '/'), name(&format!("{long}y"), '/'));
    }
}
