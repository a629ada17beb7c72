//! Mail as strangers send it.

use livos_core::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::gmail::Mailbox;

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
fn a_mail_beyond_a_bound_gives_what_is_within_and_says_so() {
    let limits = MailLimits::default();
    let long = format!("Subject: long\r\n\r\n{}", "x".repeat(limits.bytes));
    let nested = format!("Subject: nested\r\n{}", "Content-Type: message/rfc822\r\n\r\n".repeat(100_000));
    let many = format!("Subject: many\r\nTo: {}a@b.c\r\n\r\n", "a@b.c,".repeat(500_000));
    let lines = format!("Subject: lines\r\n{}\r\n\r\n", "a:\n".repeat(500_000));
    let parts = format!(
        "Subject: parts\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n{}",
        "--m\r\n\r\nx\r\n".repeat(100_000)
    );
    for (raw, subject, cut) in [
        (long, "long", Some(Cut::Mail(limits.bytes))),
        (nested, "nested", None),
        (many, "many", Some(Cut::Headers)),
        (lines, "lines", Some(Cut::Headers)),
        (parts, "parts", Some(Cut::Parts)),
    ] {
        let mail = parse(raw);
        assert_eq!((mail.subject.as_str(), mail.cut), (subject, cut.is_some()));
        assert!(cut.is_none_or(|cut| mail.cuts.contains(&cut)), "{subject}: {:?}", mail.cuts);
        assert!(mail.text.len() <= limits.text && mail.to.len() <= limits.addresses);
    }
}

