//! The files through which a machine shows and takes its settings, below a root that tests replace.
//!
//! [`Files`] is what every reader and writer of `/proc`, `/sys` and `/etc` in this crate goes through; paths are absolute
//! as the machine sees them (`/sys/block/sda/queue/scheduler`). [`Below`] is the real thing. Always holds: nothing outside
//! the root is touched.

use std::io;
use std::path::{Path, PathBuf};

/// Access to the files of a machine. Paths start with `/`.
pub trait Files {
    /// Content of a file.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// Names in a directory, sorted.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// `path` with all links resolved, as the machine sees it.
    fn resolve(&self, path: &str) -> io::Result<String>;
    /// Gives a setting of the kernel a value; the file is there.
    fn set(&self, path: &str, value: &str) -> io::Result<()>;
    /// Puts an ordinary file there, durably and whole or not at all. Its directory is there.
    fn put(&self, path: &str, content: &[u8]) -> io::Result<()>;
    /// Removes an ordinary file, durably.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes one directory.
    fn make_dir(&self, path: &str) -> io::Result<()>;
    /// Removes a directory that is empty.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Whether a kernel answers behind these files (the root is `/`).
    fn is_live(&self) -> bool;
}

/// Files below a directory of this machine.
#[derive(Debug, Clone)]
pub struct Below {
    root: PathBuf,
    live: bool,
}

impl Below {
    /// Files below `root`, which must exist.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let live = root == Path::new("/");
        Ok(Below { root, live })
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Files for Below {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        if path == "/dev/cpu_dma_latency" {
            // Four bytes and no end: the device never says that it is done.
            let mut value = [0; 4];
            io::Read::read_exact(&mut std::fs::File::open(self.at(path))?, &mut value)?;
            return Ok(value.to_vec());
        }
        std::fs::read(self.at(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.at(path))? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn resolve(&self, path: &str) -> io::Result<String> {
        let real = self.at(path).canonicalize()?;
        let inside = real
            .strip_prefix(&self.root)
            .map_err(|_| io::Error::other(format!("{path} leads out of {}", self.root.display())))?;
        Ok(format!("/{}", inside.display()))
    }

    /// Below a root other than `/` no kernel takes the value, so this does what one would: of a list of choices the chosen
    /// one gets the brackets, a word that is not in the list is refused, and the line keeps its end.
    fn set(&self, path: &str, value: &str) -> io::Result<()> {
        let value = if self.live {
            value.to_string()
        } else {
            let old = String::from_utf8_lossy(&self.read(path)?).into_owned();
            answer(&old, value).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?
        };
        // Not created: a knob that is not there cannot be set. One write call, as the kernel wants it.
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .truncate(!self.live)
            .open(self.at(path))?;
        io::Write::write_all(&mut file, value.as_bytes())
    }

    fn put(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let place = self.at(path);
        let aside = self.at(&format!("{path}.new"));
        let mut file = std::fs::File::create(&aside)?;
        io::Write::write_all(&mut file, content)?;
        file.sync_all()?;
        std::fs::rename(&aside, &place)?;
        sync_parent(&place)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let place = self.at(path);
        std::fs::remove_file(&place)?;
        sync_parent(&place)
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        std::fs::create_dir(self.at(path))?;
        sync_parent(&self.at(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir(self.at(path))
    }

    fn is_live(&self) -> bool {
        self.live
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// What a kernel would show after `value` was written where `old` stood; `None`: refused.
fn answer(old: &str, value: &str) -> Option<String> {
    let end = if old.ends_with('\n') { "\n" } else { "" };
    if !old.contains('[') {
        return Some(format!("{value}{end}"));
    }
    let bare = |word: &str| word.trim_matches(['[', ']']).to_string();
    old.split_whitespace().find(|word| bare(word) == value)?;
    // Gaps are kept as they are: some lists end with a space.
    let mut out = String::new();
    for piece in old.trim_end_matches('\n').split_inclusive(' ') {
        let (word, gap) = piece.strip_suffix(' ').map_or((piece, ""), |word| (word, " "));
        match bare(word) {
            word if word == value => out.push_str(&format!("[{word}]")),
            word => out.push_str(&word),
        }
        out.push_str(gap);
    }
    Some(out + end)
}

/// What reading a setting gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Its text, without the end of the last line.
    Is(String),
    /// There is no such file: the kernel, the device or the container lacks it.
    Missing,
    /// Not for this user.
    Denied,
    /// Something else, in the system's words.
    Failed(String),
}

impl Reading {
    /// The text, if there is one.
    pub fn text(self) -> Option<String> {
        match self {
            Reading::Is(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a setting.
pub fn reading(files: &dyn Files, path: &str) -> Reading {
    match files.read(path) {
        Ok(bytes) => Reading::Is(
            String::from_utf8_lossy(&bytes)
                .trim_end_matches(['\n', '\0'])
                .to_string(),
        ),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Reading::Missing,
            io::ErrorKind::PermissionDenied => Reading::Denied,
            // Devices without the feature behind a file answer so.
            _ if matches!(
                error.raw_os_error(),
                Some(libc::ENODEV | libc::ENXIO | libc::EOPNOTSUPP | libc::ENOENT)
            ) =>
            {
                Reading::Missing
            }
            _ => Reading::Failed(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_moves_its_brackets_and_refuses_what_it_does_not_offer() {
        let old = "[none] mq-deadline kyber \n";
        assert_eq!(
            answer(old, "kyber").as_deref(),
            Some("none mq-deadline [kyber] \n")
        );
        assert_eq!(
            answer(&answer(old, "kyber").unwrap(), "none").as_deref(),
            Some(old)
        );
        assert_eq!(answer(old, "bfq"), None);
        assert_eq!(answer("60", "1").as_deref(), Some("1"));
        assert_eq!(answer("60\n", "1").as_deref(), Some("1\n"));
    }

    #[test]
    fn links_that_leave_the_root_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/proc", place.path().join("out")).unwrap();
        let files = Below::new(place.path()).unwrap();
        assert!(files.resolve("/out").is_err());
        assert!(!files.is_live());
    }
}
