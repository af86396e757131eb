//! The error every room returns: a kind for callers, a sentence for people, a hint and a source; it never prints itself.

use std::fmt;

/// What a caller can act on. The native command line maps each kind to one exit code (see README).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input text (argument, config line, name) is not valid.
    Usage,
    /// The named object does not exist.
    NotFound,
    /// The object exists already, or is not what the plan saw.
    Conflict,
    /// Somebody else works on the object right now.
    Busy,
    /// The action destroys something and was not confirmed.
    NeedsConfirmation,
    /// No room on the device, or a table is full.
    NoSpace,
    /// The storage cannot be reached.
    Offline,
    /// Bytes on disk contradict themselves.
    Integrity,
    /// The object cannot do this at all.
    Unsupported,
    /// Everything else.
    Failed,
}

impl ErrorKind {
    /// Exit code of the native commands (documented in README).
    pub fn exit_code(self) -> i32 {
        match self {
            ErrorKind::Usage => 2,
            ErrorKind::Busy => 5,
            ErrorKind::NeedsConfirmation => 6,
            ErrorKind::NotFound => 7,
            ErrorKind::Conflict => 8,
            ErrorKind::NoSpace => 9,
            ErrorKind::Offline => 10,
            ErrorKind::Integrity => 11,
            ErrorKind::Unsupported | ErrorKind::Failed => 1,
        }
    }
}

/// One failure. `Display` prints the sentence only; `hint` and `source` are printed by the command line on lines of their own.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `message` is one sentence, lower case unless scripts match another spelling, naming the object.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }
    }
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Busy, message)
    }
    pub fn integrity(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Integrity, message)
    }
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }
    /// A failed system call on a named object; the kind follows the errno.
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::AlreadyExists => ErrorKind::Conflict,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::NoSpace,
            Io::StaleNetworkFileHandle | Io::HostUnreachable => ErrorKind::Offline,
            Io::ResourceBusy | Io::WouldBlock => ErrorKind::Busy,
            _ => ErrorKind::Failed,
        };
        Error {
            kind,
            message: message.into(),
            hint: None,
            source: Some(Box::new(source)),
        }
    }
    /// The exact next command or action that helps.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
    pub fn message(&self) -> &str {
        &self.message
    }
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
    /// The sentence and every source behind it, joined with `: `.
    pub fn full_text(&self) -> String {
        let mut text = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|e| e as &(dyn std::error::Error + 'static))
    }
}
