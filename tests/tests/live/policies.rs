//! What holds for whom: read anew while calls go on, and asked for at an XDMS.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use tests::live::ports::Ports;
use tests::live::process::{Folder, Process};
use tests::live::scene::{LONG, Scene};
use tests::live::{eventually, find, http, needs};

const VIDEO: &str = "m=video 9002 RTP/AVP 31\r\n";

/// Calls Bob for a user with audio and video, and gives whether the video was offered to Bob.
fn offers_video(scene: &mut Scene, user: &str) -> bool {
    let identity = format!("<sip:{user}@home.example>");
    let offer = scene.offer().audio(9000).text() + VIDEO;
    let fields = [("P-Asserted-Identity", identity.as_str())];
    let call = scene.alice.invite_with(&scene.target, &offer, &fields);
    let at_bob = scene.bob.incoming();
    at_bob.answer(&mut scene.bob, 486, "");
    assert_eq!(call.failed(&mut scene.alice).code(), Some(486));
    !at_bob.invite.body.contains("m=video 0 ")
}

fn reloads(scene: &Scene, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    scene.relay.metric(&["reloads", &label])
}

#[test]
fn settings_are_read_anew_for_new_calls_and_a_wrong_file_changes_nothing() {
    let mut scene = Scene::direct(|_| {});
    let (mut joined, a, b) = scene.audio_call();
    assert!(a.hears(5, LONG) && b.hears(5, LONG));
    let file = scene.relay.settings();
    let first = std::fs::read_to_string(&file).unwrap();

    let strict = format!("{first}[user.\"sip:alice@home.example\"]\nstreams = [\"audio\"]\n");
    std::fs::write(&file, strict.replace("[media]", "[media]\ndrain_ms = 100")).unwrap();
    scene.relay.process().signal("HUP");
    let is_read = eventually(LONG, || reloads(&scene, "done") >= 1.0);
    assert!(is_read, "{}", scene.relay.process().output());
    assert!(!offers_video(&mut scene, "alice"));
    assert!(offers_video(&mut scene, "bob"));

    std::fs::write(&file, "[sip]\nt1_ms = \"soon\"\n").unwrap();
    let (status, text) = http::post(scene.relay.admin, "/reload").unwrap();
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("line 2") && text.contains("t1_ms"), "{text}");
    assert!(!offers_video(&mut scene, "alice"));

    std::fs::write(&file, format!("{first}[cdr]\nparties = false\n")).unwrap();
    let (status, text) = http::post(scene.relay.admin, "/reload").unwrap();
    assert_eq!((status, text.contains("[cdr]")), (200, true), "{text}");
    assert!(offers_video(&mut scene, "alice"));
    assert_eq!(
        (reloads(&scene, "done"), reloads(&scene, "failed")),
        (2.0, 1.0)
    );

    let (so_far, other) = (a.record().heard.len(), b.record().heard.len());
    assert!(a.hears(so_far + 10, LONG) && b.hears(other + 10, LONG));
    scene.alice_hangs_up(&mut joined);
    scene.relay.assert_empty();
}

/// lighttpd with users' documents.
struct Xdms {
    process: Process,
    address: SocketAddr,
    folder: Folder,
}

impl Xdms {
    fn start(ports: &mut Ports) -> Self {
        let folder = Folder::new("xdms");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.one()));
        let root = folder.path().display();
        // It gives ETags to documents whose kind it knows alone.
        let text = format!(
            "server.document-root = \"{root}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {}\n\
             mimetype.assign = ( \"\" => \"application/xml\" )\n",
            address.port()
        );
        let file = folder.path().join("lighttpd.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(find("lighttpd").unwrap());
        command.arg("-D").arg("-f").arg(&file);
        let process = Process::start("lighttpd", folder.path(), &mut command);
        let is_up = eventually(LONG, || TcpStream::connect(address).is_ok());
        assert!(is_up, "{}", process.output());
        Self {
            process,
            address,
            folder,
        }
    }

    /// Writes a user's document.
    fn write(&self, user: &str, kinds: &str) {
        let users = "org.openmobilealliance.cpm-rules/users";
        let folder = format!("{users}/sip:{user}@home.example");
        let folder = self.folder.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!("<preferences><allow-media>{kinds}</allow-media></preferences>");
        std::fs::write(folder.join("index"), text).unwrap();
    }
}

#[test]
fn preferences_come_from_the_xdms_and_from_the_file_where_it_is_silent() {
    if !needs("xcap", &["lighttpd"]) {
        return;
    }
    let mut ports = Ports::take();
    let xdms = Xdms::start(&mut ports);
    xdms.write("alice", "audio");
    let mut scene = Scene::direct(|settings| {
        settings
            .set("xcap", "root", format!("\"http://{}\"", xdms.address))
            .set("xcap", "fresh_s", 1)
            .set("user.\"sip:carol@home.example\"", "streams", "[\"audio\"]");
    });
    let of = |scene: &Scene, outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        scene.relay.metric(&["preferences", &label])
    };

    assert!(!offers_video(&mut scene, "alice"), "its document says so");
    assert!(offers_video(&mut scene, "bob"), "it has none");
    assert!(of(&scene, "fetched") >= 1.0 && of(&scene, "missing") >= 1.0);
    let is_asked_again = eventually(LONG, || {
        assert!(!offers_video(&mut scene, "alice"));
        of(&scene, "unchanged") >= 1.0
    });
    assert!(is_asked_again, "{:?}", scene.relay.metrics());

    xdms.write("alice", "audio video message");
    let is_heard = eventually(LONG, || offers_video(&mut scene, "alice"));
    assert!(is_heard, "{:?}", scene.relay.metrics());

    // It accepts connections and says nothing: calls go on with what the file says.
    xdms.process.signal("STOP");
    assert!(!offers_video(&mut scene, "carol"), "the file says so");
    assert!(offers_video(&mut scene, "dave"));
    assert!(offers_video(&mut scene, "alice"), "as it was known");
    assert!(of(&scene, "late") >= 2.0, "{:?}", scene.relay.metrics());
    xdms.process.signal("CONT");
    drop(xdms);
    let is_told = eventually(LONG, || {
        assert!(offers_video(&mut scene, "alice"));
        of(&scene, "failed") >= 1.0
    });
    assert!(is_told, "{:?}", scene.relay.metrics());
    scene.relay.assert_empty();
}
