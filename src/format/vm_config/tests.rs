//! What the document promises, one sentence a test; no file is touched.

use super::*;

fn text(config: &VmConfig) -> String {
    String::from_utf8(config.to_bytes()).unwrap()
}

fn snapshot(name: &str) -> Section {
    Section::Snapshot(name.to_owned())
}

fn canonical(text: &str) -> String {
    String::from_utf8(VmConfig::parse(text.as_bytes()).canonical()).unwrap()
}

#[test]
fn what_nobody_understands_stays_and_is_listed_with_its_place() {
    let input = "memory: 512\nfuture: 1\n[bad name]\nx: 1\n\nodd line\n";
    let mut config = VmConfig::parse(input.as_bytes());
    let places: Vec<(usize, usize)> = config
        .problems()
        .iter()
        .map(|p| (p.line, p.column))
        .collect();
    assert_eq!(places, [(2, 9), (3, 1)]);
    config.set(&Section::Main, "memory", "1024");
    assert_eq!(text(&config), input.replace("512", "1024"));
}

#[test]
fn a_bracket_that_starts_no_section_does_not_hide_what_follows() {
    for odd in ["[s1", "[s1] x", "[a]b]", " [s1]"] {
        let input = format!("memory: 512\n{odd}\ncores: 2\n");
        let config = VmConfig::parse(input.as_bytes());
        assert_eq!(config.get(&Section::Main, "cores").as_deref(), Some("2"));
        assert_eq!(canonical(&input), "cores: 2\nmemory: 512\n", "{odd}");
    }
}

#[test]
fn a_key_goes_below_a_header_without_line_end() {
    let mut config = VmConfig::parse(b"memory: 512\n\n[s1]");
    config.set(&snapshot("s1"), "cores", "2");
    assert_eq!(text(&config), "memory: 512\n\n[s1]\ncores: 2\n");
}

#[test]
fn new_lines_end_as_the_file_does() {
    let mut config = VmConfig::parse(b"cores: 2\r\nname: a\r\n");
    config.set(&Section::Main, "memory", "512");
    config.set(&Section::Pending, "cores", "4");
    let expected = "cores: 2\r\nmemory: 512\r\nname: a\r\n\r\n[PENDING]\r\ncores: 4\r\n";
    assert_eq!(text(&config), expected);
}

#[test]
fn removing_a_section_leaves_the_blank_lines_of_others() {
    let mut config = VmConfig::parse(b"cores: 1\n\n[PENDING]\ncores: 2\n\n[s1]\ncores: 1\n\n\n");
    assert!(config.remove_section(&Section::Pending));
    assert_eq!(text(&config), "cores: 1\n\n[s1]\ncores: 1\n\n\n");
    assert!(!config.remove_section(&Section::Pending));
}

#[test]
fn sections_are_made_where_the_original_writes_them() {
    let mut config = VmConfig::parse(b"cores: 1\n");
    for section in [
        snapshot("zz"),
        snapshot("aa"),
        Section::Pending,
        Section::Special("fleecing".into()),
    ] {
        let (key, value) = match &section {
            Section::Special(_) => ("fleecing-images", "st:vm-100-fleece-0"),
            _ => ("cores", "2"),
        };
        config.set(&section, key, value);
    }
    assert_eq!(text(&config).into_bytes(), config.canonical());
}

#[test]
fn the_last_of_equal_keys_and_sections_counts_and_is_the_one_changed() {
    let input = "cores: 1\ncores: 2\n[s1]\ncores: 3\n[s1]\ncores: 4\n";
    let mut config = VmConfig::parse(input.as_bytes());
    assert_eq!(config.get(&Section::Main, "cores").as_deref(), Some("2"));
    assert_eq!(config.get(&snapshot("s1"), "cores").as_deref(), Some("4"));
    assert_eq!(config.snapshots().len(), 1);
    assert!(config.problems().iter().any(|p| p.line == 5));
    config.set(&snapshot("s1"), "cores", "5");
    assert_eq!(text(&config), input.replace('4', "5"));
}

#[test]
fn a_name_no_snapshot_may_have_is_kept_and_listed() {
    let config = VmConfig::parse(b"cores: 1\n\n[current]\nsnaptime: 1\n");
    assert!(config.snapshots().is_empty());
    assert_eq!(config.problems()[0].line, 3);
    assert_eq!(
        config.get(&snapshot("current"), "snaptime").as_deref(),
        Some("1")
    );
}

#[test]
fn descriptions_are_replaced_as_a_whole_and_elsewhere_untouched() {
    let mut config = VmConfig::parse(b"#a%25\ncores: 1\n#b\n\n[s1]\n#other\ncores: 1\n");
    assert_eq!(config.description(&Section::Main).as_deref(), Some("a%\nb"));
    config.set_description(&Section::Main, Some("x: y\n\nz\n"));
    assert_eq!(
        text(&config),
        "#x%3A y\n#\n#z\ncores: 1\n\n[s1]\n#other\ncores: 1\n"
    );
    config.set_description(&Section::Main, None);
    assert_eq!(text(&config), "cores: 1\n\n[s1]\n#other\ncores: 1\n");
    config.set_description(&snapshot("s2"), None);
    assert!(!config.has_section(&snapshot("s2")));
}

#[test]
fn what_is_no_escape_stays_in_a_description() {
    for odd in ["%", "%4", "%zz", "%+4", "100%"] {
        assert_eq!(decode_description(odd.as_bytes()), odd);
    }
}

#[test]
fn the_original_converts_old_keys_and_spellings() {
    assert_eq!(canonical("smp: 4\ncores: 2\n"), "sockets: 4\n");
    assert_eq!(
        canonical("ide2: none\ncdrom: cdrom,media=cdrom\n"),
        "ide2: cdrom,media=cdrom\n"
    );
    assert_eq!(canonical("cdrom: none,size=x\n"), "");
    assert_eq!(
        canonical("onboot: YES\ncores: 04\nciuser: \"joe\"\n"),
        "ciuser: joe\ncores: 4\nonboot: 1\n"
    );
}

#[test]
fn the_original_writes_special_sections_also_when_empty() {
    assert_eq!(
        canonical("cores: 1\n[special:fleecing]\nbad: 1\n"),
        "cores: 1\n\n[special:fleecing]\n"
    );
    let with_drive =
        "ide2: st:vm-100-cloudinit,media=cdrom\n\n[special:cloudinit]\nciupgrade: maybe\n";
    assert_eq!(canonical(with_drive), with_drive);
    assert_eq!(
        canonical("cores: 1\n\n[special:cloudinit]\nname: x\n"),
        "cores: 1\n"
    );
}

#[test]
fn strict_mode_stops_at_the_first_odd_line() {
    let vmid = VmId::new(100).unwrap();
    let error = VmConfig::parse(b"cores: 1\nx y\nfoo: 1\n")
        .strict(vmid)
        .unwrap_err();
    assert_eq!(error.message(), "vm 100 - unable to parse config: x y");
    assert_eq!(
        VmConfig::parse(b"cores: 1").strict(vmid).unwrap(),
        b"cores: 1\n"
    );
}

#[test]
fn a_value_that_speaks_of_snapstate_is_a_value() {
    let config = VmConfig::parse(b"[s1]\nargs: -x snapstate: delete\n");
    assert_eq!(config.get(&snapshot("s1"), "snapstate"), None);
    assert_eq!(
        config.get(&snapshot("s1"), "args").as_deref(),
        Some("-x snapstate: delete")
    );
}
