//! Subscriptions to users' registration information (RFC 6665, RFC 3680).
//!
//! ```text
//! Waiting ──▶ Asking ── 2xx ──▶ Active ── refreshed before it expires ─▶ Active
//!    ▲           │ 403 and the like ──▶ Refused                            │
//!    └── later ──┴── other failures, NOTIFY terminated ◀───────────────────┘
//! ```

use std::time::{Duration, Instant};

use super::requests::Next;
use super::session::DialogKey;
use super::{Engine, Output, Purpose};
use crate::cpm::devices::UserId;
use crate::cpm::passing;
use crate::cpm::reginfo::RegInfo;
use crate::sip::{ClientKey, Dialog, Flow, Message, Method, Name, ServerKey, Text};

/// A subscription to a user's registration information.
pub(super) struct Subscription {
    /// Whom it is for: the Request-URI (REG-08).
    address: String,
    /// Where the core told of the user from.
    flow: Option<Flow>,
    call_id: Text,
    local_tag: Text,
    pub state: State,
    /// Attempts that failed, one after the other.
    failed: u32,
    /// What the notifier wants at least, in seconds.
    expires_s_min: u32,
    /// The last document's version.
    version: Option<u32>,
}

/// Where a subscription is in its life.
pub(super) enum State {
    /// It is asked for then.
    Waiting(Instant),
    /// Its SUBSCRIBE has no final response.
    Asking(ClientKey),
    /// It lasts.
    Active {
        dialog: Box<Dialog>,
        refresh_at: Instant,
        refreshing: Option<ClientKey>,
    },
    /// The core doesn't want it: what REGISTERs say is all there is (REG-09).
    Refused,
}

impl Subscription {
    /// One that is asked for then.
    pub(super) fn due(address: &str, at: Instant) -> Self {
        Self {
            address: address.to_owned(),
            flow: None,
            call_id: Text::default(),
            local_tag: Text::default(),
            state: State::Waiting(at),
            failed: 0,
            expires_s_min: 0,
            version: None,
        }
    }

    /// The same, by way of whoever told of the user.
    pub(super) fn over(mut self, flow: Flow) -> Self {
        self.flow = Some(flow);
        self
    }

    pub(super) fn key(&self) -> DialogKey {
        DialogKey {
            call_id: self.call_id.clone(),
            local_tag: self.local_tag.clone(),
        }
    }

    pub(super) fn is_due_at(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(at) => Some(*at),
            State::Active {
                refresh_at,
                refreshing: None,
                ..
            } => Some(*refresh_at),
            State::Asking(_) | State::Active { .. } | State::Refused => None,
        }
    }

    /// Whether news of the user may come over it.
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.state, State::Asking(_) | State::Active { .. })
    }
}

impl Engine {
    /// Asks for a user's subscription.
    pub(super) fn subscribe(&mut self, user: UserId) {
        let Some(mut subscription) = self.drop_subscription(user) else {
            return;
        };
        subscription.call_id = self.tx.new_call_id();
        subscription.local_tag = self.tx.new_tag();
        subscription.version = None;
        match self.send_subscribe(user, &subscription) {
            Some(client) => {
                subscription.state = State::Asking(client);
                self.registrar.dialogs.insert(subscription.key(), user);
            }
            None => self.wait(&mut subscription, None),
        }
        self.keep(user, subscription);
    }

    fn keep(&mut self, user: UserId, subscription: Subscription) {
        if let Some(watch) = self.registrar.watched.get_mut(&user) {
            watch.subscription = Some(subscription);
        }
    }

    /// Sends a SUBSCRIBE that makes a dialog; `None` where there is no way to its notifier now.
    fn send_subscribe(&mut self, user: UserId, subscription: &Subscription) -> Option<ClientKey> {
        let mut request = Message::request(Method::Subscribe, subscription.address.clone());
        let flow = self.flow_to_notifier(&request, subscription.flow)?;
        let own = passing::own_contact(flow.local, flow.protocol, None);
        let headers = &mut request.headers;
        headers.push(Name::MaxForwards, "70");
        headers.push(Name::From, format!("{own};tag={}", subscription.local_tag));
        headers.push(Name::To, format!("<{}>", subscription.address));
        headers.push(Name::CallId, subscription.call_id.clone());
        headers.push(Name::CSeq, "1 SUBSCRIBE");
        headers.push(Name::PAssertedIdentity, own);
        self.complete_subscribe(&mut request, flow, subscription.expires_s_min);
        let client = self.tx.request(self.now, request, flow).ok()?;
        self.clients.insert(client, Purpose::Subscribe(user));
        Some(client)
    }

