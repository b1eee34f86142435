//! Who is given a Use-Path.

use super::{Hash, Login, RELAY, SECOND, World, challenge, client, request, role, send};
use crate::api::{MsrpTransport, RelayRole};
use crate::limits::MSRP_AUTH_FAILURES;
use crate::stats::DropReason;

#[test]
fn a_client_is_given_a_path_for_either_hash_with_or_without_uri() {
    for hash in [Hash::Md5, Hash::Sha256] {
        for names_uri in [false, true] {
            let mut world = World::relaying();
            let key = world.tls();
            let nonce = world.nonce(key, hash);
            let login = Login {
                hash,
                names_uri,
                ..Login::alice(&nonce)
            };
            let answer = world.log_in(key, &login, "");
            assert_eq!(&*answer.what, "200 OK");
            assert_eq!(answer.header("Expires"), Some("900"));
            let path = answer.header("Use-Path").unwrap();
            let id = path.strip_prefix("msrps://192.0.2.1:2855/").unwrap();
            let id = id.strip_suffix(";tcp").unwrap();
            assert!(id.len() * 5 >= 128, "too few random bits: {id}");
            // RFC 7616 §3.5: the relay knows the password as well.
            let proof = login.digest("");
            let expected = format!("qop=auth, rspauth=\"{proof}\", cnonce=\"c0ffee\", nc=00000001");
            assert_eq!(answer.header("Authentication-Info"), Some(&*expected));
            world.pass(SECOND);
            assert_eq!((world.stats.msrp_auths, world.stats.msrp_use_paths), (1, 1));
        }
    }
}

