//! The operations, one by one.

use std::time::Duration;

use bytes::Bytes;
use livos_integrations::gmail::{
    ConsentNeeded, Cut, Gmail, GmailConfig, GmailErrorKind, LabelId, MailDraft, MailLimits, Mailbox,
    MessageId, ReplyTo, Search,
};
use livos_twins::{
    Twin as _,
    fault::{Fault, Refusal, Target, When},
    gmail::{Config, Trouble},
};
use tower::{BoxError, service_fn};

use crate::support::{ADDRESS, Http, client, client_with, provider};

fn id(text: &str) -> MessageId {
    text.try_into().unwrap()
}

fn mailbox(address: &str) -> Mailbox {
    Mailbox::new(None, address).unwrap()
}

const LETTER: &str = "From: =?utf-8?Q?J=C3=BCrgen?= <bob@example.org>\r\nTo: anna@example.org, carl@example.org\r\nSubject: Lunch\r\n\
    Message-ID: <1@example.org>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
    Today, sch\u{f6}n?\r\n--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=menu.pdf\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--b--\r\n";

#[tokio::test(start_paused = true)]
async fn a_mail_is_read_with_what_it_says() {
    let provider = provider(Config::default());
    let delivered = provider.deliver(LETTER);
    let mail = client(&provider).read(&id(&delivered)).await.unwrap();
    assert_eq!(mail.content.from.as_ref().unwrap().to_string(), "Jürgen <bob@example.org>");
    assert_eq!((mail.content.subject.as_str(), mail.content.text.trim()), ("Lunch", "Today, schön?"));
    assert_eq!(mail.content.attachments[0].content, Bytes::from_static(b"%PDF"));
    assert_eq!(
        (mail.received_at.unix_ms(), mail.labels.contains(&LabelId::inbox())),
        (crate::support::EPOCH, true)
    );
    let gone = client(&provider).read(&id("ffff")).await.unwrap_err();
    assert!(gone.is_not_found());
}

#[tokio::test(start_paused = true)]
async fn a_huge_mail_comes_with_its_text_and_its_attachments_can_be_fetched() {
    let provider = provider(Config::default());
    let huge = LETTER.replace("JVBERg==", &"QUFB".repeat(300_000));
    let delivered = id(&provider.deliver(huge));
    let mut limits = MailLimits::default();
    limits.bytes = 300_000;
    let gmail = client_with(&provider, |config| config.limits = limits);
    let mail = gmail.read(&delivered).await.unwrap();
    assert_eq!(
        (mail.content.subject.as_str(), mail.content.cut, mail.content.text.as_str()),
        ("Lunch", true, "Today, schön?")
    );
    assert_eq!(mail.content.cuts, [Cut::Mail(300_000)]);
    assert!(mail.content.attachments.is_empty(), "half a file is none");
    assert_eq!(mail.content.message_id.as_deref(), Some("1@example.org"));
    let attached = gmail.attachments(&delivered).await.unwrap();
    assert_eq!(
        (attached[0].name.as_str(), attached[0].mime_type.as_str(), attached[0].size),
        ("menu.pdf", "application/pdf", 900_000)
    );
    assert_eq!(gmail.attachment(&delivered, &attached[0].id).await.unwrap().len(), 900_000);
    let small = client_with(&provider, |config| config.max_attachment = 800_000);
    let attached = small.attachments(&delivered).await.unwrap();
    assert_eq!(
        small.attachment(&delivered, &attached[0].id).await.unwrap_err().kind(),
        GmailErrorKind::TooLarge
    );
}

#[tokio::test(start_paused = true)]
async fn a_reply_stays_in_the_conversation_and_goes_to_whom_it_should() {
    let provider = provider(Config::default());
    let delivered = provider.deliver(LETTER);
    let gmail = client(&provider);
    let mail = gmail.read(&id(&delivered)).await.unwrap();
    let first = gmail.reply(&mail, "Gern, um 12:30 – bis dann!", ReplyTo::Everyone, ADDRESS).await.unwrap();
    assert_eq!(first.thread, mail.thread);
    // An answer to the answer stays there too.
    let answer = gmail.read(&first.id).await.unwrap();
    assert_eq!(
        (answer.content.subject.as_str(), answer.content.text.trim()),
        ("Re: Lunch", "Gern, um 12:30 – bis dann!")
    );
    assert_eq!(answer.content.references, ["1@example.org"]);
    assert!(answer.content.automatic);
    let second = gmail.reply(&answer, "Or 13:00", ReplyTo::Sender, ADDRESS).await.unwrap();
    assert_eq!(second.thread, mail.thread);
    let whole = gmail.thread(&mail.thread).await.unwrap();
    assert_eq!(
        whole.iter().map(|one| one.subject.as_str()).collect::<Vec<_>>(),
        ["Lunch", "Re: Lunch", "Re: Lunch"]
    );
    let raw: Vec<String> =
        provider.sent().into_iter().map(|(_, _, raw)| String::from_utf8_lossy(&raw).into_owned()).collect();
    let head = raw[0].replace("\r\n ", " ");
    assert!(
        head.contains("<bob@example.org>")
            && head.contains("Cc: <carl@example.org>")
            && !head.contains("To: <anna"),
        "{head}"
    );
    assert!(head.contains("In-Reply-To: <1@example.org>"), "{head}");
    assert_eq!(gmail.read(&second.id).await.unwrap().content.to[0].address(), "bob@example.org");
}