    fn complete_subscribe(&self, request: &mut Message, flow: Flow, expires_s_min: u32) {
        let settings = self.settings.registration.as_ref();
        let expires = settings.map_or(Duration::ZERO, |settings| settings.expires);
        let expires_s = expires.as_secs().max(u64::from(expires_s_min));
        let own = passing::own_contact(flow.local, flow.protocol, None);
        let headers = &mut request.headers;
        headers.push(Name::Contact, own);
        headers.push(Name::Event, "reg");
        headers.push(Name::Accept, "application/reginfo+xml");
        headers.push(Name::Expires, expires_s.to_string());
        self.server_header(request, Name::UserAgent);
    }

    /// The configured next hop, else whoever told of the user, else the way to the address.
    fn flow_to_notifier(&mut self, request: &Message, told: Option<Flow>) -> Option<Flow> {
        if let Some(told) = told
            && self.settings.next_hop.is_none()
        {
            return Some(told);
        }
        let (protocol, local) = *self.settings.listen.first()?;
        let from = Flow {
            protocol,
            local,
            remote: local,
            connection: 0,
        };
        match self.next(request, from) {
            Next::To(flow) => Some(flow),
            Next::Lookup(host) => {
                self.outputs.push_back(Output::Resolve(host));
                None
            }
            Next::Refuse(..) => None,
        }
    }

    /// A subscription is asked for later: twice as late after each failure.
    fn wait(&self, subscription: &mut Subscription, retry_after: Option<Duration>) {
        let Some(settings) = &self.settings.registration else {
            return;
        };
        let doubled = settings
            .retry
            .saturating_mul(1 << subscription.failed.min(BACK_OFFS));
        let wait = doubled.min(settings.retry_max);
        // Not all users at the same moment: a notifier that starts anew has ended them all at once.
        let tag = subscription.local_tag.bytes();
        let spread = tag.fold(0_u32, |sum, byte| sum + u32::from(byte)) % 64;
        let wait = wait + wait * spread / 256;
        subscription.failed = subscription.failed.saturating_add(1);
        subscription.state = State::Waiting(self.now + wait.max(retry_after.unwrap_or_default()));
    }

    pub(super) fn on_subscription_due(&mut self, user: UserId) {
        let is_wanted = self.is_wanted(user);
        let Some(watch) = self.registrar.watched.get_mut(&user) else {
            return;
        };
        match watch.subscription.as_mut().map(|one| &mut one.state) {
            Some(State::Waiting(_)) if is_wanted => self.subscribe(user),
            Some(State::Active { .. }) if is_wanted => self.refresh_subscription(user),
            Some(State::Waiting(_)) => {
                self.drop_subscription(user);
            }
            Some(State::Active { .. }) => {
                if let Some(subscription) = self.drop_subscription(user) {
                    self.unsubscribe(subscription);
                }
            }
            Some(State::Asking(_) | State::Refused) | None => {}
        }
    }

    /// Sends a SUBSCRIBE in its dialog, for its full state and more time.
    fn refresh_subscription(&mut self, user: UserId) {
        let Some(mut subscription) = self.registrar.take(user) else {
            return;
        };
        let expires_s_min = subscription.expires_s_min;
        let mut is_sent = true;
        if let State::Active {
            dialog,
            refreshing: refreshing @ None,
            ..
        } = &mut subscription.state
        {
            let mut request = dialog.request(Method::Subscribe);
            let routed = !dialog.route_set.is_empty();
            let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
            self.complete_subscribe(&mut request, flow, expires_s_min);
            *refreshing = self.tx.request(self.now, request, flow).ok();
            match *refreshing {
                Some(client) => {
                    self.clients.insert(client, Purpose::Subscribe(user));
                }
                None => is_sent = false,
            }
        }
        if !is_sent {
            self.registrar.dialogs.remove(&subscription.key());
            self.wait(&mut subscription, None);
        }
        self.keep(user, subscription);
    }

    /// Ends a subscription that nobody wants any more.
    pub(super) fn unsubscribe(&mut self, subscription: Subscription) {
        self.registrar.dialogs.remove(&subscription.key());
        match subscription.state {
            State::Active {
                mut dialog,
                refreshing,
                ..
            } => {
                if let Some(client) = refreshing {
                    self.clients.remove(&client);
                }
                let mut request = dialog.request(Method::Subscribe);
                let routed = !dialog.route_set.is_empty();
                let flow = self.flow_in_dialog(dialog.next_hop(), dialog.flow, routed);
                request.headers.push(Name::Event, "reg");
                request.headers.push(Name::Expires, "0");
                let own = passing::own_contact(flow.local, flow.protocol, None);
                request.headers.push(Name::Contact, own);
                if let Ok(client) = self.tx.request(self.now, request, flow) {
                    self.clients.insert(client, Purpose::Orphan);
                }
            }
            State::Asking(client) => {
                self.clients.remove(&client);
            }
            State::Waiting(_) | State::Refused => {}
        }
    }

