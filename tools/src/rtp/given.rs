//! A relay that runs already: its ports were set up by whoever started it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::host;
use super::subject::{Order, Place};
use crate::contender::Running;

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// The first of its ports.
    first: SocketAddr,
    /// The generator's address, as the relay knows it.
    own: Ipv4Addr,
    /// Its process.
    process: u32,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut parts = text.split(',');
            let given = Self {
                first: parts.next()?.parse().ok()?,
                own: parts.next()?.parse().ok()?,
                process: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(given)
        };
        read().ok_or_else(|| {
            format!("{text}: expected FIRST,OWN,PROCESS as 127.0.0.1:20000,127.0.0.2,4711")
        })
    }
}

impl Given {
    /// The addresses of the run.
    ///
    /// # Errors
    ///
    /// The relay's is an IPv6 one.
    pub fn place(self) -> Result<Place, String> {
        match self.first.ip() {
            IpAddr::V4(relay) => Ok(Place {
                relay,
                generator: self.own,
            }),
            IpAddr::V6(relay) => Err(format!("{relay}: the load speaks IPv4")),
        }
    }

    fn end(self, number: usize) -> Result<SocketAddr, String> {
        let port = usize::from(self.first.port()) + 2 * number;
        let port = u16::try_from(port).map_err(|_| format!("no port is left for end {number}"))?;
        Ok(SocketAddr::new(self.first.ip(), port))
    }
}

/// Takes the ports as they are given; also the process's memory now, in KiB.
///
/// # Errors
///
/// No ports were given, or not enough.
pub fn start(order: &Order<'_>) -> Result<(Box<dyn Running>, u64), String> {
    let given = order.given.ok_or("--target given needs --ports")?;
    for (number, leg) in order.legs.iter().enumerate() {
        leg.connect(given.end(number)?)?;
    }
    let before = host::resident_kib(given.process);
    Ok((Box::new(given), before))
}

impl Running for Given {
    fn id(&self) -> u32 {
        self.process
    }

    /// It was here before, and stays.
    fn end(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Given;

    #[test]
    fn ports_are_counted_from_the_first_one() {
        let given: Given = "127.0.0.1:20000,127.0.0.2,4711".parse().unwrap();
        assert_eq!(given.end(3).unwrap().port(), 20_006);
        assert_eq!(given.process, 4711);
        assert!(given.end(30_000).is_err());
    }

    #[test]
    fn what_is_missing_is_shown_by_an_example() {
        let error = "127.0.0.1:20000".parse::<Given>().unwrap_err();
        assert!(error.contains("127.0.0.1:20000,127.0.0.2,4711"), "{error}");
    }
}