#[test]
fn the_strongest_hash_is_offered_first_and_one_that_nobody_has_is_not() {
    let mut world = World::relaying();
    let key = world.tls();
    let ask = request("ask1", "AUTH", (RELAY, &client("alice")), "");
    world.send(key, &ask);
    let offered = world.read_one(key);
    let offered: Vec<_> = offered.headers.iter().skip(2).collect();
    assert_eq!(offered.len(), 2);
    assert!(offered[0].1.ends_with("algorithm=SHA-256"), "{offered:?}");
    assert!(offered[1].1.ends_with("algorithm=MD5"), "{offered:?}");
    let mut users = role().users.all().to_vec();
    for user in &mut users {
        user.sha256 = None;
    }
    let mut world = World::relaying_as(RelayRole {
        users: crate::api::RelayUsers::new(users),
        ..role()
    });
    let key = world.tls();
    world.send(key, &ask);
    let challenge = world.read_one(key);
    assert!(
        challenge
            .header("WWW-Authenticate")
            .unwrap()
            .ends_with("=MD5")
    );
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_answered_alike_and_then_no_more() {
    for user in ["alice", "mallory"] {
        let mut world = World::relaying();
        let key = world.tls();
        for attempt in 1..=MSRP_AUTH_FAILURES {
            assert_eq!(world.relay.expired(world.now), None, "{attempt}");
            let nonce = world.nonce(key, Hash::Sha256);
            let login = Login {
                user,
                password: "wrong",
                ..Login::alice(&nonce)
            };
            let answer = world.log_in(key, &login, "");
            assert_eq!(&*answer.what, "401 Unauthorized");
            let (again, stale) = challenge(&answer, Hash::Sha256);
            assert!(!stale && again != nonce);
        }
        assert_eq!(world.relay.expired(world.now), Some(key));
        world.pass(SECOND);
        let drops = world.stats.drops[DropReason::NotAuthorized as usize];
        assert_eq!(drops, u64::from(MSRP_AUTH_FAILURES));
        assert_eq!(world.stats.msrp_use_paths, 0);
    }
}

#[test]
fn a_right_digest_forgives_the_wrong_ones_before_it() {
    let mut world = World::relaying();
    let key = world.tls();
    for _ in 0..3 {
        for _ in 1..MSRP_AUTH_FAILURES {
            let nonce = world.nonce(key, Hash::Sha256);
            let login = Login {
                password: "wrong",
                ..Login::alice(&nonce)
            };
            world.log_in(key, &login, "");
        }
        world.use_path(key, "alice");
    }
    assert_eq!(world.relay.expired(world.now), None);
}

#[test]
fn a_nonce_is_stale_when_it_is_old_or_used_up_or_of_another_connection() {
    let mut world = World::relaying();
    let (key, other) = (world.tls(), world.tls());
    let nonce = world.nonce(key, Hash::Sha256);
    let ask = |world: &mut World, key, nc: &str| {
        let login = Login {
            nc,
            ..Login::alice(&nonce)
        };
        let answer = world.log_in(key, &login, "");
        match &*answer.what {
            "200 OK" => None,
            "401 Unauthorized" => Some(challenge(&answer, Hash::Sha256).1),
            other => panic!("{other}"),
        }
    };
    assert_eq!(ask(&mut world, other, "00000001"), Some(true));
    assert_eq!(ask(&mut world, key, "00000001"), None);
    assert_eq!(ask(&mut world, key, "00000001"), Some(true), "replayed");
    assert_eq!(ask(&mut world, key, "00000003"), None);
    assert_eq!(ask(&mut world, key, "00000002"), Some(true), "replayed");
    world.pass(300 * SECOND);
    assert_eq!(ask(&mut world, key, "00000004"), Some(true), "too old");
}

#[test]
fn a_stale_nonce_with_a_wrong_password_is_not_called_stale() {
    let mut world = World::relaying();
    let key = world.tls();
    let nonce = world.nonce(key, Hash::Md5);
    world.pass(301 * SECOND);
    let login = Login {
        hash: Hash::Md5,
        password: "wrong",
        ..Login::alice(&nonce)
    };
    let answer = world.log_in(key, &login, "");
    assert!(!challenge(&answer, Hash::Md5).1);
}

#[test]
fn what_is_no_digest_for_this_request_is_malformed() {
    for (from, to) in [
        ("Digest", "Basic"),
        ("qop=auth", "qop=auth-int"),
        ("algorithm=SHA-256", "algorithm=SHA-256-sess"),
        ("algorithm=SHA-256", "algorithm=MD5-sess"),
        ("nc=00000001", "nc=1"),
        (
            "nc=00000001",
            "uri=\"msrps://other.example:2855;tcp\", nc=00000001",
        ),
        ("nc=00000001", "uri=\"nonsense\", nc=00000001"),
        ("username=\"alice\", ", ""),
    ] {
        let mut world = World::relaying();
        let key = world.tls();
        let nonce = world.nonce(key, Hash::Sha256);
        let header = Login::alice(&nonce).header().replace(from, to);
        world.send(
            key,
            request("bad1", "AUTH", (RELAY, &client("alice")), &header),
        );
        assert_eq!(&*world.read_one(key).what, "400 Bad Request", "{to}");
    }
}

#[test]
fn an_expiry_out_of_bounds_is_answered_with_the_bound() {
    for (asked, code, header, value) in [
        ("59", "423 Parameter Out of Bounds", "Min-Expires", "60"),
        ("0", "423 Parameter Out of Bounds", "Min-Expires", "60"),
        ("60", "200 OK", "Expires", "60"),
        ("3600", "200 OK", "Expires", "3600"),
        ("3601", "423 Parameter Out of Bounds", "Max-Expires", "3600"),
        (
            "99999999999999",
            "423 Parameter Out of Bounds",
            "Max-Expires",
            "3600",
        ),
    ] {
        let mut world = World::relaying();
        let key = world.tls();
        let nonce = world.nonce(key, Hash::Sha256);
        let headers = format!("Expires: {asked}\r\n");
        let answer = world.log_in(key, &Login::alice(&nonce), &headers);
        assert_eq!(
            (&*answer.what, answer.header(header)),
            (code, Some(value)),
            "{asked}"
        );
        assert_eq!(answer.header("Use-Path").is_some(), code == "200 OK");
    }
    for asked in ["", "soon", "-1", "+60"] {
        let mut world = World::relaying();
        let key = world.tls();
        let nonce = world.nonce(key, Hash::Sha256);
        let headers = format!("Expires: {asked}\r\n");
        let answer = world.log_in(key, &Login::alice(&nonce), &headers);
        assert_eq!(&*answer.what, "400 Bad Request", "{asked:?}");
    }
}

#[test]
fn an_auth_without_tls_is_forbidden_unless_it_is_allowed() {
    for (transport, auth_without_tls, code) in [
        (MsrpTransport::Tcp, false, "403 Forbidden"),
        (MsrpTransport::Ws, false, "403 Forbidden"),
        (MsrpTransport::Wss, false, "401 Unauthorized"),
        (MsrpTransport::Tcp, true, "401 Unauthorized"),
    ] {
        let mut world = World::relaying_as(RelayRole {
            auth_without_tls,
            ..role()
        });
        let key = world.door(transport);
        world.send(key, request("ask1", "AUTH", (RELAY, &client("alice")), ""));
        assert_eq!(&*world.read_one(key).what, code);
    }
}

#[test]
fn a_relay_for_sessions_only_takes_no_auth() {
    let mut world = World::new();
    let key = world.relay.accept(world.now).unwrap();
    world.send(key, request("ask1", "AUTH", (RELAY, &client("alice")), ""));
    assert_eq!(&*world.read_one(key).what, "481 No Such Session");
}

#[test]
fn an_auth_with_a_body_is_malformed() {
    let mut world = World::relaying();
    let key = world.tls();
    let from = client("alice");
    let frame = send("ask1", (RELAY, &from), "x").replace("SEND", "AUTH");
    world.send(key, frame);
    assert_eq!(&*world.read_one(key).what, "400 Bad Request");
    world.use_path(key, "alice");
}

#[test]
fn another_auth_of_the_same_client_lets_its_path_live_on() {
    let mut world = World::relaying();
    let (key, path) = world.client("alice");
    world.pass(800 * SECOND);
    assert_eq!(world.use_path(key, "alice"), path);
    world.pass(800 * SECOND);
    let (other, to) = (world.tls(), format!("{path} {}", client("alice")));
    world.send(other, send("in01", (&to, &client("bob")), "hello"));
    assert_eq!(&*world.read_one(other).what, "200 OK");
    let got = world.read_one(key);
    world.answer(key, &got, "200 OK");
    world.pass(100 * SECOND);
    world.send(other, send("in02", (&to, &client("bob")), "hello"));
    assert_eq!(&*world.read_one(other).what, "481 No Such Session");
    assert_ne!(
        world.use_path(key, "alice"),
        path,
        "an expired path came back"
    );
}

#[test]
fn a_path_is_of_the_connection_that_asked_for_it() {
    let mut world = World::relaying();
    let (_, first) = world.client("alice");
    let (_, second) = world.client("alice");
    assert_ne!(first, second);
}

#[test]
fn a_host_name_stands_in_the_path_where_one_is_set() {
    let mut world = World::relaying_as(RelayRole {
        host: Some("relay.example".into()),
        ..role()
    });
    let (_, path) = world.client("alice");
    assert!(path.starts_with("msrps://relay.example:2855/"), "{path}");
}
