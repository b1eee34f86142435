//! The mmsg backend.
