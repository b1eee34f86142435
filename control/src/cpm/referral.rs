//! What a REFER to a group session asks for: who is to be added, who removed (RFC 3515, RFC 4579
//! §5.5 and §5.11, RFC 5368, TS 24.147 5.3.1.5).

use super::resource_list::{self, ListError};
use crate::sip::{Message, Name, NameAddr};

/// One user that a REFER names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referred {
    /// The address, without what says what to do with it.
    pub address: String,
    /// The user is to leave; else the user is to be invited.
    pub leaves: bool,
}

/// What a REFER asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    /// Whom, in order.
    pub users: Vec<Referred>,
    /// The outcome isn't to be told by NOTIFY (RFC 4488).
    pub is_silent: bool,
}

/// Why a REFER can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferralError {
    /// There is no Refer-To, more than one, or it can't be read (RFC 3515 §2.4.2).
    ReferTo,
    /// It asks for something else than an INVITE or a BYE.
    Method,
    /// The list can't be read.
    List(ListError),
}

/// Reads a REFER.
///
/// # Errors
///
/// [`ReferralError`].
pub fn of(request: &Message) -> Result<Referral, ReferralError> {
    let mut all = request.headers.all(Name::ReferTo);
    let value = all.next().ok_or(ReferralError::ReferTo)?;
    if all.next().is_some() {
        return Err(ReferralError::ReferTo);
    }
    let refer_to = NameAddr::parse(value).map_err(|_| ReferralError::ReferTo)?;
    let of_header = refer_to.param("method");
    let is_list = refer_to
        .uri
        .get(..4)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid:"));
    let uris = if is_list {
        resource_list::of(request).map_err(ReferralError::List)?
    } else {
        vec![refer_to.uri.to_owned()]
    };
    let users = uris.iter().map(|uri| referred(uri, of_header));
    let users: Vec<Referred> = users.collect::<Result<_, _>>()?;
    if users.is_empty() {
        return Err(ReferralError::ReferTo);
    }
    let says_no = request.headers.get(Name::ReferSub);
    let says_no = says_no.is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
    let mut needed = request.headers.values(Name::Require);
    let needs_silence = needed.any(|option| option.eq_ignore_ascii_case("norefersub"));
    Ok(Referral {
        users,
        is_silent: says_no || needs_silence,
    })
}

/// A user, by a URI that may say what to do in three ways: `;method=BYE`, `?method=BYE`, or beside
/// it in the header field.
fn referred(uri: &str, of_header: Option<&str>) -> Result<Referred, ReferralError> {
    let (bare, headers) = uri.split_once('?').unwrap_or((uri, ""));
    let mut method = of_header;
    for field in headers.split('&') {
        if let Some((name, value)) = field.split_once('=')
            && name.eq_ignore_ascii_case("method")
        {
            method = Some(value);
        }
    }
    let mut parts = bare.split(';');
    let mut address = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("method") => method = Some(value),
            _ => {
                address.push(';');
                address.push_str(part);
            }
        }
    }
    let leaves = match method {
        None => false,
        Some(method) if method.eq_ignore_ascii_case("INVITE") => false,
        Some(method) if method.eq_ignore_ascii_case("BYE") => true,
        Some(_) => return Err(ReferralError::Method),
    };
    if !address.contains(':') {
        return Err(ReferralError::ReferTo);
    }
    Ok(Referred { address, leaves })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Method;

    fn refer(to: &str) -> Message {
        let mut request = Message::request(Method::Refer, "sip:s@focus");
        request.headers.push(Name::ReferTo, to.to_owned());
        request
    }

    #[test]
    fn a_removal_is_read_in_all_of_its_spellings() {
        for to in [
            "<sip:b@d;method=BYE>",
            "<sip:b@d>;method=BYE",
            "<sip:b@d?method=BYE>",
            "\"B\" <sip:b@d;METHOD=bye>",
        ] {
            let read = of(&refer(to)).unwrap();
            assert_eq!(read.users.len(), 1);
            assert_eq!(read.users[0].address, "sip:b@d", "{to}");
            assert!(read.users[0].leaves, "{to}");
            assert!(!read.is_silent);
        }
        let added = of(&refer("<sip:+1@d;user=phone>")).unwrap();
        assert_eq!(added.users[0].address, "sip:+1@d;user=phone");
        assert!(!added.users[0].leaves);
        assert_eq!(
            of(&refer("<sip:b@d;method=INFO>")),
            Err(ReferralError::Method)
        );
    }

    #[test]
    fn a_list_may_hold_both() {
        let mut request = refer("<cid:x@d>");
        request
            .headers
            .push(Name::Require, "multiple-refer, norefersub");
        let list = "<resource-lists><list><entry uri=\"sip:b@d?method=BYE\"/><entry uri=\"sip:c@d\"/>\
                    </list></resource-lists>";
        request.set_body("application/resource-lists+xml", list.into());
        let read = of(&request).unwrap();
        let leaves: Vec<_> = read.users.iter().map(|one| one.leaves).collect();
        assert_eq!(leaves, [true, false]);
        assert!(read.is_silent);
    }
}
