//! What must hold after a session, whatever its network and its clients did.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use control::engine::ByeAck;
use control::history::Ask;

use super::lines::tag;
use super::{Entry, FUNCTIONS, Function, PARTIES, Played, STORE_DEADLINE, Stage};

impl Played {
    /// What went wrong; nothing, if all did as it must.
    #[must_use]
    pub fn offences(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.check_what_is_left(&mut found);
        self.check_transactions(&mut found);
        self.check_byes(&mut found);
        for at in 0..2 {
            if self.plan.functions[at].is_in_path() {
                self.check_release(at, &mut found);
                self.check_order(at, &mut found);
            }
            self.check_history(at, &mut found);
        }
        found
    }

    /// # Panics
    ///
    /// Something went wrong; the message has the plan and all that was said.
    pub fn assert_well(&self) {
        let offences = self.offences();
        assert!(
            offences.is_empty(),
            "{}\n{:#?}\n{}",
            offences.join("\n"),
            self.plan,
            self.trace
        );
    }

    fn check_what_is_left(&self, found: &mut Vec<String>) {
        for (at, function) in self.functions.iter().enumerate() {
            if !function.is_idle() {
                found.push(format!("left in function {at}: {}", function.leftovers()));
            }
            let open = function.media_sockets();
            if open > 0 {
                found.push(format!("function {at} has {open} media sockets left"));
            }
            // A session of which its function was a party has one record, no more.
            let records = function.records.len();
            let is_expected = match records {
                0 => !self.plan.functions[at].is_in_path() || self.first_invite_to(at).is_none(),
                1 => self.plan.functions[at].is_in_path(),
                _ => false,
            };
            if !is_expected {
                found.push(format!("function {at} wrote {records} records"));
            }
        }
        for (at, party) in self.parties.iter().enumerate() {
            let is_over = matches!(party.stage(), Stage::Idle | Stage::Over);
            if !party.is_silent() && !is_over {
                found.push(format!("party {at} is left {:?}", party.stage()));
            }
            if party.is_waiting() {
                found.push(format!("party {at} still waits"));
            }
        }
    }

    fn first_invite_to(&self, at: usize) -> Option<&Entry> {
        self.trace.requests("INVITE").find(|entry| {
            entry.to.ip() == FUNCTIONS[at]
                && tag(entry.header("To")).is_empty()
                && self.trace.arrival(entry).is_some()
        })
    }

    /// Every request that arrived is answered, once.
    fn check_transactions(&self, found: &mut Vec<String>) {
        let methods: BTreeSet<&str> = self.trace.entries.iter().map(Entry::method).collect();
        for method in methods
            .into_iter()
            .filter(|name| !["", "ACK"].contains(name))
        {
            for request in self.trace.requests(method) {
                let finals = self.trace.finals(request);
                let answers: BTreeSet<(u16, &str)> = finals
                    .iter()
                    .map(|entry| (entry.code(), tag(entry.header("To"))))
                    .collect();
                if answers.len() > 1 {
                    found.push(format!("answered {answers:?}: {request}"));
                }
                let silent = self
                    .party_of(request)
                    .is_some_and(|at| self.parties[at].is_silent());
                if answers.is_empty() && self.trace.arrival(request).is_some() && !silent {
                    found.push(format!("never answered: {request}"));
                }
            }
        }
    }

    fn party_of(&self, request: &Entry) -> Option<usize> {
        PARTIES.iter().position(|ip| *ip == request.to.ip())
    }

    /// A BYE is answered 200, and each leg has at most one from either end.
    fn check_byes(&self, found: &mut Vec<String>) {
        let byes: Vec<&Entry> = self.trace.requests("BYE").collect();
        for bye in &byes {
            let same = byes
                .iter()
                .filter(|other| other.from == bye.from && other.to == bye.to);
            // A proxy passes on what it gets, those of stray answers too.
            let by_proxy = FUNCTIONS
                .iter()
                .zip(&self.plan.functions)
                .any(|(ip, function)| *ip == bye.from.ip() && !function.is_in_path());
            if by_proxy {
                continue;
            }
            if same.filter(|bye| !self.is_of_stray_answer(bye)).count() > 1 {
                found.push(format!("not the only BYE on its leg: {bye}"));
            }
            if FUNCTIONS.contains(&bye.from.ip()) {
                continue;
            }
            for answer in self.trace.finals(bye) {
                let code = answer.code();
                // The dialog may be gone when the other side has ended it at the same time; a
                // proxy can say no more than what the far side said.
                let fine = code == 200
                    || (code == 481 && self.crosses(bye))
                    || (code != 481 && !self.all_stay())
                    // Between the clients alone, the caller may not know the dialog yet.
                    || !self.plan.functions.iter().any(Function::is_in_path)
                    || (code == 481 && self.never_accepted());
                if !fine {
                    found.push(format!("{answer} for {bye}"));
                }
            }
        }
    }

