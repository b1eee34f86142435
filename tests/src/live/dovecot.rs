//! Dovecot as the message storage server, with accounts of its own in a private folder.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::live::ports::Ports;
use crate::live::process::{Folder, Process};
use crate::live::{eventually, find};

/// A message storage server, running or not.
#[derive(Debug)]
pub struct Dovecot {
    process: Option<Process>,
    /// IMAP without TLS, with STARTTLS.
    pub imap: SocketAddr,
    /// IMAP over TLS.
    pub imaps: SocketAddr,
    folder: Folder,
}

impl Dovecot {
    /// The master user that may log in for everybody, and the password of all.
    pub const MASTER: (&str, &str) = ("midpath", "a \"secret\\");

    /// Starts a server for users; `quota` is what each account may hold, in KiB.
    ///
    /// # Panics
    ///
    /// It isn't there within a minute.
    #[must_use]
    pub fn start(ports: &mut Ports, users: &[&str], quota: Option<u32>) -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut dovecot = Self {
            process: None,
            imap: at(ports.one()),
            imaps: at(ports.one()),
            folder: Folder::new("dovecot"),
        };
        dovecot.write_files(users, quota);
        dovecot.go_on();
        dovecot
    }

    /// Starts it again where it was stopped.
    ///
    /// # Panics
    ///
    /// It isn't there within a minute.
    pub fn go_on(&mut self) {
        let program = find("dovecot").expect("dovecot is installed");
        let mut command = Command::new(program);
        command.arg("-F").arg("-c").arg(self.path("dovecot.conf"));
        let process = Process::start("dovecot", self.folder.path(), &mut command);
        let (imap, imaps) = (self.imap, self.imaps);
        let up = eventually(Duration::from_secs(60), || {
            TcpStream::connect(imap).is_ok() && TcpStream::connect(imaps).is_ok()
        });
        assert!(up, "dovecot isn't there:\n{}", process.output());
        self.process = Some(process);
    }

    /// Ends it; its accounts stay.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The certificate that its clients must trust.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path("certificate.pem")
    }

    /// A file with the master user's password.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.path("password")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_files(&self, users: &[&str], quota: Option<u32>) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        let (master, password) = Self::MASTER;
        // Without the empty fields a line is of no use as a userdb.
        let account = |user: &str| format!("{user}:{{PLAIN}}{password}::::::\n");
        let mail = self.path("mail");
        std::fs::create_dir_all(&mail).expect("the folder can be written");
        let owner = owner(&[self.folder.path(), &mail]);
        let users = users.iter().map(|user| account(user)).collect::<String>();
        let files = [
            ("certificate.pem", cert.pem()),
            ("key.pem", signing_key.serialize_pem()),
            ("password", format!("{password}\nand no more\n")),
            ("users", users),
            ("masters", account(master)),
            ("dovecot.conf", self.configuration(quota, &owner)),
        ];
        for (name, text) in files {
            std::fs::write(self.path(name), text).expect("the folder can be written");
        }
    }

    fn configuration(&self, quota: Option<u32>, owner: &Owner) -> String {
        let folder = self.folder.path().display();
        let Owner {
            user,
            group,
            uid,
            gid,
        } = owner;
        let (port, tls_port) = (self.imap.port(), self.imaps.port());
        let mut text = format!(
            "base_dir = {folder}/run\nstate_dir = {folder}/state\nlog_path = {folder}/log\n\
             protocols = imap\nlisten = 127.0.0.1\nssl = yes\n\
             ssl_cert = <{folder}/certificate.pem\nssl_key = <{folder}/key.pem\n\
             default_internal_user = {user}\ndefault_login_user = {user}\n\
             default_internal_group = {group}\nfirst_valid_uid = {uid}\nfirst_valid_gid = {gid}\n\
             auth_master_user_separator = *\nauth_username_chars =\n\
             mail_location = sdbox:{folder}/mail/%u\nmail_uid = {uid}\nmail_gid = {gid}\n\
             passdb {{\n  driver = passwd-file\n  master = yes\n  args = {folder}/masters\n}}\n\
             passdb {{\n  driver = passwd-file\n  args = {folder}/users\n}}\n\
             userdb {{\n  driver = passwd-file\n  args = {folder}/users\n  \
             default_fields = uid={uid} gid={gid} home={folder}/mail/%u\n}}\n\
             namespace inbox {{\n  inbox = yes\n  separator = /\n}}\n\
             service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = {port}\n  }}\n\
             inet_listener imaps {{\n    port = {tls_port}\n    ssl = yes\n  }}\n}}\n\
             service anvil {{\n  chroot =\n}}\nservice stats {{\n  chroot =\n}}\n"
        );
        if let Some(kib) = quota {
            let _written = write!(
                text,
                "mail_plugins = quota\nplugin {{\n  quota = count:all\n  quota_vsizes = yes\n  \
                 quota_rule = *:storage={kib}K\n  quota_grace = 0\n}}\n"
            );
        }
        text
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// Who owns the mail.
struct Owner {
    user: String,
    group: String,
    uid: String,
    gid: String,
}

/// Whoever runs this, but mail can't be root's.
fn owner(folders: &[&Path]) -> Owner {
    let id = |option: &str, user: &str| {
        let output = Command::new("id").arg(option).arg(user).output();
        let output = output.expect("id runs").stdout;
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let me = Command::new("id").arg("-un").output().expect("id runs");
    let mut user = String::from_utf8_lossy(&me.stdout).trim().to_owned();
    if user == "root" {
        "nobody".clone_into(&mut user);
        for folder in folders {
            let chown = Command::new("chown").arg("nobody:").arg(folder).status();
            assert!(
                chown.is_ok_and(|status| status.success()),
                "chown works for root"
            );
        }
    }
    Owner {
        group: id("-gn", &user),
        uid: id("-u", &user),
        gid: id("-g", &user),
        user,
    }
}
