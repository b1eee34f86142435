//! Dialogs (RFC 3261 §12): what two sides remember of each other between requests.

use std::fmt;

use super::uri::{NameAddr, Uri};
use super::{Flow, Message, Method, Name, ParseError, Text};

/// One side's view of a dialog.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Text,
    /// The tag we gave.
    pub local_tag: Text,
    /// The tag the far side gave; empty for an RFC 2543 peer.
    pub remote_tag: Text,
    /// From of our requests, with its tag.
    pub local: Text,
    /// To of our requests, with its tag.
    pub remote: Text,
    /// CSeq number of our last request.
    pub local_seq: u32,
    /// CSeq number of the far side's last request.
    pub remote_seq: Option<u32>,
    /// Routes of our requests, in order.
    pub route_set: Vec<Text>,
    /// The far side's Contact: a URI.
    pub remote_target: Text,
    /// The way the dialog was set up on.
    pub flow: Flow,
}

/// A request came whose CSeq number is lower than the last one's (RFC 3261 §12.2.2: answer 500).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfOrder {
    /// The last number seen.
    pub last: u32,
    /// The number that came.
    pub got: u32,
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CSeq {} after {}", self.got, self.last)
    }
}

impl std::error::Error for OutOfOrder {}

impl Dialog {
    /// The dialog of a request that we answer (RFC 3261 §12.1.1).
    ///
    /// # Errors
    /// Names the header that is missing or malformed.
    pub fn uas(request: &Message, local_tag: &str, flow: Flow) -> Result<Self, ParseError> {
        let number = request
            .cseq_parts()
            .ok_or(ParseError::Malformed(Name::CSeq))?
            .0;
        let to = required(request, Name::To)?;
        let local = match request.to_tag() {
            Some(_) => to,
            None => Text::from(format!("{to};tag={local_tag}")),
        };
        Ok(Self {
            call_id: required(request, Name::CallId)?,
            local_tag: local_tag.to_owned().into(),
            remote_tag: request.from_tag().unwrap_or("").to_owned().into(),
            local,
            remote: required(request, Name::From)?,
            local_seq: 0,
            remote_seq: Some(number),
            route_set: routes(request).collect(),
            remote_target: contact(request)?,
            flow,
        })
    }

    /// The dialog of a request that was answered to us (RFC 3261 §12.1.2).
    ///
    /// # Errors
    /// Names the header that is missing or malformed.
    pub fn uac(request: &Message, response: &Message, flow: Flow) -> Result<Self, ParseError> {
        let number = request
            .cseq_parts()
            .ok_or(ParseError::Malformed(Name::CSeq))?
            .0;
        let mut route_set: Vec<Text> = routes(response).collect();
        route_set.reverse();
        Ok(Self {
            call_id: required(request, Name::CallId)?,
            local_tag: request.from_tag().unwrap_or("").to_owned().into(),
            remote_tag: response.to_tag().unwrap_or("").to_owned().into(),
            local: required(request, Name::From)?,
            remote: required(response, Name::To)?,
            local_seq: number,
            remote_seq: None,
            route_set,
            remote_target: contact(response)?,
            flow,
        })
    }

    /// The dialog in memory of its own: what it was made from may be large, and it lasts.
    #[must_use]
    pub fn kept(mut self) -> Self {
        Text::gather(self.texts_mut());
        self
    }

    /// All its texts; those made from a message are pieces of it.
    pub fn texts_mut(&mut self) -> impl Iterator<Item = &mut Text> {
        let own = [
            &mut self.call_id,
            &mut self.local_tag,
            &mut self.remote_tag,
            &mut self.local,
            &mut self.remote,
            &mut self.remote_target,
        ];
        own.into_iter().chain(self.route_set.iter_mut())
    }

    /// Our next request in the dialog (RFC 3261 §12.2.1.1), without Via and Contact.
    pub fn request(&mut self, method: Method) -> Message {
        self.local_seq = self.local_seq.saturating_add(1);
        self.build(method, self.local_seq)
    }

    /// The ACK for the 2xx to the INVITE of that number (RFC 3261 §13.2.2.4).
    #[must_use]
    pub fn ack(&self, invite_seq: u32) -> Message {
        self.build(Method::Ack, invite_seq)
    }

