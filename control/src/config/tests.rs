use std::collections::BTreeSet;

use super::{
    Cema, Complaint, Config, ConfigError, DEFAULTS, Listen, Protocol, SilenceAction, StreamKind,
    Toward, Who,
};

#[test]
fn the_default_file_says_what_the_defaults_are() {
    assert_eq!(Config::parse(DEFAULTS).unwrap(), Config::default());
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn every_setting_is_in_the_default_file_with_a_comment() {
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    assert_eq!(names(defaults.keys()), fields_of(""));
    for (section, settings) in defaults
        .iter()
        .filter(|(name, _)| !["trunk", "user", "group"].contains(&name.as_str()))
    {
        let settings = settings.as_table().unwrap();
        assert_eq!(names(settings.keys()), fields_of(section), "in [{section}]");
    }
    let lines: Vec<&str> = DEFAULTS.lines().collect();
    for pair in lines.windows(2) {
        assert!(
            !pair[1].contains(" = ") || pair[1].starts_with('#') || pair[0].starts_with("# "),
            "no comment before {}",
            pair[1]
        );
    }
}

#[test]
fn a_file_says_only_what_differs() {
    let config = Config::parse(
        "[sip]\nlisten = [\"tcp:[::1]:5070\"]\nnext_hop = \"sip:[2001:db8::1]:5080;transport=tcp\"\n\
         [media]\nsilence_s = 30\nsilence_action = \"release\"\nfirst_core = 2\n",
    )
    .unwrap();
    let listen = Listen {
        protocol: Protocol::Tcp,
        address: "[::1]:5070".parse().unwrap(),
    };
    assert_eq!(config.sip.listen, [listen]);
    let next_hop = config.sip.next_hop.unwrap();
    assert_eq!(
        (next_hop.host.as_str(), next_hop.port),
        ("2001:db8::1", Some(5080))
    );
    assert_eq!(next_hop.protocol, Protocol::Tcp);
    assert_eq!(config.media.silence_action, SilenceAction::Release);
    assert_eq!(config.media.first_core, Some(2));
    assert_eq!(config.rtp, super::Rtp::default());
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_one() {
    let complaint = complaint("[media]\nworkers = 2\nport_fist = 20000\n");
    assert_eq!(
        (complaint.line, complaint.column, complaint.width),
        (3, 1, 9)
    );
    assert_eq!(complaint.text, "port_fist = 20000");
    assert_eq!(complaint.way_out, "did you mean port_first?");
}

#[test]
fn an_unknown_section_is_answered_with_the_nearest_one() {
    let complaint = complaint("[rpt]\nlearn = \"never\"\n");
    assert_eq!((complaint.line, complaint.column), (1, 2));
    assert!(complaint.way_out.contains("rtp"), "{complaint}");
}

#[test]
fn a_word_far_from_all_keys_gets_no_wild_guess() {
    let complaint = complaint("[cdr]\nxylophonequartet = 1\n");
    assert!(complaint.way_out.contains("midpath config"), "{complaint}");
}

#[test]
fn a_value_of_the_wrong_type_is_shown_with_its_comment_and_default() {
    let complaint = complaint("\n[media]\nport_first = \"abc\"\n");
    assert_eq!(
        (complaint.line, complaint.column, complaint.width),
        (3, 14, 5)
    );
    assert_eq!(complaint.key.as_deref(), Some("media.port_first"));
    assert_eq!(complaint.came, "string \"abc\"");
    assert_eq!(complaint.expected, "u16");
    assert!(
        complaint
            .way_out
            .ends_with("The default is: port_first = 20000")
    );
}

#[test]
fn a_wrong_word_lists_the_right_ones() {
    let complaint = complaint("[sip]\nbye_ack = \"later\"\n");
    assert_eq!(complaint.line, 2);
    assert!(complaint.expected.contains("after_far_end"), "{complaint}");
    assert!(
        complaint.expected.contains("immediate_after_store"),
        "{complaint}"
    );
}

#[test]
fn a_listen_address_without_a_protocol_shows_the_form() {
    let complaint = complaint("[sip]\nlisten = [\"udp:127.0.0.1:5060\", \"127.0.0.1:5060\"]\n");
    assert_eq!((complaint.line, complaint.column), (2, 10));
    assert_eq!(complaint.came, "\"127.0.0.1:5060\"");
    assert!(
        complaint.expected.contains("udp:127.0.0.1:5060"),
        "{complaint}"
    );
}

#[test]
fn a_text_that_is_no_toml_is_shown_where_it_breaks() {
    let complaint = complaint("[sip]\nt1_ms = = 3\n");
    assert_eq!(complaint.line, 2);
    assert!(!complaint.came.is_empty() && !complaint.expected.is_empty());
}

#[test]
fn settings_that_do_not_fit_are_named_with_their_line() {
    are_named(&[
        ("[sip]\nlisten = []", "sip.listen"),
        (
            "[sip]\nlisten = [\"udp:127.0.0.1:1\", \"udp:127.0.0.1:1\"]",
            "sip.listen",
        ),
        ("[sip]\nlisten = [\"udp:0.0.0.0:5060\"]", "sip.listen"),
        ("[sip]\nt1_ms = 0", "sip.t1_ms"),
        ("[sip]\nt2_ms = 400", "sip.t2_ms"),
        (
            "[sip]\nbye_far_deadline_ms = 32000",
            "sip.bye_far_deadline_ms",
        ),
        ("[sip]\nsessions_max = 0", "sip.sessions_max"),
        (
            "[history]\ndeadline_ms = 28000\nstore = \"embedded\"\npath = \"/h\"",
            "history.deadline_ms",
        ),
        ("[sip]\nuser_agent = \"a\\r\\nX: y\"", "sip.user_agent"),
        ("[sip]\nnext_hop = \"sip:\"", "sip.next_hop"),
        ("[sip]\nnext_hop = \"sip:core:0\"", "sip.next_hop"),
        (
            "[sip]\nnext_hop = \"sip:core;transport=sctp\"",
            "sip.next_hop",
        ),
        ("[policy]\nstreams = []", "policy.streams"),
        ("[media]\naddresses = []", "media.addresses"),
        (
            "[media]\naddresses = [\"10.0.0.1\", \"10.0.0.2\"]",
            "media.addresses",
        ),
        ("[media]\naddresses = [\"::\"]", "media.addresses"),
        ("[media]\nport_first = 20001", "media.port_first"),
        ("[media]\nport_last = 40000", "media.port_last"),
        ("[media]\nport_last = 19999", "media.port_last"),
        ("[media]\nworkers = 0", "media.workers"),
        ("[media]\nfirst_core = -2", "media.first_core"),
        (
            "[media]\nsilence_action = \"release\"",
            "media.silence_action",
        ),
        ("[media]\ndrain_ms = 32000", "media.drain_ms"),
        ("[admin]\nlisten = \"192.0.2.1:8060\"", "admin.listen"),
        ("[log]\nlevel = \"a=b=c\"", "log.level"),
    ]);
}

#[test]
fn settings_of_msrp_that_do_not_fit_are_named_with_their_line() {
    are_named(&[
        ("[msrp]\nport_first = 30000", "msrp.port_first"),
        ("[msrp]\ntls_port_first = 65536", "msrp.tls_port_first"),
        (
            "[msrp]\nws_port_first = 2855\nport_first = 2855",
            "msrp.ws_port_first",
        ),
        ("[msrp]\nkey = \"key.pem\"", "msrp.key"),
        ("[msrp]\nws_origins = [\"chat.example\"]", "msrp.ws_origins"),
        ("[msrp]\nchunk_octets_max = 255", "msrp.chunk_octets_max"),
        (
            "[msrp]\nchunk_octets_max = 10241\nchunk_exact = true",
            "msrp.chunk_octets_max",
        ),
        ("[msrp]\ntoward = \"wss\"", "msrp.toward"),
    ]);
}

#[test]
fn settings_of_registration_that_do_not_fit_are_named_with_their_line() {
    are_named(&[
        ("[registration]\nexpires_s = 0", "registration.expires_s"),
        (
            "[registration]\nretry_s_max = 1",
            "registration.retry_s_max",
        ),
        ("[registration]\nusers_max = 0", "registration.users_max"),
        (
            "[registration]\ntrusted = [\"core.example\"]",
            "registration.trusted",
        ),
        ("[registration]\nusers = [\"bob\"]", "registration.users"),
        (
            "[registration]\nusers = []\nsubscribe_when = \"provisioning\"",
            "registration.users",
        ),
    ]);
}

fn are_named(cases: &[(&str, &str)]) {
    for &(text, key) in cases {
        is_named_with_its_line(text, key);
    }
}

#[test]
fn a_remote_admin_address_is_taken_when_it_is_allowed() {
    let text = "[admin]\nlisten = \"192.0.2.1:8060\"\nallow_remote = true\n";
    assert!(Config::parse(text).unwrap().admin.listen.is_some());
    assert!(
        Config::parse("[admin]\nlisten = \"\"")
            .unwrap()
            .admin
            .listen
            .is_none()
    );
}

#[test]
fn a_complaint_points_at_the_place_under_the_line() {
    let error = Config::parse("[rtp]\nlearn = \"twice\"\n").unwrap_err();
    let shown = error.to_string();
    let mut lines = shown.lines();
    assert_eq!(lines.next(), Some("line 2, column 9: rtp.learn"));
    assert_eq!(lines.nth(1), Some("  2 | learn = \"twice\""));
    assert_eq!(lines.next(), Some("    |         ^^^^^^^"));
}

#[test]
fn any_text_is_answered_without_a_panic() {
    let seed = 0x6d69_6470_6174_6801_u64;
    let mut state = seed;
    for round in 0..2_000_u32 {
        let mut text: Vec<char> = DEFAULTS.chars().collect();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = usize::try_from(state >> 33).unwrap() % text.len();
            let replacement = ['é', '\n', '"', '[', '=', '0', '\u{0}', ']'];
            text[at] = replacement[usize::try_from(state >> 20 & 7).unwrap()];
        }
        let text: String = text.into_iter().collect();
        if let Err(ConfigError::Wrong(complaint)) = Config::parse(&text) {
            let lines = text.lines().count();
            assert!(
                complaint.line <= lines + 1,
                "seed {seed:#x} round {round}: {complaint}"
            );
        }
    }
}

fn complaint(text: &str) -> Complaint {
    match Config::parse(text) {
        Err(ConfigError::Wrong(complaint)) => *complaint,
        other => panic!("expected a complaint about {text}, got {other:?}"),
    }
}

fn names<'a>(keys: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    keys.cloned().collect()
}

