//! Tests of break-glass whose folder hangs.

use std::fs;
use std::sync::mpsc::channel;

use portcullis_keys::SymmetricKey;

use super::*;

#[test]
fn a_document_that_was_withdrawn_while_a_look_hung_opens_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("glass");
    fs::create_dir(&path).unwrap();
    let opening = r#"{"document":"AAAA","person":"p","reason":"r","ticket":"t"}"#;
    for name in ["stays.open.json", "withdrawn.open.json"] {
        fs::write(path.join(name), opening).unwrap();
    }
    let mac = StateMac::new(&SymmetricKey::from_bytes([7; 32])).unwrap();
    let break_glass = BreakGlassState::new(home.path(), None, mac);
    let worker = FileWorker::new("test", Duration::from_secs(60));
    let (go_on, waits) = channel::<()>();
    let (read, has_read) = channel();
    let (folder, there) = (Arc::clone(&break_glass.folder), path.clone());
    // It hangs after the files were read.
    let hangs = move || {
        let looked = folder.lock().unwrap().poll(&there, &[]);
        read.send(()).unwrap();
        let _ = waits.recv();
        looked
    };
    let short = Duration::from_millis(1);
    assert!(break_glass.late_poll.poll(&worker, short, None, hangs).value.is_none());
    has_read.recv().unwrap();
    fs::remove_file(path.join("withdrawn.open.json")).unwrap();
    drop(go_on);
    let (looked, is_known) = break_glass.poll(&worker, Duration::from_secs(60), path).unwrap();
    let left: Vec<_> = looked.openings.iter().map(|(name, _)| &**name).collect();
    assert!(is_known);
    assert_eq!(left, ["stays.open.json"]);
}
