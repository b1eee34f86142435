//! The C libraries: Debian's opencore-amr and vo-amrwbenc. A frame is an octet with its type and
//! quality, then its bits (RFC 4867 §5.3), in a buffer that is long enough for every type.

#![expect(unsafe_code, reason = "the libraries are in C")]
#![expect(
    clippy::needless_pass_by_ref_mut,
    reason = "the libraries change what the pointer leads to"
)]

use std::ffi::{c_int, c_short, c_uchar, c_void};
use std::ptr::NonNull;

use super::payload::{Band, FRAME_BYTES};
use crate::codec::Unavailable;

#[link(name = "opencore-amrnb")]
unsafe extern "C" {
    fn Decoder_Interface_init() -> *mut c_void;
    fn Decoder_Interface_exit(state: *mut c_void);
    fn Decoder_Interface_Decode(
        state: *mut c_void,
        frame: *const c_uchar,
        out: *mut c_short,
        bad: c_int,
    );
    fn Encoder_Interface_init(dtx: c_int) -> *mut c_void;
    fn Encoder_Interface_exit(state: *mut c_void);
    fn Encoder_Interface_Encode(
        state: *mut c_void,
        mode: c_int,
        samples: *const c_short,
        frame: *mut c_uchar,
        force_speech: c_int,
    ) -> c_int;
}

#[link(name = "opencore-amrwb")]
unsafe extern "C" {
    fn D_IF_init() -> *mut c_void;
    fn D_IF_exit(state: *mut c_void);
    fn D_IF_decode(state: *mut c_void, frame: *const c_uchar, out: *mut c_short, bad: c_int);
}

#[link(name = "vo-amrwbenc")]
unsafe extern "C" {
    fn E_IF_init() -> *mut c_void;
    fn E_IF_exit(state: *mut c_void);
    fn E_IF_encode(
        state: *mut c_void,
        mode: c_int,
        samples: *const c_short,
        frame: *mut c_uchar,
        dtx: c_int,
    ) -> c_int;
}

/// A state of one of the libraries: made by one function and ended by another.
macro_rules! state {
    ($name:ident, $init:expr, $exit:ident) => {
        #[derive(Debug)]
        pub(super) struct $name(NonNull<c_void>);

        // SAFETY: a state is a block of memory of its own; the libraries keep nothing per thread.
        unsafe impl Send for $name {}

        impl $name {
            pub(super) fn new() -> Result<Self, Unavailable> {
                // SAFETY: takes no pointer; answers with a state or, without memory, with null.
                let state = unsafe { $init };
                NonNull::new(state).map(Self).ok_or(Unavailable)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the state is `new`'s and isn't used after this.
                unsafe { $exit(self.0.as_ptr()) }
            }
        }
    };
}

state!(
    NarrowDecoder,
    Decoder_Interface_init(),
    Decoder_Interface_exit
);
state!(
    NarrowEncoder,
    Encoder_Interface_init(0),
    Encoder_Interface_exit
);
state!(WideDecoder, D_IF_init(), D_IF_exit);
state!(WideEncoder, E_IF_init(), E_IF_exit);

impl NarrowDecoder {
    /// Decodes a frame to 160 samples.
    pub(super) fn decode(&mut self, frame: &[u8; FRAME_BYTES], out: &mut [i16]) {
        if out.len() < Band::Narrow.samples() {
            return;
        }
        let (state, frame, out) = (self.0.as_ptr(), frame.as_ptr(), out.as_mut_ptr());
        // SAFETY: the library reads at most 32 octets of the frame and writes 160 samples.
        unsafe { Decoder_Interface_Decode(state, frame, out, 0) }
    }
}

impl WideDecoder {
    /// Decodes a frame to 320 samples.
    pub(super) fn decode(&mut self, frame: &[u8; FRAME_BYTES], out: &mut [i16]) {
        if out.len() < Band::Wide.samples() {
            return;
        }
        let (state, frame, out) = (self.0.as_ptr(), frame.as_ptr(), out.as_mut_ptr());
        // SAFETY: the library reads at most 61 octets of the frame and writes 320 samples.
        unsafe { D_IF_decode(state, frame, out, 0) }
    }
}

impl NarrowEncoder {
    /// Encodes 160 samples; modes 0 to 7.
    pub(super) fn encode(&mut self, mode: u8, samples: &[i16], frame: &mut [u8; FRAME_BYTES]) {
        if samples.len() < Band::Narrow.samples() {
            return;
        }
        let (state, samples, frame) = (self.0.as_ptr(), samples.as_ptr(), frame.as_mut_ptr());
        // SAFETY: the library reads 160 samples and writes at most 32 octets.
        unsafe { Encoder_Interface_Encode(state, c_int::from(mode), samples, frame, 0) };
    }
}

impl WideEncoder {
    /// Encodes 320 samples; modes 0 to 8.
    pub(super) fn encode(&mut self, mode: u8, samples: &[i16], frame: &mut [u8; FRAME_BYTES]) {
        if samples.len() < Band::Wide.samples() {
            return;
        }
        let (state, samples, frame) = (self.0.as_ptr(), samples.as_ptr(), frame.as_mut_ptr());
        // SAFETY: the library reads 320 samples and writes at most 61 octets.
        unsafe { E_IF_encode(state, c_int::from(mode), samples, frame, 0) };
    }
}