#[tokio::test(start_paused = true)]
async fn searches_page_and_summaries_leave_out_what_is_gone() {
    let provider = provider(Config::default());
    let ids: Vec<String> =
        (0..5).map(|n| provider.deliver_text("bob@example.org", &format!("Bill {n}"), "pay me")).collect();
    provider.deliver_text("carl@example.org", "Hello", "there");
    let gmail = client(&provider);
    let search = Search::new("from:bob subject:bill").with_label(LabelId::inbox()).with_most(2);
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let part = gmail.search(&search, page.as_ref()).await.unwrap();
        found.extend(part.messages.into_iter().map(|one| one.id));
        page = part.next;
        if page.is_none() {
            break;
        }
    }
    let newest_first: Vec<&str> = ids.iter().rev().map(String::as_str).collect();
    assert_eq!(found.iter().map(MessageId::as_str).collect::<Vec<_>>(), newest_first);
    provider.delete(&ids[3]);
    let summaries = gmail.summaries(&found).await.unwrap();
    let subjects: Vec<&str> = summaries.iter().map(|one| one.subject.as_str()).collect();
    assert_eq!(subjects, ["Bill 4", "Bill 2", "Bill 1", "Bill 0"]);
    assert_eq!(
        (summaries[0].snippet.as_str(), summaries[0].from.as_ref().unwrap().address()),
        ("pay me", "bob@example.org")
    );
    let long = gmail.search(&Search::new("x".repeat(5000)), None).await.unwrap_err();
    assert_eq!(long.kind(), GmailErrorKind::Rejected);
}

#[tokio::test(start_paused = true)]
async fn mail_is_archived_and_labelled_by_name_in_one_request() {
    let provider = provider(Config::default());
    let ids: Vec<String> =
        (0..3).map(|n| provider.deliver_text("bob@example.org", &n.to_string(), "x")).collect();
    let gmail = client(&provider);
    let all: Vec<MessageId> = ids.iter().map(|one| id(one)).collect();
    gmail.label(&all, &["Bills", "starred"], &["unread", "Never there"]).await.unwrap();
    gmail.archive(&all).await.unwrap();
    gmail.archive(&[]).await.unwrap();
    gmail.label(&all[..1], &["bills"], &[]).await.unwrap();
    for one in &ids {
        assert_eq!(provider.labels_of(one), ["Label_1", "STARRED"]);
    }
    let calls = provider.stats().calls;
    assert_eq!((calls["messages.batchModify"], calls["messages.modify"], calls["labels.create"]), (2, 1, 1));
    let none = gmail.create_label("a\nb").await.unwrap_err();
    assert_eq!(none.kind(), GmailErrorKind::Rejected);
}

