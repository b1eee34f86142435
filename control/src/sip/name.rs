//! Header field names: known ones as a number, whatever their spelling or compact form.

macro_rules! names {
    ($($variant:ident $text:literal $($compact:literal)?,)*) => {
        /// A header field's name (RFC 3261 §20 and the extensions this relay touches).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each is the header of the same name")]
        pub enum Name { $($variant,)* Other }

        const KNOWN: &[(Name, &str)] = &[
            $((Name::$variant, $text), $((Name::$variant, $compact),)?)*
        ];

        impl Name {
            /// Its usual spelling; empty for a header that isn't in the list.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* Self::Other => "" }
            }
        }
    };
}

names! {
    Via "Via" "v",
    From "From" "f",
    To "To" "t",
    CallId "Call-ID" "i",
    CSeq "CSeq",
    Contact "Contact" "m",
    Route "Route",
    RecordRoute "Record-Route",
    MaxForwards "Max-Forwards",
    ContentLength "Content-Length" "l",
    ContentType "Content-Type" "c",
    ContentEncoding "Content-Encoding" "e",
    ContentDisposition "Content-Disposition",
    ContentLanguage "Content-Language",
    ContentId "Content-ID",
    ContentTransferEncoding "Content-Transfer-Encoding",
    MimeVersion "MIME-Version",
    Accept "Accept",
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" "u",
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    CallInfo "Call-Info",
    Date "Date",
    ErrorInfo "Error-Info",
    Expires "Expires",
    InReplyTo "In-Reply-To",
    MinExpires "Min-Expires",
    Organization "Organization",
    Priority "Priority",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    ReplyTo "Reply-To",
    Require "Require",
    RetryAfter "Retry-After",
    Server "Server",
    Subject "Subject" "s",
    Supported "Supported" "k",
    Timestamp "Timestamp",
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
    RSeq "RSeq",
    RAck "RAck",
    Event "Event" "o",
    SubscriptionState "Subscription-State",
    SipEtag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    ReferTo "Refer-To" "r",
    ReferredBy "Referred-By" "b",
    ReferSub "Refer-Sub",
    Replaces "Replaces",
    Join "Join",
    SessionExpires "Session-Expires" "x",
    MinSe "Min-SE",
    AcceptContact "Accept-Contact" "a",
    RejectContact "Reject-Contact" "j",
    RequestDisposition "Request-Disposition" "d",
    Reason "Reason",
    Path "Path",
    ServiceRoute "Service-Route",
    Privacy "Privacy",
    HistoryInfo "History-Info",
    Diversion "Diversion",
    ResourcePriority "Resource-Priority",
    Identity "Identity" "y",
    SecurityClient "Security-Client",
    SecurityServer "Security-Server",
    SecurityVerify "Security-Verify",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    PAssertedService "P-Asserted-Service",
    PPreferredService "P-Preferred-Service",
    PServedUser "P-Served-User",
    PChargingVector "P-Charging-Vector",
    PChargingFunctionAddresses "P-Charging-Function-Addresses",
    PAccessNetworkInfo "P-Access-Network-Info",
    PVisitedNetworkId "P-Visited-Network-ID",
    PCalledPartyId "P-Called-Party-ID",
    PAssociatedUri "P-Associated-URI",
    PProfileKey "P-Profile-Key",
    PEarlyMedia "P-Early-Media",
    PMediaAuthorization "P-Media-Authorization",
    ConversationId "Conversation-ID",
    ContributionId "Contribution-ID",
    InReplyToContributionId "InReplyTo-Contribution-ID",
    SessionReplaces "Session-Replaces",
    SessionId "Session-ID",
    MessageExpires "Message-Expires",
    MessageUid "Message-UID",
    FeatureCaps "Feature-Caps",
    GeolocationRouting "Geolocation-Routing",
    Geolocation "Geolocation",
}

impl Name {
    /// The name in any case or in its compact form (RFC 3261 §7.3.3); `Other` if it isn't known.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut slot = hash(text.as_bytes());
        loop {
            let entry = TABLE.get(slot).copied().unwrap_or(0);
            if entry == 0 {
                return Self::Other;
            }
            match KNOWN.get(usize::from(entry) - 1) {
                Some((name, known)) if known.eq_ignore_ascii_case(text) => return *name,
                _ => slot = (slot + 1) % SLOTS,
            }
        }
    }
}

/// Places of the look-up table: more than twice the names, so that probes are short and end.
const SLOTS: usize = 512;
const _: () = assert!(KNOWN.len() * 2 < SLOTS && KNOWN.len() < 255);

/// One more than the place in `KNOWN`; zero is empty.
static TABLE: [u8; SLOTS] = table();

const fn table() -> [u8; SLOTS] {
    let mut table = [0; SLOTS];
    let mut at: u8 = 0;
    while (at as usize) < KNOWN.len() {
        let mut slot = hash(KNOWN[at as usize].1.as_bytes());
        while table[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        at += 1;
        table[slot] = at;
    }
    table
}

/// FNV-1a over the lower-case name.
const fn hash(text: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < text.len() {
        hash ^= text[at].to_ascii_lowercase() as u32;
        hash = hash.wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ (hash >> 15)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, Name};

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (name, text) in KNOWN {
            assert_eq!(Name::of(text), *name);
            assert_eq!(Name::of(&text.to_uppercase()), *name);
            assert_eq!(Name::of(&text.to_lowercase()), *name);
        }
        assert_eq!(Name::of("X-Unheard-Of"), Name::Other);
        assert_eq!(Name::of(""), Name::Other);
    }
}
