//! The simulated disk as a pure machine: a file system whose every change is an [`Io`] event.
//!
//! [`super::env`] turns calls into events, applies them here and records them; [`super::enumerate`] applies the recorded
//! events again, prefix by prefix, and asks for the images a crash could leave. Both go through [`Disk::apply`], so what
//! is enumerated is what ran.
//!
//! # What is modelled
//!
//! - A completed write is in the volatile cache, unless the file was opened durable (`O_DSYNC`): then exactly that write
//!   is on stable media, and nothing else. A write in flight may or may not have reached the media, sector by sector.
//! - A sync makes durable what had completed when it was *submitted*, and only for its file.
//! - A file's size is volatile until a sync or a durable write. A crash may keep data and lose the size that shows it.
//! - Directory entries are volatile until a sync of their directory *submitted* after the change; renames within a
//!   directory are atomic. Syncing a file does not sync its entry, and syncing a directory not its parent's entry.
//! - A crash ([`Disk::crash`]) keeps any subset of everything volatile, torn at [`Disk::sector`] bytes.
//! - A failed sync leaves its writes in a state that no later sync makes durable (Rebello et al., ATC 2020).
//!
//! Always: `view` of a file is what a reader sees, `stable` what survives every crash; cached writes are the difference.

use super::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Smallest unit that a crash tears at, in bytes.
pub const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// Number of a file, never reused.
pub type Ino = u32;

/// One change of the disk, or the start or end of an operation on it.
#[derive(Debug, Clone)]
pub enum Io {
    /// A write left the process. From here on any of its sectors may be on the media.
    Submit {
        /// Unique number of the write.
        id: u64,
        /// Written file.
        ino: Ino,
        /// Position in bytes.
        at: u64,
        /// The bytes.
        data: Rc<[u8]>,
        /// Whether completion means stable media.
        durable: bool,
    },
    /// The write `id` completed as `landed` says.
    Complete {
        /// The write.
        id: u64,
        /// What became of it.
        landed: Landed,
    },
    /// A sync of `ino` left the process.
    SyncSubmit {
        /// Unique number of the sync.
        id: u64,
        /// Synced file.
        ino: Ino,
    },
    /// The sync completed; `ok` says whether it worked.
    SyncComplete {
        /// The sync.
        id: u64,
        /// False: the covered writes stay volatile for ever.
        ok: bool,
    },
    /// Space was reserved and the size raised to `len`.
    Allocate {
        /// The file.
        ino: Ino,
        /// New minimum size in bytes.
        len: u64,
    },
    /// A directory entry changed.
    Meta(Meta),
    /// A sync of a directory left the process.
    DirSyncSubmit {
        /// Unique number of the sync.
        id: u64,
        /// The directory.
        path: Rc<str>,
    },
    /// The sync of a directory completed.
    DirSyncComplete {
        /// The sync.
        id: u64,
    },
    /// A read was answered; changes nothing, and is here for checkers and the fingerprint.
    Read {
        /// The file.
        ino: Ino,
        /// Position in bytes.
        at: u64,
        /// Bytes returned.
        len: u64,
    },
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// Everything is where it belongs.
    Whole,
    /// Only the first bytes were written, and the caller was told so.
    Short(u64),
    /// The caller was told that all is well; nothing was written.
    Lost,
    /// The caller was told that all is well; the bytes went to another place of the same file.
    Moved(u64),
    /// The caller was told EIO; any sectors may be on the media.
    Failed,
}

/// A change of a directory entry. Paths are relative to the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meta {
    /// A new, empty file.
    Create {
        /// Its path.
        path: Rc<str>,
        /// Its number.
        ino: Ino,
    },
    /// A new directory.
    Mkdir {
        /// Its path.
        path: Rc<str>,
    },
    /// A file changed its name within its directory, replacing what was there.
    Rename {
        /// Old path.
        from: Rc<str>,
        /// New path.
        to: Rc<str>,
    },
    /// A file or an empty directory was removed.
    Remove {
        /// Its path.
        path: Rc<str>,
    },
}

impl Meta {
    fn dir(&self) -> &str {
        match self {
            Meta::Create { path, .. } | Meta::Mkdir { path } | Meta::Remove { path } => parent(path),
            Meta::Rename { to, .. } => parent(to),
        }
    }