    /// A SUBSCRIBE's final response, or none in time.
    pub(super) fn on_subscribe_final(
        &mut self,
        user: UserId,
        client: ClientKey,
        response: Option<&Message>,
    ) {
        let Some(mut subscription) = self.registrar.take(user) else {
            return;
        };
        let is_ours = match &subscription.state {
            State::Asking(asked) => *asked == client,
            State::Active { refreshing, .. } => *refreshing == Some(client),
            State::Waiting(_) | State::Refused => false,
        };
        if is_ours {
            self.settle_subscription(&mut subscription, client, response);
        }
        self.keep(user, subscription);
        self.settle_user(user);
    }

    fn settle_subscription(
        &mut self,
        subscription: &mut Subscription,
        client: ClientKey,
        response: Option<&Message>,
    ) {
        let code = response.and_then(Message::code).unwrap_or(408);
        if let Some(response) = response.filter(|_| (200..300).contains(&code)) {
            self.grant(subscription, client, response);
            return;
        }
        self.registrar.dialogs.remove(&subscription.key());
        if is_final_refusal(code) {
            self.counters.subscriptions_refused += 1;
            tracing::info!(
                code,
                "a subscription to registration information was refused"
            );
            subscription.state = State::Refused;
            return;
        }
        let seconds = |name| {
            let value = response.and_then(|response| response.headers.get(name));
            value.and_then(|value| value.trim().parse::<u32>().ok())
        };
        if let Some(least) = seconds(Name::MinExpires).filter(|_| code == 423) {
            subscription.expires_s_min = least;
        }
        let later = seconds(Name::RetryAfter).map(|seconds| Duration::from_secs(seconds.into()));
        self.wait(subscription, later.map(|later| later.min(RETRY_AFTER_MAX)));
    }

    /// The subscription lasts, so long.
    fn grant(&mut self, subscription: &mut Subscription, client: ClientKey, response: &Message) {
        let granted = response.headers.get(Name::Expires);
        let granted = granted.and_then(|value| value.trim().parse::<u32>().ok());
        let refresh_at = self.now + refresh_in(granted.unwrap_or(3600));
        subscription.failed = 0;
        if let State::Active {
            dialog,
            refresh_at: at,
            refreshing,
        } = &mut subscription.state
        {
            dialog.refresh_target(response);
            (*at, *refreshing) = (refresh_at, None);
            return;
        }
        let sent = self.tx.invite_of(client);
        let flow = self.tx.flow_of(client);
        let dialog = sent
            .zip(flow)
            .and_then(|(sent, flow)| Dialog::uac(sent, response, flow).ok());
        match dialog {
            Some(dialog) => {
                subscription.state = State::Active {
                    dialog: Box::new(dialog),
                    refresh_at,
                    refreshing: None,
                };
            }
            None => {
                self.registrar.dialogs.remove(&subscription.key());
                self.wait(subscription, None);
            }
        }
    }

    /// A NOTIFY of one of the relay's subscriptions.
    pub(super) fn on_notify(&mut self, user: UserId, key: ServerKey, request: &Message) {
        let Some(mut subscription) = self.registrar.take(user) else {
            self.reply(key, request, 481, "Subscription Does Not Exist");
            return;
        };
        let refusal = refusal(&mut subscription, request);
        if let Some((code, reason)) = refusal {
            self.keep(user, subscription);
            self.reply(key, request, code, reason);
            return;
        }
        let info = if request.body.is_empty() {
            Ok(None)
        } else {
            RegInfo::parse(&request.body).map(Some)
        };
        match &info {
            Ok(_) => self.reply(key, request, 200, "OK"),
            Err(error) => {
                self.counters.reginfo_unreadable += 1;
                tracing::info!(%error, "registration information can't be read");
                self.reply(key, request, 400, "Bad Request");
            }
        }
        let is_current = info.as_ref().ok().and_then(Option::as_ref).map(|info| {
            let last = subscription.version;
            let is_new = last.is_none_or(|last| info.version > last);
            let follows = last.is_some_and(|last| last.checked_add(1) == Some(info.version));
            (is_new && (info.is_full || follows), is_new)
        });
        if let (Ok(Some(info)), Some((true, _))) = (&info, is_current) {
            subscription.version = Some(info.version);
        }
        let is_gap = info.is_err() || is_current == Some((false, true));
        let ends = self.note_state(&mut subscription, request);
        self.keep(user, subscription);
        let mut user = user;
        if let (Ok(Some(info)), Some((true, _))) = (&info, is_current) {
            user = self.take_reginfo(user, info);
        }
        if is_gap && !ends {
            // RFC 3680 §5.1: documents were lost, so the full state is asked for.
            self.refresh_subscription(user);
        }
        self.settle_user(user);
    }

