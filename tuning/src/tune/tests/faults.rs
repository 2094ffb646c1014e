//! Files that fail on purpose.

use std::cell::{Cell, RefCell};
use std::io;

use crate::files::{Below, Files};

/// Files with a plan of failures and a log of changes.
pub struct Faulty {
    inner: Below,
    /// Changes left until everything fails.
    left: Cell<usize>,
    crashed: Cell<bool>,
    /// Paths with this part fail so.
    refused: Option<(String, i32)>,
    log: RefCell<Vec<String>>,
}

impl Faulty {
    fn new(inner: Below) -> Self {
        Faulty {
            inner,
            left: Cell::new(usize::MAX),
            crashed: Cell::new(false),
            refused: None,
            log: RefCell::new(Vec::new()),
        }
    }

    /// The machine stops in the middle of change `step` and nothing works after it.
    pub fn crashing(inner: Below, step: usize) -> Self {
        let files = Faulty::new(inner);
        files.left.set(step);
        files
    }

    pub fn recording(inner: Below) -> Self {
        Faulty::new(inner)
    }

    pub fn refusing(inner: Below, part: &str, errno: i32) -> Self {
        Faulty {
            refused: Some((part.into(), errno)),
            ..Faulty::new(inner)
        }
    }

    pub fn has_crashed(&self) -> bool {
        self.crashed.get()
    }

    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    fn refuse(&self, path: &str) -> io::Result<()> {
        match &self.refused {
            Some((part, errno)) if path.contains(part.as_str()) => Err(io::Error::from_raw_os_error(*errno)),
            _ => Ok(()),
        }
    }

    /// Whether this change happens; the second value: the machine stops in the middle of it.
    fn change(&self, what: &str, path: &str) -> io::Result<bool> {
        self.refuse(path)?;
        if self.crashed.get() {
            return Err(io::Error::other("the machine has stopped"));
        }
        if self.left.get() == 0 {
            self.crashed.set(true);
            return Ok(false);
        }
        self.left.set(self.left.get() - 1);
        self.log.borrow_mut().push(format!("{what} {path}"));
        Ok(true)
    }
}

const STOPPED: &str = "the machine stops here";

impl Files for Faulty {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        if self
            .refused
            .as_ref()
            .is_some_and(|(_, errno)| *errno == libc::EACCES)
        {
            self.refuse(path)?;
        }
        self.inner.read(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn resolve(&self, path: &str) -> io::Result<String> {
        self.inner.resolve(path)
    }

    fn set(&self, path: &str, value: &str) -> io::Result<()> {
        if self.change("set", path)? {
            self.inner.set(path, value)
        } else {
            Err(io::Error::other(STOPPED))
        }
    }

    fn put(&self, path: &str, content: &[u8]) -> io::Result<()> {
        if self.change("put", path)? {
            return self.inner.put(path, content);
        }
        // Stopped after the file aside was begun.
        self.inner
            .put(&format!("{path}.new"), &content[..content.len() / 2])?;
        Err(io::Error::other(STOPPED))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        if self.change("remove", path)? {
            self.inner.remove(path)
        } else {
            Err(io::Error::other(STOPPED))
        }
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        if self.change("make", path)? {
            self.inner.make_dir(path)
        } else {
            Err(io::Error::other(STOPPED))
        }
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        if self.change("remove_dir", path)? {
            self.inner.remove_dir(path)
        } else {
            Err(io::Error::other(STOPPED))
        }
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }
}
