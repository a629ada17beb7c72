//! Any bytes are read as a mail within bounds, and what is answered to it can't leave its headers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_core::time::Timestamp;
use livos_integrations::gmail::{Content, MailDraft, MailLimits, ReplyTo};

fuzz_target!(|data: &[u8]| {
    let mut limits = MailLimits::default();
    (limits.text, limits.attachments, limits.addresses) = (1000, 5, 5);
    let mail = Content::parse(data, &limits);
    assert!(mail.text.len() <= limits.text && mail.attachments.len() <= limits.attachments);
    assert!(mail.subject.len() <= limits.line && !mail.subject.chars().any(char::is_control));
    let is_unseen =
        |c: char| c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!mail.text.contains(is_unseen), "{:?}", mail.text);
    assert_eq!(mail.cut, !mail.cuts.is_empty());
    // The same bytes as HTML: no tag is left of it, and what fits is not cut.
    let html = [b"Content-Type: text/html\r\n\r\n", data].concat();
    let shown = Content::parse(&html, &limits);
    assert!(shown.text.len() <= limits.text && !shown.text.contains(is_unseen));
    if let Some(from) = &mail.from {
        let shown = from.to_string();
        assert!(shown.contains(from.address()) && shown.lines().count() == 1);
    }
    let answer = MailDraft::reply(&mail, None, mail.text.as_str(), ReplyTo::Everyone, "me@example.org");
    let Ok(raw) = answer.compose(Timestamp::default(), "id@example.org") else { return };
    let head = raw.split(|byte| *byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    let known: [&[u8]; 12] = [
        b"Date",
        b"Message-ID",
        b"Subject",
        b"To",
        b"Cc",
        b"In-Reply-To",
        b"References",
        b"Auto-Submitted",
        b"MIME-Version",
        b"Content-Type",
        b"Content-Transfer-Encoding",
        b"From",
    ];
    for line in head.filter(|line| !line.starts_with(b" ") && !line.starts_with(b"\t")) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        assert!(known.contains(&name), "a stranger's header: {}", String::from_utf8_lossy(line));
    }
});