    fn take_reginfo(&mut self, user: UserId, info: &RegInfo) -> UserId {
        let (stays, gone) = self.registrar.devices.apply(user, info, self.now);
        if stays != user {
            // The older record goes on, with its own subscription if it has one.
            let moved = self.registrar.take(user);
            let watch = self.registrar.watched.entry(stays).or_default();
            match (&watch.subscription, moved) {
                (None, Some(moved)) => {
                    let address = moved.address.clone();
                    watch.subscription = Some(Subscription::due(&address, self.now));
                    self.unsubscribe(moved);
                }
                (Some(_), Some(moved)) => self.unsubscribe(moved),
                (_, None) => {}
            }
        }
        for one in gone {
            self.end_merged(Some(one));
        }
        self.note_full();
        stays
    }

    /// Takes the subscription's state that a NOTIFY tells; says whether it has ended.
    fn note_state(&mut self, subscription: &mut Subscription, notify: &Message) -> bool {
        let value = notify.headers.get(Name::SubscriptionState);
        let value = value.unwrap_or("active");
        let (state, params) = value.split_once(';').unwrap_or((value, ""));
        let param = |wanted: &str| {
            params.split(';').find_map(|param| {
                let (name, value) = param.split_once('=')?;
                name.trim()
                    .eq_ignore_ascii_case(wanted)
                    .then(|| value.trim())
            })
        };
        let seconds = |wanted| param(wanted).and_then(|value| value.parse::<u32>().ok());
        if !state.trim().eq_ignore_ascii_case("terminated") {
            if let (State::Active { refresh_at, .. }, Some(left)) =
                (&mut subscription.state, seconds("expires"))
            {
                *refresh_at = self.now + refresh_in(left);
            }
            return false;
        }
        self.registrar.dialogs.remove(&subscription.key());
        if let State::Asking(client)
        | State::Active {
            refreshing: Some(client),
            ..
        } = &subscription.state
        {
            self.clients.remove(client);
        }
        if param("reason").is_some_and(|reason| reason.eq_ignore_ascii_case("rejected")) {
            self.counters.subscriptions_refused += 1;
            subscription.state = State::Refused;
        } else {
            let later = seconds("retry-after").map(|after| Duration::from_secs(after.into()));
            self.wait(subscription, later.map(|later| later.min(RETRY_AFTER_MAX)));
        }
        true
    }
}

/// Why a NOTIFY isn't taken, if it isn't.
fn refusal(subscription: &mut Subscription, request: &Message) -> Option<(u16, &'static str)> {
    let event = request.headers.get(Name::Event).unwrap_or_default();
    let event = event.split(';').next().unwrap_or_default().trim();
    if !event.eq_ignore_ascii_case("reg") {
        return Some((489, "Bad Event"));
    }
    // RFC 6665 §4.1.2.4: one notifier of several that a SUBSCRIBE may have reached is enough.
    match &mut subscription.state {
        State::Active { dialog, .. } if !dialog.matches(request) => {
            Some((481, "Subscription Does Not Exist"))
        }
        State::Active { dialog, .. } => {
            let is_late = dialog.check_seq(request).is_err();
            dialog.refresh_target(request);
            is_late.then_some((500, "Server Internal Error"))
        }
        State::Asking(_) => None,
        State::Waiting(_) | State::Refused => Some((481, "Subscription Does Not Exist")),
    }
}

/// Whether asking again later is of no use.
fn is_final_refusal(code: u16) -> bool {
    matches!(
        code,
        401 | 403 | 404 | 405 | 407 | 410 | 416 | 420 | 484 | 485 | 489 | 501 | 600..=699
    )
}

/// When to refresh what lasts so many seconds (3GPP TS 24.229 §5.7.1.1: 600 s before, or half).
fn refresh_in(expires_s: u32) -> Duration {
    let seconds = if expires_s > 1200 {
        expires_s.min(YEAR_S) - 600
    } else {
        expires_s / 2
    };
    Duration::from_secs(u64::from(seconds.max(1)))
}

/// Doublings of the time between two attempts.
const BACK_OFFS: u32 = 16;
/// The longest time that a notifier is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
const YEAR_S: u32 = 365 * 24 * 3600;
