//! For every reader and printer of the VM layer: any bytes are read without panic, printing gives back what was read, and one
//! change changes one line.

use proptest::prelude::*;
use volvisor::format::drive::Drive;
use volvisor::format::property::tables;
use volvisor::format::vm_config::{Section, VmConfig, decode_description, encode_description};
use volvisor::format::vm_key;
use volvisor::model::{Slot, Text};

/// Lines as they occur: good ones, odd ones, sections, with every kind of line end.
fn config_text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "(cores|memory|name|scsi[0-9]|unused[0-9]|args|lock|futurekey): [ -~]{0,30}",
        "#[ -~]{0,20}",
        "\\[(PENDING|s1|s2|special:cloudinit|special:odd|no such section!)\\]",
        "[ -~]{0,30}",
        Just(String::new()),
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")];
    let lines = proptest::collection::vec((line, end), 0..20);
    (lines, any::<bool>()).prop_map(|(lines, cut)| {
        let mut text: String = lines.into_iter().map(|(line, end)| line + end).collect();
        if cut {
            text.pop();
        }
        text.into_bytes()
    })
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect()
}

proptest! {
    #[test]
    fn any_bytes_survive_reading_and_writing(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let config = VmConfig::parse(&bytes);
        prop_assert_eq!(config.to_bytes(), bytes);
        let _ = config.canonical();
    }

    #[test]
    fn configs_survive_reading_and_writing(bytes in config_text()) {
        prop_assert_eq!(VmConfig::parse(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn what_was_set_is_read_back_and_only_its_line_changes(bytes in config_text(), number in 1u32..999) {
        let before = VmConfig::parse(&bytes);
        let mut config = before.clone();
        config.set(&Section::Main, "cores", &number.to_string());
        let again = VmConfig::parse(&config.to_bytes());
        prop_assert_eq!(again.get(&Section::Main, "cores"), Some(number.to_string()));
        let had = before.get(&Section::Main, "cores").is_some();
        let now = config.to_bytes();
        let (old, new) = (split(&bytes), split(&now));
        if had {
            prop_assert_eq!(old.len(), new.len());
            prop_assert!(old.iter().zip(&new).filter(|(a, b)| a != b).count() <= 1);
        } else {
            // Every old line is still there, in order.
            let mut rest = new.iter();
            for line in old.iter().filter(|l| !l.is_empty()) {
                prop_assert!(rest.any(|l| l == line), "lost: {:?}", String::from_utf8_lossy(line));
            }
        }
    }

    #[test]
    fn a_removed_section_takes_nothing_else_along(bytes in config_text()) {
        let section = Section::Snapshot("s1".to_owned());
        let before = VmConfig::parse(&bytes);
        let mut config = before.clone();
        config.remove_section(&section);
        let again = VmConfig::parse(&config.to_bytes());
        prop_assert!(!again.has_section(&section));
        prop_assert_eq!(again.entries(&Section::Main), before.entries(&Section::Main));
        prop_assert_eq!(again.entries(&Section::Pending), before.entries(&Section::Pending));
    }

    #[test]
    fn the_originals_rewrite_of_its_own_rewrite_is_the_same(bytes in config_text()) {
        let once = VmConfig::parse(&bytes).canonical();
        prop_assert_eq!(VmConfig::parse(&once).canonical(), once);
    }

    #[test]
    fn descriptions_survive_encoding(text in "[^\n]{0,60}") {
        prop_assert_eq!(decode_description(encode_description(&text).as_bytes()), text);
    }

    #[test]
    fn a_drive_that_is_read_prints_as_it_reads(text in "st:[0-9]{3}/vm-100-disk-[0-9](\\.raw|\\.qcow2)(,(size=[0-9]{1,4}[KMG]|ssd=(1|on|no)|cache=(none|writeback)|discard=on|backup=0|iothread=1|serial=[a-z0-9%]{1,8}))*") {
        let slot = Slot::parse("scsi3").unwrap();
        if let Ok(drive) = Drive::parse(slot, &text) {
            let printed = drive.to_string();
            prop_assert_eq!(Drive::parse(slot, &printed).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(key in "(scsi0|net0|agent|boot|memory|machine|cpu|ipconfig0|smbios1|startup|hostpci0|numa0|usb0|vga|tags|startdate|[a-z]{1,8}[0-9]{0,3})", text in "\\PC{0,60}") {
        let _ = vm_key::check_value(&key, &text);
    }

    #[test]
    fn property_strings_print_as_they_read(which in 0usize..6, text in "[a-z0-9=:,./-]{0,40}") {
        let names = ["net", "agent", "boot", "machine", "cpu", "ipconfig"];
        let table = tables::by_name(names[which]).unwrap();
        if let Ok(values) = table.parse(&text) {
            let printed = table.print(&values);
            prop_assert_eq!(table.parse(&printed).unwrap(), values, "{} -> {}", text, printed);
        }
    }

    #[test]
    fn bytes_of_a_config_survive_in_a_journal(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let json = serde_json::to_string(&Text(bytes.clone())).unwrap();
        prop_assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), Text(bytes));
    }
}

#[test]
fn a_line_of_one_mebibyte_is_read_at_once() {
    let mut bytes = b"args: ".to_vec();
    bytes.resize(1 << 20, b'x');
    let started = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(VmConfig::parse(&bytes).to_bytes(), bytes);
    }
    assert!(
        started.elapsed() < std::time::Duration::from_secs(20),
        "quadratic reading"
    );
}