#[tokio::test(start_paused = true)]
async fn troubles_that_pass_are_waited_for_and_others_are_told_apart() {
    let provider = provider(Config::default());
    let gmail = client(&provider);
    for passing in [Trouble::TooMany(3), Trouble::RateLimited, Trouble::UserRateLimited, Trouble::Backend] {
        let start = tokio::time::Instant::now();
        provider.fail_next(Some("profile"), 2, passing);
        gmail.profile().await.unwrap();
        let asked =
            if passing == Trouble::TooMany(3) { Duration::from_secs(6) } else { Duration::from_millis(1500) };
        assert!(start.elapsed() >= asked, "{passing:?} {:?}", start.elapsed());
    }
    for (lasting, kind) in [
        (Trouble::DailyLimit, GmailErrorKind::QuotaSpent),
        (Trouble::InsufficientPermissions, GmailErrorKind::Forbidden),
        (Trouble::NotConfigured, GmailErrorKind::Forbidden),
        (Trouble::TooMany(3600), GmailErrorKind::RateLimited),
    ] {
        let before = provider.stats().calls["profile"];
        provider.fail_next(Some("profile"), 1, lasting);
        let error = gmail.profile().await.unwrap_err();
        assert_eq!((error.kind(), provider.stats().calls["profile"] - before), (kind, 1), "{lasting:?}");
        if lasting == Trouble::TooMany(3600) {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
        }
    }
    provider.revoke();
    let error = gmail.profile().await.unwrap_err();
    assert!(
        error.is_token_dead() && !error.is_temporary() && error.to_string().contains("authError"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_may_have_gone_out_is_not_sent_again_blindly() {
    let provider = provider(Config::default());
    let gmail = client(&provider);
    let draft = || MailDraft::new([mailbox("bob@example.org")], "Hi", "x");
    provider.fail_next(Some("messages.send"), 1, Trouble::AnswerLost);
    assert_eq!(gmail.send(&draft()).await.unwrap_err().kind(), GmailErrorKind::Unavailable);
    assert_eq!(provider.sent().len(), 1);
    // Refused outright, it is sent again by the client itself.
    provider.fail_next(Some("messages.send"), 1, Trouble::UserRateLimited);
    gmail.send(&draft()).await.unwrap();
    assert_eq!(provider.sent().len(), 2);
    // A job that is tried again finds what it sent.
    provider.fail_next(Some("messages.send"), 1, Trouble::AnswerLost);
    assert!(gmail.send_once(&draft(), "job 7").await.is_err());
    let sent = gmail.send_once(&draft(), "job 7").await.unwrap();
    let again = gmail.send_once(&draft(), "job 7").await.unwrap();
    assert_eq!(
        (provider.sent().len(), sent.id.as_str(), again),
        (3, provider.sent()[2].0.as_str(), sent.clone())
    );
    gmail.send_once(&draft(), "job 8").await.unwrap();
    assert_eq!(provider.sent().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_off_stalls_or_talks_nonsense_is_unavailable_or_unreadable() {
    let provider = provider(Config::default());
    let gmail = client_with(&provider, |config| config.retries = 0);
    for fault in [
        Fault::Drop(When::Now),
        Fault::Garbage(When::Now),
        Fault::HalfMessage(When::Now),
        Fault::Stall(When::Now),
    ] {
        provider.inject_into(Target::Next(1), fault.clone());
        let error = gmail.profile().await.unwrap_err();
        assert_eq!(error.kind(), GmailErrorKind::Unavailable, "{fault:?}");
    }
    for body in ["", "[]", "{\"emailAddress\":1}", "{\"emailAddress\":\"a\",\"historyId\":\"x\"}"] {
        let mut refusal = Refusal::status(200);
        refusal.body = Some(body.to_owned());
        provider.refuse(1, refusal);
        assert_eq!(gmail.profile().await.unwrap_err().kind(), GmailErrorKind::Unreadable, "{body:?}");
    }
    let mut refusal = Refusal::status(200);
    refusal.body = Some("x".repeat(9 << 20));
    provider.refuse(1, refusal);
    assert_eq!(gmail.profile().await.unwrap_err().kind(), GmailErrorKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_token_layer_is_recognised_anywhere_in_its_chain() {
    #[derive(Debug, thiserror::Error)]
    #[error("the token layer failed")]
    struct Layer(#[source] BoxError);
    #[derive(Debug, thiserror::Error)]
    #[error("invalid_grant")]
    struct Own;
    let failing = |cause: fn() -> BoxError| {
        let http = Http::new(service_fn(move |_| async move { Err(Layer(cause()).into()) }));
        Gmail::new(GmailConfig::default(), livos_core::http::HttpClient::new(http)).unwrap()
    };
    assert!(failing(|| ConsentNeeded.into()).profile().await.unwrap_err().is_token_dead());
    let own = failing(|| Own.into());
    assert_eq!(own.profile().await.unwrap_err().kind(), GmailErrorKind::Unavailable);
    let told = own.with_token_death(<dyn std::error::Error>::is::<Own>);
    assert!(told.profile().await.unwrap_err().is_token_dead());
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_leads_nowhere_is_refused() {
    let provider = provider(Config::default());
    for change in [
        (|config: &mut GmailConfig| config.base_url = "/gmail".parse().unwrap()) as fn(&mut GmailConfig),
        |config| config.parallel = 0,
        |config| config.timeout = Duration::ZERO,
    ] {
        let mut config = GmailConfig::default();
        change(&mut config);
        assert!(
            Gmail::new(config, livos_core::http::HttpClient::new(crate::support::http(&provider))).is_err()
        );
    }
}
