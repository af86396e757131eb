//! Stories about storage.cfg: no byte is lost, an edit touches its own lines only, broken parts block nothing.

use super::*;
use proptest::prelude::*;

fn id(text: &str) -> StorageId {
    StorageId::parse(text).unwrap()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn text(cfg: &StorageCfg) -> String {
    String::from_utf8(cfg.to_bytes()).unwrap()
}

/// Comments, an unknown type, an unknown key, a stray line and a broken section.
const MIXED: &str = "# kept\n\ndir: local\n\tpath /var/lib/vz\n\tcontent iso,backup\n\nfuture: new\n\tx y\n\n\
    dir: st\n  # mine\n\tpath /d\n   content   images , iso\n\tbogus 1\nstray\n\nlvmthin: half\n\tvgname vg\n\n\
    zfspool: tank\n\tpool tank\n\tsparse\n";

#[test]
fn changing_one_key_changes_one_line_and_nothing_else() {
    let mut cfg = StorageCfg::parse(MIXED.as_bytes());
    cfg.set(&id("st"), &pairs(&[("content", "iso")]), &[])
        .unwrap();
    assert_eq!(
        text(&cfg),
        MIXED.replace("   content   images , iso\n", "   content iso\n")
    );
    assert_eq!(cfg.find(&id("st")).unwrap().content, [ContentType::Iso]);
}

#[test]
fn a_value_that_says_the_same_in_other_words_is_left_alone() {
    let mut cfg = StorageCfg::parse(MIXED.as_bytes());
    let same = pairs(&[("content", "iso,images")]);
    cfg.set(&id("st"), &same, &[]).unwrap();
    cfg.set(&id("tank"), &pairs(&[("sparse", "1")]), &[])
        .unwrap();
    assert_eq!(text(&cfg), MIXED);
}

#[test]
fn broken_and_unknown_sections_do_not_block_edits_and_survive_them() {
    let mut cfg = StorageCfg::parse(MIXED.as_bytes());
    assert!(cfg.canonical().is_err(), "the original cannot write this");
    cfg.add(
        &id("more"),
        StorageKind::ZfsPool,
        &pairs(&[("pool", "p"), ("sparse", "1"), ("disable", "1")]),
    )
    .unwrap();
    cfg.set(
        &id("tank"),
        &pairs(&[("nodes", "b,a")]),
        &["sparse".to_owned()],
    )
    .unwrap();
    let want = MIXED.replace("\tsparse\n", "\tnodes a,b\n")
        + "\nzfspool: more\n\tdisable\n\tpool p\n\tsparse 1\n\n";
    assert_eq!(text(&cfg), want);
    cfg.remove(&id("more")).unwrap();
    cfg.remove(&id("half")).unwrap();
    assert!(text(&cfg).contains("future: new\n\tx y\n"));
    assert!(!text(&cfg).contains("half"));
}

#[test]
fn new_properties_go_where_the_original_writes_them() {
    let mut cfg = StorageCfg::parse(b"dir: st\n\tpath /d\n\tcontent images\n\tshared 1\n");
    let new = pairs(&[
        ("preallocation", "off"),
        ("disable", "1"),
        ("bwlimit", "default=1"),
        ("nodes", "n1"),
    ]);
    cfg.set(&id("st"), &new, &[]).unwrap();
    assert_eq!(
        text(&cfg),
        "dir: st\n\tdisable\n\tpath /d\n\tbwlimit default=1\n\tcontent images\n\tnodes n1\n\tpreallocation off\n\tshared 1\n"
    );
    assert_eq!(
        cfg.canonical().unwrap().find("dir: local"),
        Some(text(&cfg).len() + 1)
    );
    cfg.set(
        &id("st"),
        &pairs(&[("disable", "0"), ("nodes", "")]),
        &["shared".into()],
    )
    .unwrap();
    assert!(!text(&cfg).contains("disable") && !text(&cfg).contains("nodes"));
}

#[test]
fn a_file_without_last_newline_is_continued_on_a_new_line() {
    let mut cfg = StorageCfg::parse(b"dir: st\n\tpath /d");
    cfg.set(&id("st"), &pairs(&[("shared", "1")]), &[]).unwrap();
    assert_eq!(text(&cfg), "dir: st\n\tpath /d\n\tshared 1\n");
    let mut cfg = StorageCfg::parse(b"dir: st\n\tpath /d");
    cfg.add(&id("b1"), StorageKind::Dir, &pairs(&[("path", "/b//c/./")]))
        .unwrap();
    assert_eq!(text(&cfg), "dir: st\n\tpath /d\n\ndir: b1\n\tpath /b/c\n\n");
}

#[test]
fn a_section_that_swallowed_another_is_not_edited() {
    let swallowed = "dir: a1\n\tpath /d\ndir: b1\n\tpath /e\n";
    let mut cfg = StorageCfg::parse(swallowed.as_bytes());
    assert!(
        cfg.problems()
            .iter()
            .any(|p| p.line == 3 && p.message.contains("no empty line"))
    );
    for result in [
        cfg.clone().set(&id("a1"), &pairs(&[("shared", "1")]), &[]),
        cfg.clone().remove(&id("a1")),
    ] {
        let error = result.unwrap_err();
        assert!(error.message().contains("line 3"), "{error}");
        assert!(error.hint_text().is_some());
    }
    // Another storage can be added all the same, and is read.
    cfg.add(&id("c1"), StorageKind::Dir, &pairs(&[("path", "/c")]))
        .unwrap();
    assert_eq!(text(&cfg), format!("{swallowed}\ndir: c1\n\tpath /c\n\n"));
}

#[test]
fn carriage_returns_are_named_and_kept() {
    let crlf = "dir: a1\r\n\tpath /d\r\n\r\nlvm: b1\r\n\tvgname vg\r\n";
    let mut cfg = StorageCfg::parse(crlf.as_bytes());
    assert!(cfg.find(&id("b1")).is_none());
    assert_eq!(cfg.problems()[0].line, 3);
    assert!(cfg.set(&id("a1"), &pairs(&[("shared", "1")]), &[]).is_err());
    assert_eq!(text(&cfg), crlf);
    let mut cfg = StorageCfg::parse(b"dir: a1\r\n\tpath /d\r\n\tshared 0\r\n");
    cfg.set(&id("a1"), &pairs(&[("shared", "1")]), &[]).unwrap();
    assert_eq!(text(&cfg), "dir: a1\r\n\tpath /d\r\n\tshared 1\r\n");
}

#[test]
fn local_is_always_there() {
    let cfg = StorageCfg::parse(b"");
    assert_eq!(
        cfg.find(&id("local")).unwrap().get("path"),
        Some("/var/lib/vz")
    );
    let mut other = StorageCfg::parse(b"dir: local\n\tpath /srv\n");
    assert_eq!(
        other.find(&id("local")).unwrap().get("path"),
        Some("/var/lib/vz")
    );
    assert!(
        other
            .set(&id("local"), &pairs(&[("content", "iso")]), &[])
            .is_err()
    );
    let mut cfg = StorageCfg::parse(b"");
    cfg.set(&id("local"), &pairs(&[("content", "iso")]), &[])
        .unwrap();
    assert_eq!(
        text(&cfg),
        "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\tprune-backups keep-all=1\n\n"
    );
}

#[test]
fn the_last_of_two_sections_counts_and_both_are_removed() {
    let mut cfg =
        StorageCfg::parse(b"dir: a1\n\tpath /x\n\ndir: b1\n\tpath /b\n\ndir: a1\n\tpath /y\n\n");
    assert_eq!(cfg.find(&id("a1")).unwrap().get("path"), Some("/y"));
    cfg.remove(&id("a1")).unwrap();
    assert_eq!(text(&cfg), "dir: b1\n\tpath /b\n\n");
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let file = "dir: st\n\tpath /d\n\niscsi: target\n\tportal a\n\ttarget t\n\nlvm: vg\n\tvgname vg0\n\tbase target:0.0.1.scsi-1\n";
    let mut cfg = StorageCfg::parse(file.as_bytes());
    let message = |r: Result<()>| r.unwrap_err().message().to_owned();
    assert_eq!(
        message(cfg.add(&id("st"), StorageKind::Dir, &pairs(&[("path", "/x")]))),
        "storage ID 'st' already defined"
    );
    assert_eq!(
        message(cfg.remove(&id("nope"))),
        "storage 'nope' does not exist"
    );
    assert_eq!(
        message(cfg.remove(&id("target"))),
        "can't remove storage - storage is used as base of another storage"
    );
    assert_eq!(
        message(cfg.set(&id("st"), &[], &["snapshot-as-volume-chain".into()])),
        "unable to delete fixed option 'snapshot-as-volume-chain'"
    );
    assert_eq!(
        message(cfg.set(&id("st"), &pairs(&[("snapshot-as-volume-chain", "1")]), &[])),
        "can't change value of fixed parameter 'snapshot-as-volume-chain'"
    );
    for bad in ["x\n\tshared 1", "x\r", "", " x", "x "] {
        assert!(
            cfg.set(&id("vg"), &pairs(&[("saferemove_throughput", bad)]), &[])
                .is_err()
        );
    }
    assert_eq!(text(&cfg), file);
}

#[test]
fn secrets_are_checked_but_never_written() {
    let mut cfg = StorageCfg::parse(b"");
    let given = pairs(&[("server", "a"), ("share", "s"), ("password", "secret")]);
    cfg.add(&id("c1"), StorageKind::Cifs, &given).unwrap();
    assert!(!text(&cfg).contains("secret"));
    assert_eq!(
        cfg.find(&id("c1")).unwrap().get("path"),
        Some("/mnt/pve/c1")
    );
    assert!(cfg.find(&id("c1")).unwrap().is_shared());
}

#[test]
fn problems_name_line_and_column() {
    let cfg = StorageCfg::parse(b"dir: a1\n\tpath  d\n\tnodes\n\ndir: x y\n");
    let places: Vec<_> = cfg.problems().iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(1, 1), (2, 8), (3, 2), (5, 1)]);
}

