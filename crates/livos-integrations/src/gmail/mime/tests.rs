//! Mail as strangers send it.

use proptest::prelude::*;

use super::*;

fn parse(raw: impl AsRef<[u8]>) -> Content {
    Content::parse(raw.as_ref(), &MailLimits::default())
}

#[test]
fn a_mail_with_two_bodies_and_an_attachment_is_read() {
    let mail = parse(
        "From: =?iso-8859-1?Q?J=FCrgen?= <j@example.org>\r\nTo: a@b.c, \"Last, First\" <d@e.f>\r\nCc: undisclosed-recipients:;\r\n\
         Reply-To: list@example.org\r\nSubject: =?utf-8?B?w5xiZXJz?=\r\n =?utf-8?B?aWNodA==?=\r\nDate: Tue, 24 Nov 2026 08:00:00 +0100\r\n\
         Message-ID: <2@example.org>\r\nIn-Reply-To: <1@example.org>\r\nReferences: <0@example.org> <1@example.org>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n\
         --m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
         --a\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nSch=F6n=\r\n!\r\n\
         --a\r\nContent-Type: text/html\r\n\r\n<b>Sch&ouml;n!</b>\r\n--a--\r\n\
         --m\r\nContent-Type: application/pdf; name=\"r.pdf\"\r\nContent-Disposition: attachment; filename*=utf-8''%C3%BC.pdf\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--m--\r\n",
    );
    assert_eq!(mail.from.unwrap().to_string(), "Jürgen <j@example.org>");
    let to: Vec<String> = mail.to.iter().map(ToString::to_string).collect();
    assert_eq!(to, ["a@b.c", "Last, First <d@e.f>"]);
    assert_eq!((mail.cc.len(), mail.reply_to[0].address()), (0, "list@example.org"));
    assert_eq!((mail.subject.as_str(), mail.text.trim()), ("Übersicht", "Schön!"));
    assert_eq!(mail.sent_at, Some(Timestamp::from_unix_ms(1_795_503_600_000)));
    assert_eq!(
        (mail.message_id.as_deref(), mail.in_reply_to),
        (Some("2@example.org"), vec!["1@example.org".to_owned()])
    );
    assert_eq!(mail.references, ["0@example.org", "1@example.org"]);
    let attached = &mail.attachments[0];
    assert_eq!(
        (attached.name.as_str(), attached.mime_type.as_str(), &attached.content[..]),
        ("ü.pdf", "application/pdf", &b"%PDF"[..])
    );
    assert!(!mail.automatic && !mail.cut);
}

#[test]
fn html_alone_is_read_as_a_reader_sees_it() {
    let mail = parse(
        "Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<style>p{}</style><p>Hello <b>there</b></p><script>1</script>",
    );
    assert!(mail.text.contains("Hello there") && !mail.text.contains('<'), "{:?}", mail.text);
}

#[test]
fn line_breaks_that_were_encoded_into_headers_stay_out() {
    let mail = parse(
        "From: =?utf-8?Q?Eve=0D=0ABcc:_x@y.z?= <eve@example.org>\r\nSubject: =?utf-8?Q?Hi=0D=0ABcc:_x=40y.z=00?=\r\n\
         Message-ID: <a b\u{7}@c>\r\n\r\nx",
    );
    assert_eq!(mail.subject, "Hi Bcc: x@y.z");
    assert_eq!(mail.from.unwrap().name(), Some("Eve Bcc: x@y.z"));
    assert_eq!(mail.message_id, None);
}

#[test]
fn mail_of_machines_is_known() {
    let table = [
        ("Auto-Submitted: auto-replied", true),
        ("auto-submitted: No", false),
        ("Precedence: bulk", true),
        ("List-Id: <l.example.org>", true),
        ("Return-Path: <>", true),
        ("Return-Path: <a@b.c>", false),
    ];
    for (header, automatic) in table {
        assert_eq!(parse(format!("{header}\r\nSubject: x\r\n\r\ny")).automatic, automatic, "{header}");
    }
}

