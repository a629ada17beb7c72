//! Mails as they go out, read back by the parser.

use proptest::prelude::*;

use super::*;
use crate::gmail::MailLimits;

const NOW: Timestamp = Timestamp::from_unix_ms(1_795_503_600_000);

fn mailbox(text: &str) -> Mailbox {
    Mailbox::new(None, text).unwrap()
}

fn sent(draft: &MailDraft) -> (String, Content) {
    let raw = draft.compose(NOW, "new@example.org").unwrap();
    let content = Content::parse(&raw, &MailLimits::default());
    (String::from_utf8(raw).unwrap(), content)
}

fn received() -> Content {
    Content {
        from: Some(Mailbox::new(Some("Anna Müller"), "anna@example.org").unwrap()),
        to: vec![mailbox("me@example.org"), mailbox("bob@example.org")],
        cc: vec![mailbox("carl@example.org"), mailbox("ANNA@example.org")],
        subject: "Lunch".into(),
        message_id: Some("2@example.org".into()),
        references: vec!["0@example.org".into(), "1@example.org".into()],
        ..Content::default()
    }
}

fn reply(mail: &Content, whom: ReplyTo) -> MailDraft {
    MailDraft::reply(mail, None, "Yes", whom, "Me@Example.org")
}

fn addresses(mailboxes: &[Mailbox]) -> Vec<&str> {
    mailboxes.iter().map(Mailbox::address).collect()
}

#[test]
fn an_answer_stays_in_its_conversation() {
    let (raw, answer) = sent(&reply(&received(), ReplyTo::Sender));
    assert_eq!(answer.subject, "Re: Lunch");
    assert_eq!(answer.in_reply_to, ["2@example.org"]);
    assert_eq!(answer.references, ["0@example.org", "1@example.org", "2@example.org"]);
    assert_eq!((addresses(&answer.to), answer.cc.len()), (vec!["anna@example.org"], 0));
    assert_eq!((answer.message_id.as_deref(), answer.sent_at), (Some("new@example.org"), Some(NOW)));
    assert!(answer.automatic && raw.contains("Auto-Submitted: auto-replied\r\n"));
    assert!(!sent(&reply(&received(), ReplyTo::Sender).by_a_person()).1.automatic);
}

#[test]
fn the_subject_of_an_answer_says_re_once() {
    for (subject, answer) in
        [("Lunch", "Re: Lunch"), ("RE: Lunch", "RE: Lunch"), ("", "Re:"), ("Réunion", "Re: Réunion")]
    {
        assert_eq!(reply_subject(subject), answer);
    }
}

#[test]
fn an_answer_to_everyone_reaches_each_once_and_not_oneself() {
    let (_, answer) = sent(&reply(&received(), ReplyTo::Everyone));
    assert_eq!(addresses(&answer.to), ["anna@example.org"]);
    assert_eq!(addresses(&answer.cc), ["bob@example.org", "carl@example.org"]);
    let elsewhere = Content { reply_to: vec![mailbox("list@example.org")], ..received() };
    assert_eq!(addresses(&sent(&reply(&elsewhere, ReplyTo::Sender)).1.to), ["list@example.org"]);
    let own = Content { from: Some(mailbox("me@example.org")), ..received() };
    assert_eq!(addresses(&sent(&reply(&own, ReplyTo::Sender)).1.to), ["bob@example.org"]);
}

#[test]
fn a_long_conversation_keeps_its_beginning_and_its_end() {
    let references: Vec<String> = (0..60).map(|n| format!("{n}@example.org")).collect();
    let (_, answer) = sent(&reply(&Content { references, ..received() }, ReplyTo::Sender));
    assert_eq!(answer.references.len(), MailDraft::MAX_REFERENCES);
    assert_eq!(
        (answer.references[0].as_str(), answer.references[1].as_str()),
        ("0@example.org", "42@example.org")
    );
    let first = Content { references: vec![], in_reply_to: vec!["1@example.org".into()], ..received() };
    assert_eq!(sent(&reply(&first, ReplyTo::Sender)).1.references, ["1@example.org", "2@example.org"]);
}

#[test]
fn what_would_end_a_header_is_refused() {
    let to = || [mailbox("a@b.c")];
    let compose = |draft: MailDraft| draft.compose(NOW, "1@example.org").unwrap_err();
    for subject in ["Hi\r\nBcc: x@y.z", "Hi\nX: y", "Hi\rX: y", "Hi\0", "Hi\u{85}"] {
        assert_eq!(
            compose(MailDraft::new(to(), subject, "")),
            InvalidDraft::Control("subject"),
            "{subject:?}"
        );
    }
    let file = |name: &str, kind: &str| MailDraft::new(to(), "", "").attach(name, kind, Bytes::new());
    assert_eq!(compose(file("a\r\nX: y", "text/plain")), InvalidDraft::Control("name of an attachment"));
    for kind in ["text/plain\r\nX: y", "text", "text/", "text/a;b", "te xt/plain"] {
        assert_eq!(compose(file("a", kind)), InvalidDraft::MimeType, "{kind:?}");
    }
    for id in ["", "a b@c", "a@b>\r\nX: y", "<a@b>"] {
        assert_eq!(MailDraft::new(to(), "", "").compose(NOW, id), Err(InvalidDraft::MessageId), "{id:?}");
    }
    assert_eq!(compose(MailDraft::new([], "", "")), InvalidDraft::NoRecipient);
    assert_eq!(
        compose(MailDraft::new(vec![mailbox("a@b.c"); 101], "", "")),
        InvalidDraft::TooManyRecipients(101)
    );
    assert_eq!(compose(MailDraft::new(to(), "x".repeat(999), "")), InvalidDraft::TooLong("subject"));
}

#[test]
fn text_and_files_arrive_as_they_were() {
    let text = "Grüße,\nfrom a line that is longer than any line of a mail may be: ".to_owned()
        + &"long ".repeat(300)
        + "\n.\n--x\n";
    let bytes: Vec<u8> = (0..=255).collect();
    let draft = MailDraft::new([mailbox("a@b.c")], "Foto", text.clone()).attach(
        "Übersicht \"1\".png",
        "image/png",
        bytes.clone().into(),
    );
    let (raw, mail) = sent(&draft.bcc(mailbox("s@e.c")));
    assert!(raw.lines().all(|line| line.len() <= 998) && raw.is_ascii(), "{raw}");
    assert_eq!(mail.text.replace("\r\n", "\n").trim_end(), text.trim_end());
    assert_eq!(
        (mail.attachments[0].name.as_str(), &mail.attachments[0].content[..]),
        ("Übersicht \"1\".png", &bytes[..])
    );
}

proptest! {
    #[test]
    fn any_subject_and_name_without_control_characters_arrives(subject in "\\PC{0,120}", name in "\\PC{0,40}", text in "\\PC{0,200}") {
        let to = Mailbox::new(Some(&name), "a@b.c");
        prop_assume!(to.is_ok());
        let draft = MailDraft::new([to.unwrap()], subject.clone(), text);
        let Ok(raw) = draft.compose(NOW, "1@b.c") else { return Ok(()) };
        let head = String::from_utf8_lossy(&raw).split("\r\n\r\n").next().unwrap().to_owned();
        let names: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])).filter_map(|line| line.split(':').next()).collect();
        let known = ["Date", "Message-ID", "Subject", "To", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"];
        prop_assert!(names.iter().all(|name| known.contains(name)), "{head}");
        prop_assert!(head.split("\r\n").all(|line| line.len() <= 998));
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assert_eq!(words(&Content::parse(&raw, &MailLimits::default()).subject), words(&subject));
    }
}
