//! Bytes that pass from one connection to another within the kernel, by readiness.

use std::io;

use super::super::pipe::{Pipe, Place, Takes};
use super::super::{RxBatch, RxItem, SocketId};
use super::{Mmsg, stream_of};

impl Mmsg {
    /// Lets what comes on `from` go to `to`.
    pub(super) fn let_pass(&mut self, from: SocketId, to: SocketId) {
        let source = (from, self.slots.generation(from));
        let sink = (to, self.slots.generation(to));
        if let Some(stream) = stream_of(&mut self.slots, to) {
            stream.passage.from = Some(source);
        }
        if let Some(stream) = stream_of(&mut self.slots, from) {
            stream.passage.to = Some(sink);
        }
    }

    fn is_current(&self, place: Place) -> bool {
        self.slots.generation(place.0) == place.1
    }

    /// Passes on what waits on a busy connection, if it may and can; says whether it is done with.
    pub(super) fn pass_on(&mut self, id: SocketId, rx: &mut RxBatch) -> bool {
        let Some(stream) = stream_of(&mut self.slots, id) else {
            return false;
        };
        let (from, may) = (stream.fd(), stream.is_read() && stream.passage.is_busy);
        let Some(sink) = stream.passage.to.filter(|_| may) else {
            return false;
        };
        let is_current = self.is_current(sink);
        let takes = match stream_of(&mut self.slots, sink.0) {
            Some(stream) if is_current => stream.takes_passing(),
            _ => Takes::Never,
        };
        match takes {
            Takes::Now => {}
            Takes::Later => {
                self.hold(id);
                return true;
            }
            Takes::Never => return false,
        }
        let Some(mut pipe) = self.pipes.take() else {
            return false;
        };
        let filled = pipe.fill(from);
        let is_held = self.write_pipe(pipe, sink.0);
        let Some(slot) = self.slots.get_mut(id) else {
            return true;
        };
        let token = slot.token;
        let Some(stream) = stream_of(&mut self.slots, id) else {
            return true;
        };
        stream.passage.is_held = is_held;
        match filled {
            Ok(0) => self.far_ended(id),
            Ok(octets) => {
                stream.passage.note(octets);
                let socket = id;
                rx.items.push(RxItem::Passed {
                    socket,
                    token,
                    octets,
                });
                self.watch(id);
            }
            Err(error)
                if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted]
                    .contains(&error.kind()) => {}
            Err(_) => self.fail(id),
        }
        true
    }

    /// Doesn't read a connection before the one that its bytes go to has taken what waits there.
    fn hold(&mut self, id: SocketId) {
        if let Some(stream) = stream_of(&mut self.slots, id) {
            stream.passage.is_held = true;
            self.watch(id);
        }
    }

    /// Writes what a pipe holds to a connection; says whether some of it waits there now.
    fn write_pipe(&mut self, mut pipe: Pipe, to: SocketId) -> bool {
        let Some(stream) = stream_of(&mut self.slots, to) else {
            self.pipes.give(pipe);
            return false;
        };
        let result = pipe.empty(stream.fd());
        stream.keep(pipe, &mut self.pipes);
        let waits = stream.passage.pipe.is_some();
        if result.is_err() {
            self.fail(to);
        } else if waits {
            self.watch(to);
        }
        waits
    }

    /// Reads the connection again whose bytes go to `id`, once none wait there.
    pub(super) fn release_feeder(&mut self, id: SocketId) {
        if let Some(stream) = stream_of(&mut self.slots, id)
            && stream.is_written()
        {
            let from = stream.passage.from;
            self.release(from);
        }
    }

    /// Reads a connection again that was held.
    pub(super) fn release(&mut self, from: Option<Place>) {
        if let Some(place) = from
            && self.is_current(place)
            && let Some(stream) = stream_of(&mut self.slots, place.0)
            && stream.passage.is_held
        {
            stream.passage.is_held = false;
            self.watch(place.0);
        }
    }
}
