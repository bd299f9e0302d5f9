//! A text that is never shown.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The bits that a token should at least have (R62).
const TOKEN_BITS: usize = 128;

/// A token or password: it has no text form and no wire form, and `Debug` shows stars.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes a text into keeping.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the offered text is this one, in a time that tells nothing about either.
    ///
    /// ```
    /// use a2e_core::config::Secret;
    /// let token = Secret::new("correct horse battery staple");
    /// assert!(token.matches("correct horse battery staple"));
    /// assert!(!token.matches("correct horse"));
    /// assert_eq!(format!("{token:?}"), "***");
    /// ```
    pub fn matches(&self, offered: &str) -> bool {
        TokenDigest::of(&self.0) == TokenDigest::of(offered)
    }

    /// Whether it can hardly have 128 bits: its length times what one character of the smallest
    /// usual alphabet that covers it can hold (32 hex digits, or 22 letters and digits, suffice).
    pub fn is_short(&self) -> bool {
        let all = |test: fn(char) -> bool| self.0.chars().all(test);
        let centibits = if all(|c| c.is_ascii_digit()) {
            332
        } else if all(|c| c.is_ascii_hexdigit()) {
            400
        } else if all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()) {
            517
        } else if all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            595
        } else {
            655
        };
        self.0.chars().count() * centibits < TOKEN_BITS * 100
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The digest of a token that is not kept itself. Two are compared in a time that tells nothing of either.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenDigest {}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
