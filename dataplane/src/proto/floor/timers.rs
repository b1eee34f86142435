//! What happens without anybody's asking: floors that are taken away, messages that are sent again.

use std::time::{Duration, Instant};

use super::link::Due;
use super::request::{Happening, RequestId};
use super::tell::Told;
use super::{Floor, Floors, Grant};

impl Floors {
    /// When [`Floors::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let links = self
            .members
            .iter()
            .filter_map(|member| member.link.deadline());
        let floors = self.floors.iter().enumerate();
        let floors = floors.filter_map(|(place, floor)| {
            let is_wanted = self.is_wanted(place);
            let grants = floor.grants.iter();
            grants
                .filter_map(|grant| until(floor, grant, is_wanted))
                .min()
        });
        links.chain(floors).min()
    }

    /// Revokes floors whose time is up and sends again what wasn't acknowledged.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut revoked: Vec<RequestId> = Vec::new();
        for (place, floor) in self.floors.iter().enumerate() {
            let is_wanted = self.is_wanted(place);
            let due = floor
                .grants
                .iter()
                .filter(|grant| until(floor, grant, is_wanted).is_some_and(|until| until <= now));
            revoked.extend(due.map(|grant| grant.request));
        }
        let is_any = !revoked.is_empty();
        for request in revoked {
            self.end(request, Happening::Revoke, Told::default());
        }
        if is_any {
            self.settle(now);
        }
        for place in 0..self.members.len() {
            let Some(member) = self.members.get_mut(place) else {
                break;
            };
            match member.link.handle_timeout(now) {
                Due::Nothing => {}
                Due::Again(message) => self.resend(place, &message),
                Due::Lost => {
                    self.counts.lost += 1;
                    self.part(place, now);
                }
            }
        }
    }

    /// Whether a request waits for a floor.
    fn is_wanted(&self, floor: usize) -> bool {
        let mut waiting = self.queue.iter().filter_map(|id| self.request(*id));
        waiting.any(|request| request.floors.contains(floor))
    }
}

/// When a holder loses a floor.
fn until(floor: &Floor, grant: &Grant, is_wanted: bool) -> Option<Instant> {
    let after = |since: Instant, ms: u32| {
        let time = Duration::from_millis(u64::from(ms));
        (ms > 0).then(|| since + time)
    };
    let silent = after(grant.heard, floor.rule.silence_ms);
    let held = after(grant.since, floor.rule.held_max_ms).filter(|_| is_wanted);
    [silent, held].into_iter().flatten().min()
}
