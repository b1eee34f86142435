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
    pub(super) fn asked(to: Flow) -> Self {
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
        let Some(decision) = self.decide(role, forward, policy) else {
            return Some(Fork::asked(to));
        };
        match decision {
            Decision::Unavailable => None,
            Decision::One {
                reject_contact,
                several,
            } => {
                let mut target = Target::asked(to);
                let rings_once = several || !reject_contact.is_empty();
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

    /// Whether nothing that a user is registered with may have an INVITE.
    pub(super) fn is_unreachable(
        &self,
        role: Role,
        forward: &Message,
        policy: &UserPolicy,
    ) -> bool {
        self.decide(role, forward, policy) == Some(Decision::Unavailable)
    }

    /// `None` where nothing is known of users, and for the user who invites.
    fn decide(&self, role: Role, forward: &Message, policy: &UserPolicy) -> Option<Decision> {
        let settings = self.settings.registration.as_ref()?;
        if role != Role::Terminating {
            return None;
        }
        let address = identity::called(forward).next().unwrap_or_default();
        let known = self.registrar.devices.find(address);
        let Some(user) = known.filter(|_| self.is_registered(address) == Some(true)) else {
            return Some(Decision::Unavailable);
        };
        let devices: Vec<&Device> = self.registrar.devices.of(user, self.now).collect();
        let offer = body::sdp(forward).and_then(|sdp| Sdp::parse(&sdp).ok());
        let without_gruu = settings.without_gruu;
        Some(forking::decide(
            offer.as_ref(),
            &devices,
            policy,
            without_gruu,
        ))
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
