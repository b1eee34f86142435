//! Which devices of an invited user get the INVITE, and how (FRK-01, FRK-02, CON-09).

use super::Engine;
use super::branches::Target;
use super::requests::Next;
use crate::cpm::devices::Device;
use crate::cpm::forking::{self, Decision, Reach};
use crate::cpm::participating::Role;
use crate::cpm::policy::UserPolicy;
use crate::cpm::{body, identity};
use crate::sdp::Sdp;
use crate::sip::{Flow, Headers, Message, Name, StartLine, Text};

/// Where an INVITE goes.
pub(super) struct Fork {
    pub targets: Vec<Target>,
    /// Side A hears of the first device that rings, and of no other.
    pub rings_once: bool,
}

impl Fork {
    /// To where it asks to go.
    fn asked(to: Flow) -> Self {
        Self {
            targets: vec![Target::asked(to)],
            rings_once: false,
        }
    }

    /// Whether a proxy can do it: nothing is added, and nobody rings a second time.
    pub(super) fn is_plain(&self) -> bool {
        !self.rings_once
    }
}

impl Engine {
    /// Decides for an INVITE without the Routes that named us; `None`: its user has no registered
    /// device that may have it.
    ///
    /// Where nothing is known of users, and for the user who invites, it goes where it asks to.
    pub(super) fn fork(
        &self,
        role: Role,
        forward: &Message,
        policy: &UserPolicy,
        (from, to): (Flow, Flow),
    ) -> Option<Fork> {
        let (Some(settings), Role::Terminating) = (&self.settings.registration, role) else {
            return Some(Fork::asked(to));
        };
        let address = identity::called(forward).next()?;
        if self.is_registered(address) != Some(true) {
            return None;
        }
        let user = self.registrar.devices.find(address)?;
        let devices: Vec<&Device> = self.registrar.devices.of(user, self.now).collect();
        let offer = body::sdp(forward).and_then(|sdp| Sdp::parse(&sdp).ok());
        match forking::decide(offer.as_ref(), &devices, policy, settings.without_gruu) {
            Decision::Unavailable => None,
            Decision::One { reject_contact } => {
                let mut target = Target::asked(to);
                let rings_once = devices.len() > 1 || !reject_contact.is_empty();
                for value in reject_contact {
                    target.headers.push(Name::RejectContact, value);
                }
                Some(Fork {
                    targets: vec![target],
                    rings_once,
                })
            }
            Decision::Each(reaches) => {
                let is_one_of_several = reaches.len() > 1;
                let targets = reaches.into_iter();
                let targets = targets.map(|reach| Target {
                    is_one_of_several,
                    ..self.target(reach, forward, (from, to))
                });
                Some(Fork {
                    targets: targets.collect(),
                    rings_once: true,
                })
            }
        }
    }

    fn target(&self, reach: Reach, forward: &Message, (from, to): (Flow, Flow)) -> Target {
        let mut headers = Headers::default();
        if let Some(value) = reach.accept_contact {
            headers.push(Name::AcceptContact, value);
        }
        let uri = reach.uri.map(Text::from);
        let flow = match &uri {
            Some(uri) => self.flow_to_device(uri, forward, from).unwrap_or(to),
            None => to,
        };
        Target {
            uri,
            headers,
            flow,
            is_one_of_several: false,
        }
    }

    /// The flow for the INVITE with a device's URI: another one where no Route and no configured
    /// next hop leads it.
    fn flow_to_device(&self, device: &Text, forward: &Message, from: Flow) -> Option<Flow> {
        let mut asked = forward.clone();
        if let StartLine::Request { uri, .. } = &mut asked.start {
            *uri = device.clone();
        }
        match self.next(&asked, from) {
            Next::To(flow) => Some(flow),
            Next::Lookup(_) | Next::Refuse(..) => None,
        }
    }
}
