//! The system calls that the backends share: sockets and their options, eventfd, pinning, limits.
#![expect(unsafe_code, reason = "system calls")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A counter that can be waited for (eventfd(2)), non-blocking.
#[derive(Debug)]
pub struct EventFd(File);

impl EventFd {
    /// Makes one, at zero.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor, so nobody else owns it.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// Makes it readable.
    pub fn signal(&self) {
        use std::io::Write;
        // A full counter is readable already, which is all that is wanted.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Makes it unreadable, and says how many signals that took back.
    pub fn clear(&self) -> u64 {
        use std::io::Read;
        let mut count = [0; 8];
        match (&self.0).read_exact(&mut count) {
            Ok(()) => u64::from_ne_bytes(count),
            // An empty counter would block: it is clear already.
            Err(_) => 0,
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Makes this thread run on one core only.
///
/// # Errors
///
/// When the core does not exist or may not be used.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: a cpu_set_t is an array of integers, for which zeros are a value.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    if core >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the core was just checked to be within the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the kernel reads the set, which outlives the call; 0 is this thread.
    let done = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Raises how many descriptors this process may open as far as it is allowed to, and says how
/// many that is.
pub fn raise_descriptor_limit() -> u64 {
    let Ok(now) = descriptor_limit() else {
        return 0;
    };
    // Only root may raise the hard limit; anybody may raise the soft one up to it.
    let wanted = [now.rlim_max.max(DESCRIPTORS_WANTED), now.rlim_max];
    for most in wanted {
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: the kernel reads the limit, which outlives the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
            return most;
        }
    }
    now.rlim_cur
}

/// How many descriptors this process may open now.
pub(super) fn descriptors_allowed() -> usize {
    descriptor_limit().map_or(0, |limit| {
        usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
    })
}

fn descriptor_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes into the limit, which is ours alone.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        Ok(limit)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has the kernel say of each datagram when it came.
pub(super) fn stamp(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads the number, which outlives the call and is as long as is said.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The time that datagrams are stamped with, since 1970.
pub(super) fn stamp_clock() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes into the timespec, which is ours alone.
    if unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) } != 0 {
        return Duration::ZERO;
    }
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// Octets of the control message that a stamp is (`SCM_TIMESTAMPNS`, socket(7)).
pub(super) const STAMP_BYTES: usize = size_of::<libc::cmsghdr>() + size_of::<libc::timespec>();

/// Reads a stamp; `None`: it is another control message, or none.
pub(super) fn read_stamp(control: &[u8]) -> Option<Duration> {
    let (head, stamp) = control.split_at_checked(size_of::<libc::cmsghdr>())?;
    let kind = head.get(head.len().checked_sub(8)?..)?;
    let [level, kind] = kind.as_chunks::<4>().0 else {
        return None;
    };
    let [seconds, nanoseconds] = stamp.as_chunks::<8>().0 else {
        return None;
    };
    let is_stamp = i32::from_ne_bytes(*level) == libc::SOL_SOCKET
        && i32::from_ne_bytes(*kind) == libc::SO_TIMESTAMPNS;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let nanoseconds = u32::try_from(i64::from_ne_bytes(*nanoseconds)).ok()?;
    is_stamp.then(|| Duration::new(seconds, nanoseconds))
}

/// How long this thread has been running on a core.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let mut spent = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes into the timespec, which is ours alone.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut spent) } != 0 {
        return Duration::ZERO;
    }
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap_or(0),
        u32::try_from(spent.tv_nsec).unwrap_or(0),
    )
}

/// Opens a UDP socket that is bound.
pub(super) fn datagram_socket(local: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel may allow less; a call's burst still fits what it allows at least.
    let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES);
    socket.bind(&local.into())?;
    Ok(socket)
}

/// Ties a datagram socket to a far end, or unties it; says whether it is tied now.
pub(super) fn tie(socket: &Socket, far: Option<SocketAddr>) -> bool {
    if let Some(far) = far {
        return socket.connect(&far.into()).is_ok();
    }
    // No family: the far end is forgotten, and the local address stays as it was bound.
    let nobody = RawAddress::EMPTY;
    // SAFETY: the kernel reads the address, which outlives the call.
    let untied = unsafe { libc::connect(socket.as_raw_fd(), nobody.as_ptr(), RAW_V4_BYTES) };
    untied != 0
}