#[test]
fn deep_nesting_neither_hangs_nor_overflows() {
    let mails = "Content-Type: message/rfc822\r\n\r\n".repeat(5000);
    let digests = "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\n".repeat(5000);
    let lists: String = (0..5000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect();
    let dashes = "--\n".repeat(100_000);
    for raw in [mails, digests, format!("{lists}{dashes}")] {
        let mail = parse(format!("Subject: x\r\n{raw}\r\n\r\nend"));
        assert_eq!(mail.subject, "x");
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

/// The text of a mail with this body and these headers about it.
fn text_of(headers: &str, body: &str) -> String {
    let mail = parse(format!("Subject: x\r\n{headers}\r\n{body}"));
    assert_eq!((mail.subject.as_str(), mail.cut), ("x", false), "{headers}");
    mail.text.trim_end().to_owned()
}

const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>From the HTML.</p>\r\n";

#[test]
fn a_plain_part_that_says_nothing_does_not_hide_the_html() {
    let headers = "Content-Type: multipart/alternative; boundary=b\r\n";
    for (plain, text) in [
        ("", "From the HTML."),
        (" \r\n\u{a0}\u{200c}\r\n", "From the HTML."),
        ("Your program can't show HTML.", "From the HTML."),
        ("Short.", "Short."),
    ] {
        let body = format!(
            "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{plain}\r\n--b\r\n{HTML}--b--\r\n"
        );
        assert_eq!(text_of(headers, &body), text, "{plain:?}");
    }
    // Nested as programs with pictures in their mails write it, and with HTML first.
    let related = format!(
        "--b\r\nContent-Type: text/plain\r\n\r\n \r\n--b\r\nContent-Type: multipart/related; boundary=r\r\n\r\n--r\r\n{HTML}--r\r\nContent-Type: image/png\r\n\r\nx\r\n--r--\r\n--b--\r\n"
    );
    assert_eq!(text_of(headers, &related), "From the HTML.");
    let html_first = format!("--b\r\n{HTML}--b\r\n\r\nPlain.\r\n--b--\r\n");
    assert_eq!(text_of(headers, &html_first), "Plain.");
}

#[test]
fn parts_are_found_whatever_the_boundaries_are() {
    let alternative = |declared: &str, written: &str| {
        let body = format!(
            "--{written}\r\nContent-Type: text/plain\r\n\r\nPlain.\r\n--{written}\r\n{HTML}--{written}--\r\n"
        );
        text_of(&format!("Content-Type: multipart/alternative; boundary={declared}\r\n"), &body)
    };
    for (declared, written) in [
        ("abc", "abc"),
        ("\"--abc\"", "abc"),
        ("abc", "--abc"),
        ("\"=_a b?\"", "=_a b?"),
        ("abc", "something-else"),
        ("\"\"", "abc"),
        ("-", "-"),
        ("a", "ab"),
    ] {
        assert_eq!(alternative(declared, written), "Plain.", "{declared} {written}");
    }
    let bare =
        "--other\r\n\r\nPlain.\r\n--other\r\nContent-Type: image/png; name=a.png\r\n\r\nx\r\n--other--\r\n";
    assert_eq!(text_of("Content-Type: multipart/mixed; boundary=OTHER\r\n", bare), "Plain.");
    for headers in [
        "Content-Type: multipart/mixed\r\n",
        "Content-Type: multipart/mixed; boundary=never\r\n",
        "Content-Type: multipart/alternative; boundary=\r\n",
        "Content-Type: plain/text\r\n",
        "Content-Type: text\r\n",
        "Content-Type: TEXT/Plain;;; charset\r\n",
        "Content-Type: /\r\n",
        "Content-Type:\r\n",
        "Content-Type: text/x-something\r\n",
        "",
    ] {
        assert_eq!(
            text_of(headers, "Words of a script,\r\n-- as they are.\r\n"),
            "Words of a script,\n-- as they are.",
            "{headers}"
        );
    }
    assert_eq!(
        text_of(
            "Content-Type: multipart/mixed; boundary=never\r\nContent-Transfer-Encoding: quoted-printable\r\n",
            "=C3=BC=\r\n!"
        ),
        "ü!"
    );
    assert_eq!(text_of("Content-Type: text\r\n", "<!DOCTYPE html><html><p>One<p>Two"), "One\n\nTwo");
    // Headers that are missing, and a body that begins without an empty line.
    assert_eq!(parse("Just words\r\nSubject: no header\r\n").text, "Just words\nSubject: no header\n");
    assert_eq!(
        parse("Subject: x\r\nWords without an empty line\r\nbefore them").text,
        "Words without an empty line\nbefore them"
    );
}

#[test]
fn an_outer_boundary_ends_what_is_inside() {
    let note = "--out\r\nContent-Type: text/plain; name=note.txt\r\nContent-Disposition: attachment; filename=note.txt\r\n\r\nmind\r\n--out--\r\n";
    for inner in [
        format!("--in\r\nContent-Type: text/plain\r\n\r\nPlain.\r\n--in\r\n{HTML}"),
        format!("--in\r\nContent-Type: text/plain\r\n\r\nPlain.\r\n--in\r\n{HTML}--in--\r\n"),
        "--in\r\nContent-Type: multipart/mixed; boundary=deep\r\n\r\n--deep\r\n\r\nPlain.\r\n".to_owned(),
        "--in\r\nContent-Type: multipart/mixed; boundary=deep\r\n\r\nPlain.\r\n".to_owned(),
        "Plain.\r\n".to_owned(),
    ] {
        let mail = parse(format!(
            "Content-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n{inner}{note}"
        ));
        assert_eq!(mail.text.trim_end(), "Plain.", "{inner}");
        let names: Vec<&str> = mail.attachments.iter().map(|attached| attached.name.as_str()).collect();
        assert_eq!((names, mail.cut), (vec!["note.txt"], false), "{inner}");
        assert_eq!(&mail.attachments[0].content[..], b"mind");
    }
    // Two multiparts with one boundary, and parts behind a boundary that was closed too early.
    let same = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--\r\n--b\r\n\r\nthree\r\n";
    assert_eq!(parse(same).text, "one\ntwo\nthree\n");
}

#[test]
fn a_mail_that_only_holds_another_shows_whose_words_it_holds() {
    let inner =
        "From: \"ceo@corp.example\" <eve@bad.example>\r\nSubject: Pay\r\n\r\nSend it now.\r\n\r\nCEO\r\n";
    let shown = "Attached mail from \"ceo@corp.example\" <eve@bad.example>, subject \"Pay\":\n> Send it now.\n>\n> CEO\n";
    assert_eq!(parse(format!("Subject: Fwd\r\nContent-Type: message/rfc822\r\n\r\n{inner}")).text, shown);
    let with = |own: &str| {
        format!(
            "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\n{own}\r\n--m\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--m--\r\n"
        )
    };
    assert_eq!(parse(with(" ")).text, shown);
    assert_eq!(
        (parse(with("Look at this.")).text.as_str(), parse(with("x")).attachments.len()),
        ("Look at this.", 1)
    );
    assert_eq!(text_of("Content-Type: text/calendar\r\n", "BEGIN:VCALENDAR\r\n"), "BEGIN:VCALENDAR");
}

#[test]
fn base64_with_words_around_it_is_read() {
    let headers = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n";
    let footer = "______________________\r\nTalk mailing list\r\nhttps://lists.example.org/talk";
    let text = text_of(headers, &format!("R3LDvMOf\r\nZSBhdXMgS8O2bG4\r\n\r\n{footer}\r\n"));
    assert_eq!(text, format!("Grüße aus Köln\n\n{}", footer.replace("\r\n", "\n")));
    let attached = parse(
        "Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBE\r\nRi0=\r\n-- \r\nSent by a list.\r\n",
    );
    assert_eq!((&attached.attachments[0].content[..], attached.text.as_str()), (&b"%PDF-"[..], ""));
}

#[test]
fn headers_in_any_charset_are_read() {
    for (declared, subject, text) in [
        ("iso-8859-1", &b"Gr\xfc\xdfe aus K\xf6ln"[..], "Grüße aus Köln"),
        ("windows-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"),
        ("gb2312", b"\xc4\xe3\xba\xc3", "你好"),
        ("utf-8", b"Gr\xfc\xdfe", "Grüße"),
        ("utf-8", "Grüße".as_bytes(), "Grüße"),
        ("us-ascii", b"\x1b$B%O%m!<\x1b(B", "ハロー"),
        ("utf-8", b"=?utf-8?Q?caf=C3?= =?utf-8?Q?=A9?= =?utf-8?B?IQ?=", "café!"),
        ("utf-8", b"=?utf-8?Q?cafe=CC?=\r\n =?utf-8?Q?=81?=", "cafe\u{301}"),
    ] {
        let raw = [
            b"From: ",
            subject,
            b" <a@b.example>\r\nSubject: ",
            subject,
            format!("\r\nContent-Type: text/plain; charset={declared}\r\n\r\nx").as_bytes(),
        ]
        .concat();
        let mail = parse(raw);
        assert_eq!((mail.subject.as_str(), mail.from.as_ref().and_then(Mailbox::name)), (text, Some(text)));
    }
    let named = parse(
        "Content-Type: application/pdf; name=\"=?utf-8?B?w7xi?= =?utf-8?B?ZXIucGRm?=\"\r\nContent-Disposition: attachment\r\n\r\nx",
    );
    assert_eq!(named.attachments[0].name, "über.pdf");
}

#[test]
fn the_sender_is_the_address_in_the_last_brackets() {
    for (from, name, address) in [
        ("ceo@corp.example <evil@bad.example>", Some("ceo@corp.example"), "evil@bad.example"),
        ("\"ceo@corp.example\" <x> <evil@bad.example>", Some("ceo@corp.example\" <x>"), "evil@bad.example"),
        (
            "=?utf-8?Q?Bob=2C_CEO_=3Cb=40c.d=3E?= <evil@bad.example>",
            Some("Bob, CEO <b@c.d>"),
            "evil@bad.example",
        ),
        ("evil@bad.example (ceo@corp.example)", Some("ceo@corp.example"), "evil@bad.example"),
        ("evil@bad.example", None, "evil@bad.example"),
    ] {
        let read = parse(format!("From: {from}\r\n\r\nx")).from.unwrap();
        assert_eq!((read.name(), read.address()), (name, address), "{from}");
    }
}

#[test]
fn of_a_mail_that_is_too_long_the_text_within_the_bound_is_read() {
    let picture = "QUJD".repeat(18).repeat(3000);
    let raw = format!(
        "Subject: photos\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nThe door code is 1234.\r\n\
         --b\r\nContent-Type: text/plain; name=list.txt\r\nContent-Disposition: attachment\r\n\r\nmilk\r\n\
         --b\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\n{picture}\r\n--b--\r\n"
    );
    let limits = MailLimits { bytes: 100_000, ..MailLimits::default() };
    let mail = Content::parse(raw.as_bytes(), &limits);
    assert_eq!(
        (mail.text.as_str(), mail.cut, mail.cuts),
        ("The door code is 1234.", true, vec![Cut::Mail(100_000)])
    );
    // Half a picture is none.
    let names: Vec<&str> = mail.attachments.iter().map(|attached| attached.name.as_str()).collect();
    assert_eq!(names, ["list.txt"]);
    assert_eq!(
        Cut::Mail(100_000).to_string(),
        "only the first 100000 bytes of the mail were read; attachments behind them are missing"
    );
    let text =
        Content::parse(format!("Subject: log\r\n\r\n{}", "a line\n".repeat(50_000)).as_bytes(), &limits);
    assert_eq!((text.text.len(), text.cut), (100_000 - "Subject: log\r\n\r\n".len(), true));
}

#[test]
fn flowed_text_and_html_without_a_charset_are_read() {
    assert_eq!(text_of("Content-Type: text/plain; format=flowed\r\n", "one \r\ntwo\r\n"), "one two");
    let raw =
        [&b"Content-Type: text/html\r\n\r\n<meta charset=\"koi8-r\"><p>"[..], b"\xf0\xd2\xc9\xd7\xc5\xd4"]
            .concat();
    assert_eq!(parse(raw).text, "Привет");
    assert_eq!(
        text_of(
            "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n",
            "<a href=3D\"https://x.example/?a=3Db\">the =\r\nform</a>"
        ),
        "the form (https://x.example/?a=b)"
    );
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
        prop_assert!(!mail.text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')));
        prop_assert_eq!(mail.cut, !mail.cuts.is_empty());
    }
}