#[test]
fn a_mail_beyond_a_bound_gives_its_headers_and_says_so() {
    let long = format!("Subject: long\r\n\r\n{}", "x".repeat(MailLimits::default().bytes));
    let nested = format!("Subject: nested\r\n{}", "Content-Type: message/rfc822\r\n\r\n".repeat(100_000));
    let many = format!("Subject: many\r\nTo: {}a@b.c\r\n\r\n", "a@b.c,".repeat(500_000));
    let lines = format!("Subject: lines\r\n{}\r\n\r\n", "a:\n".repeat(500_000));
    for (raw, subject) in [(long, "long"), (nested, "nested"), (many, "many"), (lines, "lines")] {
        let mail = parse(raw);
        assert_eq!((mail.subject.as_str(), mail.cut, mail.text.as_str()), (subject, true, ""));
    }
}

#[test]
fn deep_but_allowed_nesting_neither_hangs_nor_overflows() {
    let limits = MailLimits::default();
    let mails = "Content-Type: message/rfc822\r\n\r\n".repeat(limits.parts);
    let digests = "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\n".repeat(limits.parts);
    let lists: String = (0..limits.parts)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect();
    for raw in [mails, digests, lists] {
        assert!(!parse(format!("Subject: x\r\n{raw}\r\n\r\nend")).cut);
    }
}

#[test]
fn a_mail_in_a_mail_in_a_part_does_not_end_the_program() {
    let mail = parse(
        "From: a@b.c\r\nSubject: outer\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n\
         --m\r\nContent-Type: text/plain\r\n\r\nhello\r\n\
         --m\r\nContent-Type: message/rfc822\r\n\r\nSubject: middle\r\nContent-Type: message/rfc822\r\n\r\n\
         Subject: inner\r\n\r\ninner text\r\n--m--\r\n",
    );
    assert_eq!((mail.subject.as_str(), mail.from.unwrap().address()), ("outer", "a@b.c"));
}

#[test]
fn long_texts_and_lists_are_cut_at_their_bounds() {
    let limits = MailLimits { text: 10, addresses: 2, attachments: 1, ..MailLimits::default() };
    let part = "--m\r\nContent-Type: image/png\r\nContent-Disposition: attachment\r\n\r\nx\r\n";
    let raw = format!(
        "To: a@b.c, d@e.f, g@h.i\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nüüüüüüüüüü\r\n{part}{part}--m--\r\n"
    );
    let mail = Content::parse(raw.as_bytes(), &limits);
    assert_eq!((mail.text.as_str(), mail.to.len(), mail.attachments.len(), mail.cut), ("üüüüü", 2, 1, true));
}

/// Mail that is nearly well-formed: pieces of real structure in any order.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"Content-Type: multipart/mixed; boundary=b\r\n".to_vec()),
        Just(b"Content-Type: multipart/digest; boundary=b\r\n".to_vec()),
        Just(b"Content-Type: message/rfc822\r\n".to_vec()),
        Just(b"Content-Type: text/html; charset=utf-7\r\n".to_vec()),
        Just(b"Content-Type: text/plain; charset*0*=utf-8''iso; charset*1=-2022-jp\r\n".to_vec()),
        Just(b"Content-Transfer-Encoding: base64\r\n".to_vec()),
        Just(b"Content-Transfer-Encoding: quoted-printable\r\n".to_vec()),
        Just(b"Content-Disposition: attachment; filename*=x''%ff%\r\n".to_vec()),
        Just(b"Subject: =?utf-8?B?w5x=?= =?x?q?=\r\n".to_vec()),
        Just(b"From: \"a <b@c>, (((\r\n".to_vec()),
        Just(b"Date: Tue, 99 Xxx 99999999999 25:61:61 +9999\r\n".to_vec()),
        Just(b"--b\r\n".to_vec()),
        Just(b"--b--\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"=\r\n=F".to_vec()),
        Just(b"\x1b$B\xff\xfe".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_mail_makes_it_panic_or_leave_its_bounds(raw in pieces(), text in 0usize..50) {
        let limits = MailLimits { text, parts: 8, attachments: 3, line: 20, ..MailLimits::default() };
        let mail = Content::parse(&raw, &limits);
        prop_assert!(mail.text.len() <= text && mail.attachments.len() <= 3 && mail.subject.len() <= 20);
        prop_assert!(!mail.subject.chars().any(char::is_control));
    }
}