    fn touches(&self, name: &str) -> bool {
        match self {
            Meta::Create { path, .. } | Meta::Mkdir { path } | Meta::Remove { path } => &**path == name,
            Meta::Rename { from, to } => &**from == name || &**to == name,
        }
    }

    fn conflicts(&self, other: &Meta) -> bool {
        match other {
            Meta::Create { path, .. } | Meta::Mkdir { path } | Meta::Remove { path } => self.touches(path),
            Meta::Rename { from, to } => self.touches(from) || self.touches(to),
        }
    }
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File(Ino),
    /// A directory.
    Dir,
}

/// Path of the directory that holds `path`; the data directory itself is `""`.
pub fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

type Names = BTreeMap<Rc<str>, Node>;

fn apply_meta(names: &mut Names, meta: &Meta) {
    match meta {
        Meta::Create { path, ino } => {
            names.insert(path.clone(), Node::File(*ino));
        }
        Meta::Mkdir { path } => {
            names.insert(path.clone(), Node::Dir);
        }
        Meta::Rename { from, to } => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        Meta::Remove { path } => {
            names.remove(path);
        }
    }
}

/// Sparse bytes in blocks; unwritten blocks read as zeros.
#[derive(Debug, Clone, Default)]
struct Content {
    blocks: Vec<Option<Rc<[u8; BLOCK]>>>,
}

impl Content {
    fn write(&mut self, at: u64, mut data: &[u8]) {
        let mut at = at as usize;
        while !data.is_empty() {
            let (block, from) = (at / BLOCK, at % BLOCK);
            let take = data.len().min(BLOCK - from);
            if self.blocks.len() <= block {
                self.blocks.resize(block + 1, None);
            }
            let slot = &mut self.blocks[block];
            match slot {
                Some(bytes) => Rc::make_mut(bytes)[from..from + take].copy_from_slice(&data[..take]),
                None => {
                    let mut bytes = Rc::new([0u8; BLOCK]);
                    Rc::make_mut(&mut bytes)[from..from + take].copy_from_slice(&data[..take]);
                    *slot = Some(bytes);
                }
            }
            data = &data[take..];
            at += take;
        }
    }

    fn read(&self, at: u64, out: &mut [u8]) {
        let mut at = at as usize;
        let mut done = 0;
        while done < out.len() {
            let (block, from) = (at / BLOCK, at % BLOCK);
            let take = (out.len() - done).min(BLOCK - from);
            match self.blocks.get(block) {
                Some(Some(bytes)) => out[done..done + take].copy_from_slice(&bytes[from..from + take]),
                _ => out[done..done + take].fill(0),
            }
            done += take;
            at += take;
        }
    }

    fn cut(&mut self, size: u64) {
        let whole = (size as usize).div_ceil(BLOCK);
        self.blocks.truncate(whole);
        let rest = size as usize % BLOCK;
        if rest != 0
            && let Some(Some(last)) = self.blocks.get_mut(whole - 1)
        {
            Rc::make_mut(last)[rest..].fill(0);
        }
    }

    /// Bytes of written blocks at or beyond `from`.
    fn written_from(&self, from: u64) -> u64 {
        let beyond = self.blocks.iter().skip(from as usize / BLOCK);
        (beyond.filter(|b| b.is_some()).count() * BLOCK) as u64
    }
}

/// A completed, not yet durable write (a part of one, once a later durable write overlaps it).
#[derive(Debug, Clone)]
struct Cached {
    done: u64,
    at: u64,
    data: Rc<[u8]>,
    /// Sectors superseded by a later durable write; empty means none.
    dead: Vec<bool>,
    /// Covered by a sync that failed.
    stuck: bool,
}

#[derive(Debug, Clone)]
struct InFlight {
    id: u64,
    at: u64,
    data: Rc<[u8]>,
    durable: bool,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    stable: Content,
    stable_size: u64,
    view: Content,
    view_size: u64,
    allocated: u64,
    cached: Vec<Cached>,
    /// Sizes reached but not durable: (completion number, size), rising.
    sizes: Vec<(u64, u64)>,
    flying: Vec<InFlight>,
    /// No name leads here any more, whatever a crash keeps.
    orphan: bool,
}

impl Inode {
    fn used(&self) -> u64 {
        self.allocated + self.view.written_from(self.allocated)
    }

    fn is_clean(&self) -> bool {
        self.cached.is_empty() && self.flying.is_empty() && self.sizes.is_empty()
    }
}

