//! Negotiated SDP to plan.
