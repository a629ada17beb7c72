//! Writes the browser protocol as TypeScript:
//! `cargo run -p livos-voice --features ts --example typescript -- FILE`; with `--check` it fails
//! when the file is not what it would write.

#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use livos_voice::{
    generation::Generation,
    transport::protocol::{
        ClientMessage, ErrorCode, LatencyPart, PlacedWord, PlayoutState, ServerMessage, VERSION,
    },
    turn::{Mode, TurnState},
    vad::VadState,
};
use ts_rs::{Config, TS};

fn declarations() -> String {
    let config = Config::default();
    let types = [
        Generation::decl(&config),
        Mode::decl(&config),
        TurnState::decl(&config),
        VadState::decl(&config),
        PlayoutState::decl(&config),
        PlacedWord::decl(&config),
        LatencyPart::decl(&config),
        ErrorCode::decl(&config),
        ClientMessage::decl(&config),
        ServerMessage::decl(&config),
    ];
    let head = "// The voice WebSocket protocol. Generated from the Rust types by `cargo xtask web types`; do not edit.\n";
    let types = types.map(|declaration| format!("export {declaration}\n")).join("\n");
    format!("{head}\nexport const VERSION = {VERSION};\n\n{types}")
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(file) = args.next() else {
        eprintln!("name the file to write");
        return ExitCode::from(2);
    };
    let fresh = declarations();
    if args.next().as_deref() == Some("--check") {
        if std::fs::read_to_string(&file).is_ok_and(|written| written == fresh) {
            return ExitCode::SUCCESS;
        }
        eprintln!("{file} is not what the Rust types say; run `cargo xtask web types`");
        return ExitCode::FAILURE;
    }
    match std::fs::write(&file, fresh) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{file}: {error}");
            ExitCode::FAILURE
        }
    }
}