#[derive(Debug, Clone)]
enum Pending {
    Sync { ino: Ino, upto: u64 },
    DirSync { path: Rc<str>, upto: u64 },
}

/// What a crash may keep or lose as a unit (a write can also be torn).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Atom {
    /// A write that is in flight or in the cache: file, index, sectors.
    Write {
        /// The file.
        ino: Ino,
        /// Sectors of [`SECTOR`] bytes (or of the disk's sector size).
        sectors: usize,
    },
    /// A file's volatile size.
    Size(Ino),
    /// A change of a directory entry.
    Entry,
}

/// What becomes of one [`Atom`] in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// As if it had never happened.
    Drop,
    /// All of it is on the media.
    Keep,
    /// The first `n` sectors are on the media.
    Head(usize),
    /// A random half of the sectors is on the media.
    Scatter(u64),
}

/// The disk. Cloning is cheap: blocks are shared.
#[derive(Debug, Clone)]
pub struct Disk {
    inodes: BTreeMap<Ino, Rc<Inode>>,
    stable_names: Names,
    names: Names,
    /// Changes of entries that no sync covers yet, with their number.
    meta: Vec<(u64, Meta)>,
    /// Running number of completions and changes of entries.
    step: u64,
    pending: BTreeMap<u64, Pending>,
    next_ino: Ino,
    /// Bytes the file system can hold.
    pub capacity: u64,
    /// What a crash tears at, in bytes: 512 or 4,096.
    pub sector: usize,
}

impl Disk {
    /// An empty disk.
    pub fn new(capacity: u64, sector: usize) -> Disk {
        assert!(sector == 512 || sector == 4096, "sector size");
        Disk {
            inodes: BTreeMap::new(),
            stable_names: Names::new(),
            names: Names::new(),
            meta: Vec::new(),
            step: 0,
            pending: BTreeMap::new(),
            next_ino: 1,
            capacity,
            sector,
        }
    }

    /// What `path` names, as the running process sees it.
    pub fn lookup(&self, path: &str) -> Option<Node> {
        if path.is_empty() {
            Some(Node::Dir)
        } else {
            self.names.get(path).copied()
        }
    }

    /// Entries of the directory `path`, sorted by name.
    pub fn list(&self, path: &str) -> Vec<(String, Node)> {
        let inside = |p: &str| parent(p) == path && !p.is_empty();
        self.names
            .iter()
            .filter(|(p, _)| inside(p))
            .map(|(p, node)| {
                let name = if path.is_empty() {
                    &p[..]
                } else {
                    &p[path.len() + 1..]
                };
                (name.to_string(), *node)
            })
            .collect()
    }

    /// Every file with its path, as the running process sees it.
    pub fn files(&self) -> Vec<(String, Ino)> {
        self.names
            .iter()
            .filter_map(|(path, node)| match node {
                Node::File(ino) => Some((path.to_string(), *ino)),
                Node::Dir => None,
            })
            .collect()
    }

    /// The path of a file that still has one.
    pub fn path_of(&self, ino: Ino) -> Option<&str> {
        self.names
            .iter()
            .find(|(_, node)| **node == Node::File(ino))
            .map(|(path, _)| &**path)
    }

    /// Size in bytes of a file as the running process sees it.
    pub fn size(&self, ino: Ino) -> u64 {
        self.inodes[&ino].view_size
    }

    /// Bytes of `at..at + len` as the running process sees them, clipped at the end of the file.
    pub fn read(&self, ino: Ino, at: u64, len: usize) -> Vec<u8> {
        let inode = &self.inodes[&ino];
        let len = (len as u64).min(inode.view_size.saturating_sub(at)) as usize;
        let mut out = vec![0; len];
        inode.view.read(at, &mut out);
        out
    }

    /// Bytes of `at..at + len` on stable media, zero where nothing is.
    pub fn read_stable(&self, ino: Ino, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        if let Some(inode) = self.inodes.get(&ino) {
            inode.stable.read(at, &mut out);
        }
        out
    }

    /// Bytes that named files occupy.
    pub fn used(&self) -> u64 {
        let named = self.names.values().filter_map(|node| match node {
            Node::File(ino) => Some(self.inodes[ino].used()),
            Node::Dir => None,
        });
        named.sum()
    }