#[test]
fn the_default_file_shows_every_setting_of_a_trunk() {
    let example = super::checks::example_of("trunk");
    let text = format!("[trunk.old-phones]\n{example}");
    let config = Config::parse(&text).unwrap();
    let trunk = &config.trunk["old-phones"];
    let over = trunk.over(&config.msrp);
    assert_eq!((over.cema, over.toward), (Cema::BackToBack, Toward::Tcp));
    assert!(over.match_session_id_only && over.chunk_exact);
    assert_eq!(
        (over.chunk_octets_max, over.message_octets_max),
        (2048, 104_857_600)
    );
    assert_eq!(
        (over.octets_per_s_max, over.idle_max.as_secs()),
        (1_000_000, 600)
    );
    assert_eq!(over.port_first, config.msrp.port_first);
    let example: toml::Table = example.parse().unwrap();
    assert_eq!(names(example.keys()), fields_of("trunk.any"));
}

#[test]
fn a_trunk_that_does_not_fit_is_named_with_its_line() {
    let cases = [
        ("[trunk.core]\ntoward = \"tcp\"", "trunk.core.match"),
        ("[trunk.core]\nmatch = []", "trunk.core.match"),
        (
            "[trunk.core]\nchunk_octets_max = 20\nmatch = [\"core.example\"]",
            "trunk.core.chunk_octets_max",
        ),
        (
            "[trunk.core]\ntoward = \"ws\"\nmatch = [\"core.example\"]",
            "trunk.core.toward",
        ),
        ("[trunk.core]\nmatch = [\"192.0.2.0/33\"]", "trunk.match"),
        ("[trunk.core]\nmatch = [\"no host\"]", "trunk.match"),
    ];
    for (text, key) in cases {
        let complaint = complaint(text);
        assert_eq!(complaint.key.as_deref(), Some(key), "{text}\n{complaint}");
        assert!(complaint.way_out.contains("For example"), "{complaint}");
    }
    let complaint = complaint("[trunk.core]\nmatch = [\"core.example\"]\nchunk_octet_max = 1\n");
    assert_eq!(complaint.line, 3);
    assert_eq!(complaint.way_out, "did you mean chunk_octets_max?");
}

