use super::*;

fn file(disk: &mut Disk, path: &str) -> Ino {
    let ino = disk.next_ino();
    disk.apply(&Io::Meta(Meta::Create {
        path: path.into(),
        ino,
    }));
    ino
}

fn sync_dir(disk: &mut Disk, path: &str) {
    disk.apply(&Io::DirSyncSubmit {
        id: 900,
        path: path.into(),
    });
    disk.apply(&Io::DirSyncComplete { id: 900 });
}

fn submit(disk: &mut Disk, id: u64, ino: Ino, at: u64, byte: u8, durable: bool) {
    disk.apply(&Io::Submit {
        id,
        ino,
        at,
        data: vec![byte; 4096].into(),
        durable,
    });
}

fn write(disk: &mut Disk, id: u64, ino: Ino, at: u64, byte: u8, durable: bool) {
    submit(disk, id, ino, at, byte, durable);
    disk.apply(&Io::Complete {
        id,
        landed: Landed::Whole,
    });
}

fn sync(disk: &mut Disk, ino: Ino) {
    disk.apply(&Io::SyncSubmit { id: 800, ino });
    disk.apply(&Io::SyncComplete { id: 800, ok: true });
}

fn crash_all(disk: &Disk, fate: Fate) -> Disk {
    disk.crash(&vec![fate; disk.atoms().len()])
}

fn first(disk: &Disk, ino: Ino) -> Vec<u8> {
    disk.read(ino, 0, 4096)
}

#[test]
fn a_durable_write_survives_and_an_ordinary_one_only_after_sync() {
    let mut disk = Disk::new(1 << 20, 512);
    let (a, b) = (file(&mut disk, "a"), file(&mut disk, "b"));
    sync_dir(&mut disk, "");
    write(&mut disk, 1, a, 0, 1, true);
    write(&mut disk, 2, b, 0, 2, false);
    let lost = crash_all(&disk, Fate::Drop);
    assert_eq!(first(&lost, a), vec![1; 4096]);
    assert_eq!(lost.size(b), 0);
    let kept = crash_all(&disk, Fate::Keep);
    assert_eq!(first(&kept, b), vec![2; 4096]);
    sync(&mut disk, b);
    assert!(disk.atoms().is_empty());
    assert_eq!(first(&crash_all(&disk, Fate::Drop), b), vec![2; 4096]);
}

#[test]
fn a_sync_covers_only_what_completed_before_it_was_submitted() {
    let mut disk = Disk::new(1 << 20, 512);
    let a = file(&mut disk, "a");
    sync_dir(&mut disk, "");
    submit(&mut disk, 1, a, 0, 1, false);
    disk.apply(&Io::SyncSubmit { id: 2, ino: a });
    disk.apply(&Io::Complete {
        id: 1,
        landed: Landed::Whole,
    });
    disk.apply(&Io::SyncComplete { id: 2, ok: true });
    assert_eq!(crash_all(&disk, Fate::Drop).size(a), 0);
}

#[test]
fn writes_in_flight_tear_at_512_bytes() {
    let mut disk = Disk::new(1 << 20, 512);
    let a = file(&mut disk, "a");
    sync_dir(&mut disk, "");
    write(&mut disk, 1, a, 0, 1, true);
    submit(&mut disk, 2, a, 0, 2, true);
    let torn = disk.crash(&[Fate::Head(3)]);
    let bytes = first(&torn, a);
    assert!(bytes[..1536].iter().all(|b| *b == 2) && bytes[1536..].iter().all(|b| *b == 1));
    let scattered = first(&disk.crash(&[Fate::Scatter(5)]), a);
    assert!(scattered.chunks(512).all(|s| s == [1; 512] || s == [2; 512]));
    assert!(scattered.contains(&1) && scattered.contains(&2));
}

#[test]
fn an_older_cached_write_never_overtakes_a_durable_one() {
    let mut disk = Disk::new(1 << 20, 512);
    let a = file(&mut disk, "a");
    sync_dir(&mut disk, "");
    write(&mut disk, 1, a, 0, 1, false);
    write(&mut disk, 2, a, 0, 2, true);
    assert_eq!(first(&crash_all(&disk, Fate::Keep), a), vec![2; 4096]);
    sync(&mut disk, a);
    assert_eq!(first(&crash_all(&disk, Fate::Keep), a), vec![2; 4096]);
}

#[test]
fn entries_are_volatile_until_their_directory_is_synced() {
    let mut disk = Disk::new(1 << 20, 512);
    disk.apply(&Io::Meta(Meta::Mkdir { path: "d".into() }));
    let a = file(&mut disk, "d/tmp");
    write(&mut disk, 1, a, 0, 7, true);
    sync_dir(&mut disk, "d");
    // The directory's own entry lies in its parent, which nobody synced.
    assert!(crash_all(&disk, Fate::Drop).lookup("d/tmp").is_none());
    sync_dir(&mut disk, "");
    assert!(crash_all(&disk, Fate::Drop).lookup("d/tmp").is_some());
    disk.apply(&Io::Meta(Meta::Rename {
        from: "d/tmp".into(),
        to: "d/final".into(),
    }));
    let (old, new) = (crash_all(&disk, Fate::Drop), crash_all(&disk, Fate::Keep));
    assert!(old.lookup("d/tmp").is_some() && old.lookup("d/final").is_none());
    assert!(new.lookup("d/tmp").is_none() && new.lookup("d/final").is_some());
    disk.apply(&Io::Meta(Meta::Remove {
        path: "d/final".into(),
    }));
    // Dropping the rename drops the removal of its target as well.
    let only_remove = disk.crash(&[Fate::Drop, Fate::Keep]);
    assert!(only_remove.lookup("d/tmp").is_some());
    assert_eq!(first(&only_remove, a), vec![7; 4096]);
}

#[test]
fn after_a_failed_sync_a_second_one_does_not_help() {
    let mut disk = Disk::new(1 << 20, 512);
    let a = file(&mut disk, "a");
    sync_dir(&mut disk, "");
    write(&mut disk, 1, a, 0, 1, false);
    disk.apply(&Io::SyncSubmit { id: 2, ino: a });
    disk.apply(&Io::SyncComplete { id: 2, ok: false });
    sync(&mut disk, a);
    assert_ne!(first(&crash_all(&disk, Fate::Drop), a), vec![1; 4096]);
}

#[test]
fn space_counts_written_and_reserved_blocks_once() {
    let mut disk = Disk::new(1 << 20, 512);
    let a = file(&mut disk, "a");
    assert_eq!(disk.allocation_growth(a, 10_000), 12_288);
    disk.apply(&Io::Allocate { ino: a, len: 12_288 });
    assert_eq!((disk.used(), disk.size(a)), (12_288, 12_288));
    assert_eq!(disk.growth(a, 4096, 4096), 0);
    write(&mut disk, 1, a, 12_288, 1, true);
    assert_eq!(
        disk.used(),
        16_384,
        "three blocks reserved, one written beyond them"
    );
    assert_eq!(disk.allocation_growth(a, 20_480), 4096);
}