    /// Bytes that a write of `at..at + len` would newly occupy.
    pub fn growth(&self, ino: Ino, at: u64, len: u64) -> u64 {
        let inode = &self.inodes[&ino];
        let mut grown = 0;
        for block in at as usize / BLOCK..((at + len) as usize).div_ceil(BLOCK) {
            let reserved = ((block * BLOCK) as u64) < inode.allocated;
            if !reserved && !matches!(inode.view.blocks.get(block), Some(Some(_))) {
                grown += BLOCK as u64;
            }
        }
        grown
    }

    /// Bytes that reserving `0..len` would newly occupy.
    pub fn allocation_growth(&self, ino: Ino, len: u64) -> u64 {
        let inode = &self.inodes[&ino];
        let len = len.next_multiple_of(BLOCK as u64);
        if len <= inode.allocated {
            return 0;
        }
        (len - inode.allocated)
            .saturating_sub(inode.view.written_from(inode.allocated) - inode.view.written_from(len))
    }

    /// A number for the next file.
    pub fn next_ino(&self) -> Ino {
        self.next_ino
    }

    fn inode(&mut self, ino: Ino) -> &mut Inode {
        Rc::make_mut(self.inodes.get_mut(&ino).expect("a file that exists"))
    }

    /// Advances the disk by one recorded event.
    pub fn apply(&mut self, io: &Io) {
        match io {
            Io::Submit {
                id,
                ino,
                at,
                data,
                durable,
            } => {
                let flying = InFlight {
                    id: *id,
                    at: *at,
                    data: data.clone(),
                    durable: *durable,
                };
                self.inode(*ino).flying.push(flying);
            }
            Io::Complete { id, landed } => self.complete(*id, *landed),
            Io::SyncSubmit { id, ino } => {
                let upto = self.step;
                self.pending.insert(*id, Pending::Sync { ino: *ino, upto });
            }
            Io::SyncComplete { id, ok } => {
                if let Some(Pending::Sync { ino, upto }) = self.pending.remove(id) {
                    self.synced(ino, upto, *ok);
                }
            }
            Io::Allocate { ino, len } => {
                self.step += 1;
                let step = self.step;
                let inode = self.inode(*ino);
                inode.allocated = inode.allocated.max(len.next_multiple_of(BLOCK as u64));
                if *len > inode.view_size {
                    inode.view_size = *len;
                    inode.sizes.push((step, *len));
                }
            }
            Io::Meta(meta) => {
                self.step += 1;
                if let Meta::Create { ino, .. } = meta {
                    self.inodes.insert(*ino, Rc::new(Inode::default()));
                    self.next_ino = self.next_ino.max(*ino + 1);
                }
                apply_meta(&mut self.names, meta);
                self.meta.push((self.step, meta.clone()));
            }
            Io::DirSyncSubmit { id, path } => {
                let upto = self.step;
                self.pending.insert(
                    *id,
                    Pending::DirSync {
                        path: path.clone(),
                        upto,
                    },
                );
            }
            Io::DirSyncComplete { id } => {
                if let Some(Pending::DirSync { path, upto }) = self.pending.remove(id) {
                    let covered = |(step, meta): &(u64, Meta)| *step <= upto && meta.dir() == &*path;
                    for (_, meta) in self.meta.iter().filter(|m| covered(m)) {
                        apply_meta(&mut self.stable_names, meta);
                    }
                    self.meta.retain(|m| !covered(m));
                    self.forget_unnamed();
                }
            }
            Io::Read { .. } => {}
        }
    }

    fn complete(&mut self, id: u64, landed: Landed) {
        self.step += 1;
        let step = self.step;
        let found = self.inodes.iter().find_map(|(ino, inode)| {
            inode
                .flying
                .iter()
                .position(|w| w.id == id)
                .map(|index| (*ino, index))
        });
        let Some((ino, index)) = found else { return };
        let sector = self.sector;
        let inode = self.inode(ino);
        let write = inode.flying.remove(index);
        let (at, data, durable) = match landed {
            Landed::Whole => (write.at, write.data, write.durable),
            Landed::Short(len) => (write.at, Rc::from(&write.data[..len as usize]), write.durable),
            Landed::Lost => return,
            Landed::Moved(at) => (at, write.data, write.durable),
            // Any sectors may be there: exactly a cached write that no sync will ever cover.
            Landed::Failed => {
                inode.view.write(write.at, &write.data);
                inode.cached.push(Cached {
                    done: step,
                    at: write.at,
                    data: write.data,
                    dead: vec![],
                    stuck: true,
                });
                return;
            }
        };
        let end = at + data.len() as u64;
        inode.view.write(at, &data);
        let grown = end > inode.view_size;
        inode.view_size = inode.view_size.max(end);
        if inode.orphan {
            return;
        }
        if durable {
            inode.stable.write(at, &data);
            inode.stable_size = inode.stable_size.max(end);
            inode.sizes.retain(|(_, size)| *size > end);
            for old in &mut inode.cached {
                supersede(old, at, end, sector);
            }
        } else {
            if grown {
                inode.sizes.push((step, end));
            }
            inode.cached.push(Cached {
                done: step,
                at,
                data,
                dead: vec![],
                stuck: false,
            });
        }
    }

