//! `http_get`: fetches a page from a public address, within bounds of size and time.
//!
//! Names are resolved here, every address is checked, and the connection goes to an address that was
//! checked; each redirect is treated like a new request. No cookies, no credentials, no proxies.

#[cfg(feature = "http")]
mod address;
#[cfg(feature = "http")]
mod base;
mod config;
#[cfg(feature = "http")]
mod exchange;
#[cfg(feature = "http")]
mod network;
#[cfg(feature = "http")]
mod tool;
#[cfg(feature = "http")]
mod url;

#[cfg(feature = "http")]
pub(crate) use base::{base_definitions, base_tools};
pub use config::{HttpGetConfig, Networks};
#[cfg(feature = "http")]
pub(super) use tool::HttpProvider;
