//! `http_get`: fetches a page from a public address, within bounds of size and time.
//!
//! Names are resolved here, every address is checked, and the connection goes to an address that was
//! checked; each redirect is treated like a new request. No cookies, no credentials, no proxies.

#[cfg(feature = "http")]
mod address;
mod config;
#[cfg(feature = "http")]
mod exchange;
#[cfg(feature = "http")]
mod network;
#[cfg(feature = "http")]
mod tool;
#[cfg(feature = "http")]
mod url;

pub use config::{HttpGetConfig, Networks};
#[cfg(feature = "http")]
pub(super) use tool::HttpProvider;