    fn synced(&mut self, ino: Ino, upto: u64, ok: bool) {
        let sector = self.sector;
        if !self.inodes.contains_key(&ino) {
            return; // unlinked meanwhile
        }
        let inode = self.inode(ino);
        if !ok {
            for write in inode.cached.iter_mut().filter(|w| w.done <= upto) {
                write.stuck = true;
            }
            return;
        }
        let cached = std::mem::take(&mut inode.cached);
        for write in cached {
            if write.done > upto || write.stuck {
                inode.cached.push(write);
                continue;
            }
            for (index, part) in write.data.chunks(sector).enumerate() {
                if !write.dead.get(index).copied().unwrap_or(false) {
                    inode.stable.write(write.at + (index * sector) as u64, part);
                }
            }
        }
        let sizes = inode
            .sizes
            .iter()
            .filter(|(step, _)| *step <= upto)
            .map(|(_, size)| *size);
        inode.stable_size = inode.stable_size.max(sizes.max().unwrap_or(0));
        inode.sizes.retain(|(step, _)| *step > upto);
    }

    /// Forgets the stable bytes of files that neither the running process nor any crash can name. Open handles still
    /// read them.
    fn forget_unnamed(&mut self) {
        let mut named: BTreeSet<Ino> = BTreeSet::new();
        for node in self.names.values().chain(self.stable_names.values()) {
            if let Node::File(ino) = node {
                named.insert(*ino);
            }
        }
        for (_, meta) in &self.meta {
            if let Meta::Create { ino, .. } = meta {
                named.insert(*ino);
            }
        }
        for (_, inode) in self
            .inodes
            .iter_mut()
            .filter(|(ino, inode)| !named.contains(ino) && !inode.orphan)
        {
            let view = inode.view.clone();
            let (view_size, flying) = (inode.view_size, inode.flying.clone());
            *inode = Rc::new(Inode {
                view,
                view_size,
                flying,
                orphan: true,
                ..Inode::default()
            });
        }
    }

    /// Everything whose survival a crash decides, in the order [`Disk::crash`] expects.
    pub fn atoms(&self) -> Vec<Atom> {
        let mut atoms = Vec::new();
        for (ino, inode) in self.inodes.iter().filter(|(_, inode)| !inode.orphan) {
            if !inode.sizes.is_empty() {
                atoms.push(Atom::Size(*ino));
            }
            let sectors = |len: usize| len.div_ceil(self.sector);
            atoms.extend(inode.cached.iter().map(|w| Atom::Write {
                ino: *ino,
                sectors: sectors(w.data.len()),
            }));
            atoms.extend(inode.flying.iter().map(|w| Atom::Write {
                ino: *ino,
                sectors: sectors(w.data.len()),
            }));
        }
        atoms.extend(self.meta.iter().map(|_| Atom::Entry));
        atoms
    }

