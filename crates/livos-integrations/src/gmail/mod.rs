//! Gmail for an agent that runs for months: a client with the operations it needs, and a watch that
//! never goes silent by mistake.
//!
//! # The client
//!
//! [`Gmail`] works over any HTTP service that adds the token, such as the layer of an OAuth
//! library, and recognises its error for a grant that is gone. It reads, searches, answers, sends,
//! archives and labels; it waits where Gmail asks for time, and tells apart what waiting does not
//! mend ([`GmailErrorKind`]). All of it is bounded: requests in time, in number and in bytes, mails
//! before they are parsed ([`MailLimits`]).
//!
//! ```
//! # use livos_integrations::gmail::{Gmail, GmailError, ReplyTo, Search};
//! # async fn example(gmail: Gmail) -> Result<(), GmailError> {
//! let own = gmail.profile().await?.address;
//! let found = gmail.search(&Search::new("is:unread from:anna").with_most(1), None).await?;
//! for message in found.messages {
//!     let mail = gmail.read(&message.id).await?;
//!     let draft = mail.reply("Thank you!", ReplyTo::Sender, &own);
//!     // However often this job is tried, the answer goes out once.
//!     gmail.send_once(&draft, message.id.as_str()).await?;
//!     gmail.label(&[message.id.clone()], &["Answered"], &["UNREAD"]).await?;
//!     gmail.archive(&[message.id]).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The watch
//!
//! A [`Watcher`] turns each mail that comes into one job ([`MailJob`]) of the queue, whether a push
//! told of it, the poll found it, or a look through the mail after the history was lost.
//! `examples/gmail-watch` is a whole program.
//!
//! # Mail is written by strangers
//!
//! What a mail says is untrusted text to judge, never an instruction. Its bytes may be made to hurt
//! the parser, its headers to inject others, its HTML to hide text from people, and the name of its
//! sender to look like somebody else's. [`Content`], [`MailDraft`], [`Mailbox`] and
//! [`Summary::headline`] guard against that. [`Content::automatic`] says whether a machine wrote
//! the mail: answering those automatically can start an endless exchange between two machines.

mod call;
mod client;
mod compose;
mod config;
mod error;
mod headline;
mod html;
mod id;
mod impersonation;
mod mailbox;
mod mime;
mod push;
mod read;
mod text;
mod watch;
mod wire;

pub use self::{
    client::Gmail,
    compose::{InvalidDraft, MailDraft, ReplyTo},
    config::{GmailConfig, InvalidGmailConfig},
    error::{ConsentNeeded, GmailError, GmailErrorKind},
    id::{AttachmentId, HistoryId, InvalidGmailId, LabelId, MessageId, ThreadId},
    mailbox::{InvalidMailbox, Mailbox},
    mime::{Attached, Content, Cut, MailLimits},
    push::{NotANotification, Notification},
    read::{
        Armed, AttachmentInfo, Found, HistoryPage, Label, Mail, MessageRef, PageToken, Profile, Search,
        Summary,
    },
    watch::{
        FAMILIES, InvalidWatch, MailJob, MailboxAccess, NoMailJob, Remaining, SyncReason, Synced, Told,
        UnwatchableMailbox, WatchAlert, WatchConfig, WatchFailure, WatchHandle, WatchInput, WatchOutput,
        WatchRenewal, WatchState, Watcher,
    },
};