    fn build(&self, method: Method, number: u32) -> Message {
        let cseq = format!("{number} {method}");
        let first = self.route_set.first();
        let strict = first.is_some_and(|route| !is_loose(route));
        let target = match first {
            Some(route) if strict => bare_uri(route),
            _ => self.remote_target.clone(),
        };
        let mut request = Message::request(method, target);
        for route in self.route_set.iter().skip(usize::from(strict)) {
            request.headers.push(Name::Route, route.clone());
        }
        if strict {
            // A strict router takes its own URI off and finds ours at the end.
            request
                .headers
                .push(Name::Route, format!("<{}>", self.remote_target));
        }
        request.headers.push(Name::MaxForwards, "70");
        request.headers.push(Name::From, self.local.clone());
        request.headers.push(Name::To, self.remote.clone());
        request.headers.push(Name::CallId, self.call_id.clone());
        request.headers.push(Name::CSeq, cseq);
        request
    }

    /// Whether a message that came belongs to the dialog.
    #[must_use]
    pub fn matches(&self, message: &Message) -> bool {
        let (ours, theirs) = if message.is_request() {
            (message.to_tag(), message.from_tag())
        } else {
            (message.from_tag(), message.to_tag())
        };
        message.call_id() == self.call_id.as_str()
            && ours.unwrap_or("") == self.local_tag.as_str()
            && theirs.unwrap_or("") == self.remote_tag.as_str()
    }

    /// Takes note of the number of a request that came (RFC 3261 §12.2.2). ACK and CANCEL bear the
    /// number of their INVITE and change nothing.
    ///
    /// # Errors
    /// [`OutOfOrder`] where the number went back.
    pub fn check_seq(&mut self, request: &Message) -> Result<(), OutOfOrder> {
        if matches!(request.method(), Some(Method::Ack | Method::Cancel) | None) {
            return Ok(());
        }
        let got = request.cseq_parts().map_or(0, |(number, _)| number);
        match self.remote_seq {
            Some(last) if got < last => Err(OutOfOrder { last, got }),
            _ => {
                self.remote_seq = Some(got);
                Ok(())
            }
        }
    }

    /// Gives our side another tag: an early dialog of another fork became the dialog.
    pub fn set_local_tag(&mut self, tag: &str) {
        let address = self
            .local
            .as_str()
            .rsplit_once(";tag=")
            .map_or(self.local.as_str(), |(a, _)| a);
        self.local = Text::from(format!("{address};tag={tag}"));
        self.local_tag = tag.to_owned().into();
    }

    /// Takes the Contact of a target refresh request or its 2xx (RFC 3261 §12.2) as the target.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Ok(target) = contact(message) {
            self.remote_target = Text::copied(&target);
        }
    }

    /// The URI that our requests are sent to: that of the first Route, else the target.
    #[must_use]
    pub fn next_hop(&self) -> &str {
        let first = self.route_set.first();
        match first.and_then(|route| NameAddr::parse(route.as_str()).ok()) {
            Some(route) => route.uri,
            None => &self.remote_target,
        }
    }
}

fn required(message: &Message, name: Name) -> Result<Text, ParseError> {
    message.headers.text(name).ok_or(ParseError::Missing(name))
}

fn contact(message: &Message) -> Result<Text, ParseError> {
    let value = message.headers.values(Name::Contact).next();
    let value = value.ok_or(ParseError::Missing(Name::Contact))?;
    let contact = NameAddr::parse(value).map_err(|_| ParseError::Malformed(Name::Contact))?;
    Uri::parse(contact.uri).map_err(|_| ParseError::Malformed(Name::Contact))?;
    Ok(contact.uri.to_owned().into())
}

fn routes(message: &Message) -> impl Iterator<Item = Text> {
    message
        .headers
        .values(Name::RecordRoute)
        .map(|value| value.to_owned().into())
}

fn is_loose(route: &Text) -> bool {
    NameAddr::parse(route)
        .and_then(|route| Uri::parse(route.uri))
        .is_ok_and(|uri| uri.has_param("lr"))
}

fn bare_uri(route: &Text) -> Text {
    NameAddr::parse(route).map_or_else(|_| route.clone(), |route| route.uri.to_owned().into())
}