    /// RFC 3261 §13.2.2.4: an answer that comes again when its session is over is acknowledged and
    /// ended again.
    fn is_of_stray_answer(&self, bye: &Entry) -> bool {
        self.trace.entries.iter().any(|entry| {
            entry.method() == "ACK"
                && (entry.at, entry.from, entry.to) == (bye.at, bye.from, bye.to)
        })
    }

    /// Whether its sender was sent a BYE on the same leg.
    fn crosses(&self, bye: &Entry) -> bool {
        self.of_the_other_end(bye).next().is_some()
    }

    /// The same, by a BYE that ended the session and not only a stray answer.
    fn crosses_an_end(&self, bye: &Entry) -> bool {
        self.of_the_other_end(bye)
            .any(|other| !self.is_of_stray_answer(other))
    }

    fn of_the_other_end<'a>(&'a self, bye: &Entry) -> impl Iterator<Item = &'a Entry> {
        let way = (bye.to, bye.from);
        let byes = self.trace.requests("BYE");
        byes.filter(move |other| (other.from, other.to) == way)
    }

    /// Whether a function that stays never accepted what the callee may have: its 200 came late.
    fn never_accepted(&self) -> bool {
        let functions = self.plan.functions.iter().enumerate();
        functions
            .filter(|(_, function)| function.is_in_path())
            .any(|(at, _)| self.answered(at).is_none())
    }

    fn all_stay(&self) -> bool {
        self.plan.functions.iter().all(Function::is_in_path)
    }

    /// 000 8.2.2.3, 8.3.2.3: the media are released before anybody is told.
    fn check_release(&self, at: usize, found: &mut Vec<String>) {
        let Some(answered) = self.answered(at) else {
            return;
        };
        for entry in self.trace.sent_by(FUNCTIONS[at]) {
            let tells =
                entry.method() == "BYE" || (entry.code() == 200 && entry.is_final_of("BYE"));
            if tells && entry.at >= answered && entry.media_open > 0 {
                found.push(format!("media are not released: {entry}"));
            }
        }
    }

    /// When a function accepted the INVITE of its session.
    fn answered(&self, at: usize) -> Option<Duration> {
        let invite = self.first_invite_to(at)?;
        let mut sent = self.trace.sent_by(FUNCTIONS[at]);
        let ok = sent.find(|entry| entry.code() == 200 && entry.answers(invite))?;
        Some(ok.at)
    }

    /// CON-01: what comes first, the answer to a BYE or the next BYE.
    fn check_order(&self, at: usize, found: &mut Vec<String>) {
        let function = self.plan.functions[at];
        let here = FUNCTIONS[at];
        let Some(answered) = self.answered(at) else {
            return;
        };
        let incoming = self.incoming_byes(here, answered);
        // BYEs that cross are answered each by itself.
        let [(arrival, bye)] = incoming.as_slice() else {
            return;
        };
        let Some(ok) = self
            .trace
            .entries
            .iter()
            .find(|entry| entry.code() == 200 && entry.answers(bye))
        else {
            return;
        };
        let onward = self
            .trace
            .requests("BYE")
            .find(|entry| entry.from.ip() == here);
        match function.bye_ack {
            ByeAck::AfterFarEnd => {
                let far = onward.map_or(Duration::MAX, |onward| {
                    let finals = self.trace.finals(onward);
                    let arrivals = finals.iter().filter_map(|entry| entry.arrived);
                    arrivals.min().unwrap_or(Duration::MAX)
                });
                if ok.at < far && ok.at < *arrival + function.far_deadline {
                    found.push(format!("answered before the far end has: {ok}"));
                }
                let longest = function.far_deadline + STORE_DEADLINE + Duration::from_secs(1);
                if ok.at > *arrival + longest {
                    found.push(format!("answered after its deadline: {ok}"));
                }
            }
            ByeAck::Immediate | ByeAck::ImmediateAfterStore => {
                if let Some(onward) = onward
                    && self.place(onward) < self.place(ok)
                {
                    found.push(format!("told the far end first: {onward}"));
                }
            }
        }
    }

    /// When a function was first told, or found out by itself, that a side's dialog is gone
    /// (RFC 5057 §5.1): from then on it ends the session by itself.
    fn told_that_one_is_gone(&self, here: IpAddr) -> Option<Duration> {
        let finals = self.trace.entries.iter();
        let finals = finals.filter(|entry| entry.is_final_of("INVITE"));
        finals
            .filter_map(|entry| match entry.code() {
                408 | 481 if entry.to.ip() == here => entry.arrived,
                408 if entry.from.ip() == here => Some(entry.at),
                _ => None,
            })
            .min()
    }

    /// The BYEs that came to a function after it had accepted the INVITE, and crossed none of its
    /// own; none, if it ended the session by itself.
    fn incoming_byes(&self, here: IpAddr, answered: Duration) -> Vec<(Duration, &Entry)> {
        let gone = self.told_that_one_is_gone(here).unwrap_or(Duration::MAX);
        let came = self
            .trace
            .requests("BYE")
            .filter(|bye| bye.to.ip() == here && !self.crosses_an_end(bye))
            .filter_map(|bye| Some((self.trace.arrival(bye)?, bye)))
            .filter(|(arrival, _)| *arrival >= answered);
        let came: Vec<_> = came.collect();
        match came.iter().any(|(arrival, _)| *arrival < gone) {
            true => came,
            false => Vec::new(),
        }
    }

    /// HST-01, HST-02: the store is asked once, and the served client alone is told of it.
    fn check_history(&self, at: usize, found: &mut Vec<String>) {
        let function = &self.functions[at];
        // It is told anew of what a modification added, and asked for the history once, at the end.
        let is_begin = |ask: &Ask| matches!(ask, Ask::Begin(_));
        let is_due = self.plan.functions[at].store.is_some();
        let fine = match function.asked.as_slice() {
            [] => !is_due || self.answered(at).is_none(),
            [first, more @ .., Ask::Finish { .. }] => {
                is_due && is_begin(first) && more.iter().all(is_begin)
            }
            _ => false,
        };
        if !fine {
            found.push(format!(
                "the store of function {at} was asked {:?}",
                function.asked
            ));
        }
        let told = function.told.iter().find(|(_, told)| told.uid.is_ok());
        let told = told.map(|(when, _)| *when - self.begun);
        for entry in self.trace.sent_by(FUNCTIONS[at]) {
            if entry.header("Message-UID").is_empty() {
                continue;
            }
            let ends = entry.method() == "BYE" || entry.is_final_of("BYE");
            if !ends || entry.to.ip() != PARTIES[at] || told.is_none_or(|told| told > entry.at) {
                found.push(format!("no Message-UID belongs here: {entry}"));
            }
        }
        self.check_uid(at, found);
    }

    /// A store that answers at once is waited for: the client learns of its history.
    fn check_uid(&self, at: usize, found: &mut Vec<String>) {
        let function = self.plan.functions[at];
        let is_prompt = function.store.is_some_and(|store| {
            !store.fails
                && store
                    .takes
                    .is_some_and(|takes| takes < Duration::from_millis(100))
        });
        let Some(answered) = self.answered(at).filter(|_| is_prompt) else {
            return;
        };
        let [(_, bye)] = self.incoming_byes(FUNCTIONS[at], answered)[..] else {
            return;
        };
        let is_of_client = bye.from.ip() == PARTIES[at];
        // An immediate answer doesn't wait for the store (CON-02).
        if is_of_client && function.bye_ack == ByeAck::Immediate {
            return;
        }
        let telling = self.trace.sent_by(FUNCTIONS[at]).find(|entry| {
            let ends = match is_of_client {
                true => entry.answers(bye),
                false => entry.method() == "BYE",
            };
            entry.to.ip() == PARTIES[at] && ends
        });
        if let Some(entry) = telling.filter(|entry| entry.header("Message-UID").is_empty()) {
            found.push(format!("the history is not named: {entry}"));
        }
    }

    fn place(&self, entry: &Entry) -> Option<usize> {
        let entries = self.trace.entries.iter();
        entries
            .enumerate()
            .find(|(_, other)| std::ptr::eq(*other, entry))
            .map(|(at, _)| at)
    }
}
