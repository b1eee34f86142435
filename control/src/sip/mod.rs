//! SIP: messages, transactions, dialogs. Sans-IO.
