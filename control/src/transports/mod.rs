//! UDP and TCP sockets for SIP.