    /// The disk after a power cut in which each of [`Disk::atoms`] met the fate of the same index in `fates`.
    ///
    /// A size kept keeps the largest one reached; data beyond a lost size is gone with it, unless the fate is torn, when
    /// a middle size is kept. An entry whose earlier change under the same name was dropped is dropped too.
    pub fn crash(&self, fates: &[Fate]) -> Disk {
        let mut fates = fates.iter().copied();
        let mut next = || fates.next().expect("one fate per atom");
        let mut inodes = BTreeMap::new();
        for (ino, inode) in self.inodes.iter().filter(|(_, inode)| !inode.orphan) {
            if inode.is_clean() {
                inodes.insert(*ino, inode.clone());
                continue;
            }
            let mut content = inode.stable.clone();
            let mut size = inode.stable_size;
            let mut size_decided = false;
            if !inode.sizes.is_empty() {
                size_decided = true;
                size = match next() {
                    Fate::Drop => size,
                    Fate::Keep => inode.view_size,
                    Fate::Head(n) => inode.sizes[n % inode.sizes.len()].1.max(size),
                    Fate::Scatter(x) => inode.sizes[x as usize % inode.sizes.len()].1.max(size),
                };
            }
            for write in &inode.cached {
                land(
                    &mut content,
                    write.at,
                    &write.data,
                    &write.dead,
                    next(),
                    self.sector,
                );
            }
            for write in &inode.flying {
                let kept = land(&mut content, write.at, &write.data, &[], next(), self.sector);
                if !size_decided {
                    size = size.max(kept);
                }
            }
            content.cut(size);
            let inode = Inode {
                stable: content.clone(),
                stable_size: size,
                view: content,
                view_size: size,
                allocated: inode.allocated.min(size),
                ..Inode::default()
            };
            inodes.insert(*ino, Rc::new(inode));
        }
        let mut names = self.stable_names.clone();
        let mut dropped: Vec<&Meta> = Vec::new();
        for (_, meta) in &self.meta {
            let keep = matches!(next(), Fate::Keep | Fate::Scatter(_));
            if keep && !dropped.iter().any(|earlier| earlier.conflicts(meta)) {
                apply_meta(&mut names, meta);
            } else {
                dropped.push(meta);
            }
        }
        // What lies in a directory that did not survive is gone.
        let mut reachable = Names::new();
        for (path, node) in &names {
            let above = parent(path);
            if above.is_empty() || reachable.get(above) == Some(&Node::Dir) {
                reachable.insert(path.clone(), *node);
            }
        }
        inodes.retain(|ino, _| reachable.values().any(|node| *node == Node::File(*ino)));
        Disk {
            inodes,
            stable_names: reachable.clone(),
            names: reachable,
            meta: Vec::new(),
            step: 0,
            pending: BTreeMap::new(),
            next_ino: self.next_ino,
            capacity: self.capacity,
            sector: self.sector,
        }
    }

    /// The disk after an ordinary end of the process with the machine running on: everything written is there, and
    /// still volatile.
    pub fn process_exit(&self, rng: &mut Rng) -> Disk {
        let mut disk = self.clone();
        let flying: Vec<u64> = disk
            .inodes
            .values()
            .flat_map(|inode| inode.flying.iter().map(|w| w.id))
            .collect();
        for id in flying {
            let landed = if rng.chance(1, 2) {
                Landed::Whole
            } else {
                Landed::Lost
            };
            disk.complete(id, landed);
        }
        disk.pending.clear();
        disk
    }

    /// Overwrites stable bytes behind everybody's back (rot, or an attacker's edit).
    pub fn damage(&mut self, ino: Ino, at: u64, bytes: &[u8]) {
        let inode = self.inode(ino);
        inode.stable.write(at, bytes);
        inode.view.write(at, bytes);
    }

    /// Removes a file behind everybody's back.
    pub fn lose_file(&mut self, path: &str) {
        self.names.remove(path);
        self.stable_names.remove(path);
    }
}

/// Writes the surviving sectors of one write; returns the end of the last.
fn land(content: &mut Content, at: u64, data: &[u8], dead: &[bool], fate: Fate, sector: usize) -> u64 {
    let mut random = match fate {
        Fate::Scatter(seed) => Some(Rng::new(seed)),
        _ => None,
    };
    let mut end = 0;
    for (index, part) in data.chunks(sector).enumerate() {
        let keep = match (&mut random, fate) {
            (Some(random), _) => random.chance(1, 2),
            (None, Fate::Keep) => true,
            (None, Fate::Head(n)) => index < n,
            (None, _) => false,
        };
        if keep && !dead.get(index).copied().unwrap_or(false) {
            let from = at + (index * sector) as u64;
            content.write(from, part);
            end = from + part.len() as u64;
        }
    }
    end
}

/// Marks the sectors of an older cached write that a durable write of `at..end` replaced.
fn supersede(old: &mut Cached, at: u64, end: u64, sector: usize) {
    let old_end = old.at + old.data.len() as u64;
    if old.at >= end || at >= old_end {
        return;
    }
    let count = old.data.len().div_ceil(sector);
    old.dead.resize(count, false);
    for index in 0..count {
        let from = old.at + (index * sector) as u64;
        if from < end && at < from + sector as u64 {
            old.dead[index] = true;
        }
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
