//! Settings of interworking: which services there are outside of CPM, and what leads to them.

use serde::Deserialize;

use super::StreamKind;
use super::values;

/// Interworking.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Interworking {
    /// The Route to an external Interworking Selection Function; `None`: the relay selects itself.
    #[serde(deserialize_with = "values::unless_empty")]
    pub isf: Option<String>,
    /// The Interworking Functions that the relay selects from.
    pub iwf: Vec<Iwf>,
    /// Responses that say that the far network knows no CPM.
    pub no_cpm_codes: Vec<u16>,
    /// Responses that say that there is no SIP/IP core.
    pub no_core_codes: Vec<u16>,
    /// Schemes of addresses that can't be routed in SIP.
    pub unroutable_schemes: Vec<String>,
}

impl Default for Interworking {
    fn default() -> Self {
        Self {
            isf: None,
            iwf: Vec::new(),
            no_cpm_codes: vec![420, 488, 501, 606],
            no_core_codes: vec![404, 478, 503],
            unroutable_schemes: vec!["wv".to_owned(), "mailto".to_owned()],
        }
    }
}

/// An Interworking Function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iwf {
    /// What the operator calls it.
    pub name: String,
    /// The Route to it.
    pub route: String,
    /// The streams that it can carry.
    #[serde(default = "every_kind")]
    pub streams: Vec<StreamKind>,
    /// Octets of the largest file that it takes; 0: any.
    #[serde(default)]
    pub size_max: u64,
    /// Schemes of the addresses that its service knows; empty: all.
    #[serde(default)]
    pub schemes: Vec<String>,
}

fn every_kind() -> Vec<StreamKind> {
    super::Policy::default().streams
}
