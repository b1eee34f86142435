//! The sans-IO heart: SIP, worker events and time in; messages and orders out.