#[test]
fn a_mebibyte_of_anything_is_read_in_one_pass() {
    for unit in [
        "x",
        " ",
        "a:",
        "\t",
        "\n",
        "#\n",
        "a: bb\n\n",
        "dir: a1\n\n",
        " k v\n",
        "dir: b1\n path /d\n",
        "\r\n",
        "0\n",
        "foo: ab\n x y\n",
    ] {
        for prefix in ["", "dir: st\n", "dir: st\n\tnodes "] {
            let file = format!("{prefix}{}", unit.repeat((1 << 20) / unit.len()));
            let cfg = StorageCfg::parse(file.as_bytes());
            assert!(cfg.to_bytes() == file.as_bytes());
            assert!(!cfg.sections().is_empty());
        }
    }
}

/// Texts that look like the file now and then.
fn likely() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("dir: st".to_owned()),
        Just("zfspool: tank".to_owned()),
        Just("other: x1".to_owned()),
        Just("\tpath /d".to_owned()),
        Just("\tpool rpool".to_owned()),
        Just("\tcontent images,iso".to_owned()),
        Just("\tdisable".to_owned()),
        Just("  nodes a b".to_owned()),
        Just("# note".to_owned()),
        Just("\tshared 0".to_owned()),
        Just("\r".to_owned()),
        Just("0".to_owned()),
        Just(String::new()),
        Just(String::new()),
        "[ \\ta-z:#0-9]{0,12}",
    ];
    (proptest::collection::vec(line, 0..24), any::<bool>()).prop_map(|(lines, newline)| {
        let mut text = lines.join("\n");
        if newline {
            text.push('\n');
        }
        text
    })
}