/// Opens a TCP listener.
pub(super) fn listener(local: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(local),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&local.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket)
}

/// Opens a TCP socket to connect with; bound to the local address unless that is unspecified.
pub(super) fn stream_socket(local: IpAddr, remote: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(remote),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    if !local.is_unspecified() {
        // The port is then picked at the connect, so that one port serves many far ends.
        late_port(&socket);
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    Ok(socket)
}

fn late_port(socket: &Socket) {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads four octets of `on`, which outlives the call. A kernel without this
    // option only picks the port sooner.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            4,
        )
    };
}

/// An address as an IP socket's, for what can't be anything else.
pub(super) fn ip_address(address: &SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// An address as the kernel reads and writes it: `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct RawAddress([u8; RAW_ADDRESS_ROOM]);

impl RawAddress {
    /// One to be filled by the kernel.
    pub(super) const EMPTY: Self = Self([0; RAW_ADDRESS_ROOM]);

    /// An address, and how many octets of it count.
    pub(super) fn new(address: SocketAddr) -> (Self, libc::socklen_t) {
        let mut raw = Self::EMPTY;
        raw.0[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                raw.0[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                raw.0[4..8].copy_from_slice(&v4.ip().octets());
                (raw, RAW_V4_BYTES)
            }
            SocketAddr::V6(v6) => {
                raw.0[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                raw.0[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                raw.0[8..24].copy_from_slice(&v6.ip().octets());
                raw.0[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (raw, RAW_V6_BYTES)
            }
        }
    }

    /// The octets.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        self.0.as_ptr().cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// Reads an address that the kernel wrote.
pub(super) fn read_address(raw: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = raw.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (four, rest) = rest.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes(*port);
    match u16::from_ne_bytes(*family) {
        FAMILY_V4 => Some(SocketAddr::new(Ipv4Addr::from(*four).into(), port)),
        FAMILY_V6 => {
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            let scope = rest.first_chunk::<4>()?;
            Some(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(*ip),
                port,
                u32::from_ne_bytes(*four),
                u32::from_ne_bytes(*scope),
            )))
        }
        _ => None,
    }
}

/// Octets of the longer of the two addresses.
pub(super) const RAW_V6_BYTES: libc::socklen_t = 28;
const RAW_V4_BYTES: libc::socklen_t = 16;
const RAW_ADDRESS_ROOM: usize = 32;
const FAMILY_V4: u16 = 2;
const FAMILY_V6: u16 = 10;
const _: () = assert!(libc::AF_INET == 2 && libc::AF_INET6 == 10);
const _: () = assert!(size_of::<libc::sockaddr_in>() == 16);
const _: () = assert!(size_of::<libc::sockaddr_in6>() == 28);

/// Connections that may wait to be accepted.
const LISTEN_BACKLOG: i32 = 1024;
/// What a datagram socket may hold each way: over 100 full datagrams.
const DATAGRAM_BUFFER_BYTES: usize = 256 * 1024;
/// Descriptors for every socket that a machine's workers may open, and room to spare.
const DESCRIPTORS_WANTED: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for text in ["192.0.2.7:5004", "[2001:db8::9%3]:40000", "[::1]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let (raw, len) = RawAddress::new(address);
            let bytes = raw.bytes().get(..len as usize).unwrap();
            assert_eq!(read_address(bytes), Some(address));
        }
        assert_eq!(read_address(&[0; 28]), None);
        assert_eq!(read_address(&[2]), None);
    }

    #[test]
    fn a_thread_can_be_pinned_to_the_first_core_and_not_to_one_that_is_not_there() {
        pin_to_core(0).unwrap();
        assert!(pin_to_core(1_000_000).is_err());
        assert!(raise_descriptor_limit() >= 256);
        assert!(thread_cpu_time() > Duration::ZERO);
    }
}