#[test]
fn a_trunk_knows_its_far_ends() {
    let is = |who: &str, address: &str, host: &str| {
        Who::try_from(who.to_owned())
            .unwrap()
            .is(address.parse().unwrap(), host)
    };
    assert!(is("192.0.2.7", "192.0.2.7", ""));
    assert!(!is("192.0.2.7", "192.0.2.8", ""));
    assert!(is("192.0.2.0/24", "192.0.2.200", "") && is("0.0.0.0/0", "192.0.2.200", ""));
    assert!(is("192.0.2.0/24", "::ffff:192.0.2.1", ""));
    assert!(!is("192.0.2.0/24", "192.0.3.1", "") && !is("0.0.0.0/0", "2001:db8::1", ""));
    assert!(is("2001:db8::/32", "2001:db8:1::1", "") && !is("2001:db8::/32", "2001:db9::1", ""));
    assert!(is("::/0", "2001:db8::1", ""));
    assert!(is("Example.org", "192.0.2.1", "example.org"));
    assert!(is("example.org", "192.0.2.1", "sbc.EXAMPLE.org"));
    assert!(!is("example.org", "192.0.2.1", "badexample.org"));
    assert!(!is("example.org", "192.0.2.1", "org"));
}

/// The fields that serde knows of a section, out of its own message about an unknown one.
fn fields_of(section: &str) -> BTreeSet<String> {
    let text = match section {
        "" => "nobody = 1".to_owned(),
        section => format!("[{section}]\nnobody = 1"),
    };
    let error = toml::from_str::<Config>(&text).unwrap_err();
    let (_, known) = error.message().split_once("expected ").unwrap();
    known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// A second line that doesn't fit is named, and its comment and default are shown.
fn is_named_with_its_line(text: &str, key: &str) {
    let complaint = complaint(text);
    assert_eq!(complaint.key.as_deref(), Some(key), "{text}\n{complaint}");
    assert_eq!(complaint.line, 2, "{text}\n{complaint}");
    assert!(
        complaint.way_out.contains("The default is"),
        "{text}\n{complaint}"
    );
}

#[test]
fn settings_of_a_relay_that_do_not_fit_are_named_with_their_line() {
    let cases = [
        ("[msrp_relay]\nrealm = \"a\\\"b\"", "msrp_relay.realm"),
        (
            "[msrp_relay]\nusers = [{ user = \"alice\" }]",
            "msrp_relay.users",
        ),
        (
            "[msrp_relay]\nusers = [{ user = \"alice\", ha1_md5 = \"0123\" }]",
            "msrp_relay.users",
        ),
        ("[msrp_relay]\nhost = \"a b\"", "msrp_relay.host"),
        (
            "[msrp_relay]\nexpires_s_min = 0",
            "msrp_relay.expires_s_min",
        ),
        ("[msrp_relay]\nexpires_s = 59", "msrp_relay.expires_s"),
        (
            "[msrp_relay]\nexpires_s_max = 899",
            "msrp_relay.expires_s_max",
        ),
        ("[msrp_relay]\nnonce_s = 0", "msrp_relay.nonce_s"),
        ("[msrp_relay]\nconnect_ms = 0", "msrp_relay.connect_ms"),
        ("[msrp_relay]\nidle_s = 1", "msrp_relay.idle_s"),
    ];
    for (text, key) in cases {
        is_named_with_its_line(text, key);
    }
}

#[test]
fn a_relay_for_clients_has_users_by_their_hashes() {
    let md5 = "0123456789abcdef0123456789ABCDEF";
    let text = format!(
        "[msrp_relay]\nrealm = \"relay.example\"\n\
         users = [\n  {{ user = \"alice\", ha1_md5 = \"{md5}\" }},\n]\n"
    );
    let relay = Config::parse(&text).unwrap().msrp_relay;
    assert_eq!(relay.realm.as_deref(), Some("relay.example"));
    let hash = relay.users[0].ha1_md5.unwrap();
    assert_eq!(hash.0[..4], [0x01, 0x23, 0x45, 0x67]);
    assert_eq!(hash.0[12..], [0x89, 0xab, 0xcd, 0xef]);
    assert!(
        !format!("{relay:?}").to_lowercase().contains("6789"),
        "the hash is shown"
    );
    for (wrong, key) in [
        (text.replace("relay.example", ""), "msrp_relay.realm"),
        (text.replace("ha1_md5", "ha1_sha256"), "msrp_relay.users"),
        (text.replace("ha1_md5", "password"), "msrp_relay.users"),
        (text.replace("\"alice\"", "\"al:ice\""), "msrp_relay.users"),
        (
            format!("{text}[msrp]\ntls_port_first = -1\n"),
            "msrp_relay.auth_without_tls",
        ),
    ] {
        assert_eq!(complaint(&wrong).key.as_deref(), Some(key), "{wrong}");
    }
}

#[test]
fn the_default_file_shows_every_setting_of_a_user() {
    let example = super::checks::example_of("user");
    let text = format!("[user.\"sip:alice@home.example\"]\n{example}");
    let config = Config::parse(&text).unwrap();
    let alice = config.user["sip:alice@home.example"].over(&config.policy);
    assert!(alice.interception && alice.media_charging && alice.allow_offline_storage);
    assert_eq!(alice.streams, [StreamKind::Audio, StreamKind::Message]);
    assert_eq!(alice.interwork_scheme, super::OnFailure::Interwork);
    assert_eq!(alice.iwf_close, super::IwfClose::Session);
    let example: toml::Table = example.parse().unwrap();
    assert_eq!(names(example.keys()), fields_of("user.any"));
}

#[test]
fn a_user_that_does_not_fit_is_named_with_its_line() {
    let cases = [
        ("[user.alice]\nbarred = true", "user.alice.barred"),
        (
            "[policy]\nstreams = [\"audio\"]\n[user.\"tel:+1555\"]\nstreams = [\"video\"]",
            "user.tel:+1555.streams",
        ),
        ("[user.\"tel:+1555\"]\nfork = \"me\"", "user.fork"),
    ];
    for (text, key) in cases {
        let complaint = complaint(text);
        assert_eq!(complaint.key.as_deref(), Some(key), "{text}\n{complaint}");
        assert!(complaint.way_out.contains("For example"), "{complaint}");
    }
    let complaint = complaint("[user.\"sip:a@b\"]\nstream = [\"audio\"]\n");
    assert_eq!(complaint.way_out, "did you mean streams?");
}

#[test]
fn settings_of_histories_that_do_not_fit_are_named_with_their_line() {
    are_named(&[
        ("[history]\ndeadline_ms = 0", "history.deadline_ms"),
        (
            "[history]\nsession_octets_max = 9\noctets_max = 8",
            "history.session_octets_max",
        ),
        ("[history]\nwaiting_max = 0", "history.waiting_max"),
    ]);
}

#[test]
fn a_store_of_histories_that_lacks_something_says_what() {
    let imap = "[history]\nstore = \"imap\"\npath = \"/x\"\n[history_imap]\n";
    let server = format!("{imap}server = \"mail:993\"\n");
    let whole = format!("{server}password_file = \"/y\"\n");
    let wrong = [
        ("[history]\nstore = \"embedded\"".to_owned(), "history.path"),
        (imap.to_owned(), "history_imap.server"),
        (format!("{imap}server = \"mail\""), "history_imap.server"),
        (server, "history_imap.password_file"),
        (format!("{whole}login = \"one\""), "history_imap.login"),
        (format!("{whole}root = \"a*b\""), "history_imap.root"),
        (
            format!("{whole}connections_max = 65"),
            "history_imap.connections_max",
        ),
        (
            format!("{whole}answer_s_max = 0"),
            "history_imap.answer_s_max",
        ),
    ];
    for (text, key) in wrong {
        let complaint = complaint(&text);
        assert_eq!(complaint.key.as_deref(), Some(key), "{text}\n{complaint}");
    }
    assert!(Config::parse(&whole).is_ok());
}

#[test]
fn idn_06_a_group_is_checked_with_its_line_and_overrides_what_holds_for_all() {
    let example = super::checks::example_of("group");
    let text = format!("[group.\"sip:team@groups.example\"]\n{example}");
    let config = Config::parse(&text).unwrap();
    let team = config.group["sip:team@groups.example"].over(&config.controlling);
    assert_eq!(team.participants_max, 20);
    assert_eq!(team.streams, [StreamKind::Audio, StreamKind::Message]);
    let example: toml::Table = example.parse().unwrap();
    assert_eq!(names(example.keys()), fields_of("group.any"));
    let cases = [
        ("[group.\"tel:+1555\"]\nmembers = [\"sip:a@x\"]", "members"),
        ("[group.\"sip:t@x\"]\nmembers = [\"alice\"]", "members"),
        ("[group.\"sip:t@x\"]\nowners = [\"sip:a@x\"]", "owners"),
        ("[group.\"sip:t@x\"]\nstreams = []", "streams"),
        (
            "[group.\"sip:t@x\"]\nparticipants_max = 1",
            "participants_max",
        ),
    ];
    for (text, key) in cases {
        let complaint = complaint(text);
        assert!(
            complaint.key.as_deref().unwrap().ends_with(key),
            "{text}\n{complaint}"
        );
        assert!(complaint.way_out.contains("For example"), "{complaint}");
    }
    is_named_with_its_line("[controlling]\nfactory = \"tel:+1\"", "controlling.factory");
    is_named_with_its_line(
        "[controlling]\nsession_expires_s = 60",
        "controlling.session_expires_s",
    );
    is_named_with_its_line(
        "[controlling]\nparticipants_max = 100000",
        "controlling.participants_max",
    );
    is_named_with_its_line("[controlling]\nvalidity_s = 0", "controlling.validity_s");
    is_named_with_its_line("[controlling]\nfloors = [\"other\"]", "controlling.floors");
    is_named_with_its_line(
        "[controlling]\nfloor_holders = 0",
        "controlling.floor_holders",
    );
}