fn changed_lines(old: &str, new: &str) -> (usize, usize) {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - start;
    let end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(most)
        .take_while(|(a, b)| a == b)
        .count();
    (old.len() - start - end, new.len() - start - end)
}

proptest! {
    #[test]
    fn every_byte_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert_eq!(StorageCfg::parse(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn likely_texts_come_back(text in likely()) {
        let cfg = StorageCfg::parse(text.as_bytes());
        prop_assert_eq!(cfg.to_bytes(), text.as_bytes());
        prop_assert!(cfg.sections().iter().any(|s| s.id.as_str() == "local"));
    }

    #[test]
    fn what_is_set_is_read_and_one_line_differs(text in likely(), words in prop::sample::subsequence(vec!["images", "rootdir"], 1..=2)) {
        let mut cfg = StorageCfg::parse(text.as_bytes());
        for name in ["st", "tank"] {
            let before = super::tests::text(&cfg);
            if cfg.set(&id(name), &pairs(&[("content", &words.join(" "))]), &[]).is_err() {
                prop_assert_eq!(super::tests::text(&cfg), before);
                continue;
            }
            let after = super::tests::text(&cfg);
            let section = cfg.find(&id(name)).unwrap();
            if section.broken.is_none() {
                prop_assert_eq!(section.get("content").unwrap(), words.join(","));
            }
            let (gone, new) = changed_lines(&before, &after);
            prop_assert!(gone <= 1 && new <= 2, "{before:?} {after:?}");
        }
    }

    #[test]
    fn an_added_storage_can_be_removed_again(text in likely()) {
        let mut cfg = StorageCfg::parse(text.as_bytes());
        cfg.add(&id("added"), StorageKind::Dir, &pairs(&[("path", "/added")])).unwrap();
        let with = super::tests::text(&cfg);
        prop_assert!(with.starts_with(&text));
        cfg.remove(&id("added")).unwrap();
        let without = super::tests::text(&cfg);
        prop_assert!(without.starts_with(&text) && without.len() <= text.len() + 2, "{without:?}");
    }

    #[test]
    fn the_original_would_read_its_own_text_the_same_way(text in likely()) {
        let cfg = StorageCfg::parse(text.as_bytes());
        if let Ok(canonical) = cfg.canonical() {
            let again = StorageCfg::parse(canonical.as_bytes());
            prop_assert_eq!(again.canonical().unwrap(), canonical);
        }
    }
}
