//! The users of a terminating network, for a load of the Participating Function's logic.

use std::path::{Path, PathBuf};

use tests::live::process::Folder;
use tests::live::relay::{Relay, Settings};
use tests::peers::sip::{Agent, Message};

/// Users that are called.
const USERS: u32 = 1_000;

/// Every user has a policy of its own, and is served at the terminating side.
pub fn settle(settings: &mut Settings) {
    settings
        .set("sip", "role", "\"terminating\"")
        .set("policy", "several_devices", true)
        .set("registration", "enabled", true);
    for user in names() {
        let section = format!("user.\"{}\"", address(&user));
        settings.set(&section, "streams", "[\"audio\", \"message\"]");
    }
}

/// Histories are kept below a folder.
pub fn keep_histories(settings: &mut Settings, folder: &Path) {
    let path = folder.join("history");
    settings
        .set("history", "store", "\"embedded\"")
        .set("history", "path", format!("{:?}", path.to_string_lossy()))
        .set("policy", "allow_offline_storage", true);
}

/// Tells the relay of every user's device, as a core does by third-party REGISTER; what it asks
/// about them in turn is refused, so that these are all it knows.
///
/// # Panics
///
/// A REGISTER isn't answered 200.
pub fn register(relay: &Relay) {
    let mut core = Agent::udp("core", relay.sip);
    for (number, user) in names().enumerate() {
        let request = third_party(&core, relay, &user, number);
        core.send(&request);
        let id = request.field("Call-ID").to_owned();
        let answer = core.expect("the answer to a REGISTER", |message| {
            message.code().is_some() && message.field("Call-ID") == id
        });
        assert_eq!(answer.code(), Some(200), "{}", answer.text());
        let asks = core.request("SUBSCRIBE");
        core.answer(&asks, 403, &[], "");
    }
}

fn third_party(core: &Agent, relay: &Relay, user: &str, number: usize) -> Message {
    let via = format!("SIP/2.0/UDP {};branch=z9hG4bKreg{number}", core.address());
    let device = format!(
        "<sip:{user}@{}>;+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-{number:012x}>\";audio;\
         +g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"",
        core.address()
    );
    Message::new(format!("REGISTER sip:{} SIP/2.0", relay.sip))
        .with("Via", via)
        .with("Max-Forwards", "70")
        .with("From", format!("<sip:core@core.example>;tag=r{number}"))
        .with("To", format!("<{}>", address(user)))
        .with("Call-ID", format!("register-{number}@{}", core.address()))
        .with("CSeq", "1 REGISTER")
        .with("Contact", device)
        .with("Expires", "600000")
}

/// The users' names; the first one is the probe's own.
fn names() -> impl Iterator<Item = String> {
    let users = (0..USERS).map(|number| format!("user{number}"));
    std::iter::once("bob".to_owned()).chain(users)
}

fn address(user: &str) -> String {
    format!("sip:{user}@127.0.0.1")
}

/// The users in a file, as SIPp reads them.
pub struct File(Folder);

impl File {
    /// Writes it.
    ///
    /// # Panics
    ///
    /// The temp folder can't be written.
    #[must_use]
    pub fn write() -> Self {
        let file = Self(Folder::new("users"));
        let mut text = "SEQUENTIAL\n".to_owned();
        for user in names().skip(1) {
            text.push_str(&user);
            text.push_str(";\n");
        }
        std::fs::write(file.path(), text).expect("the folder can be written");
        file
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().join("users.csv")
    }
}
